"""Reading what one search sees: rows, and the checkpoint of the same moment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from refold.errors import StoreUnavailable
from refold.projections.sinks.opensearch_documents import Mark, mark_of
from refold.projections.sinks.opensearch_server import Server

__all__ = ["Found", "Hit", "Snapshot", "search", "tally"]

_WINDOW = 10_000
"""So many hits an answer has at most."""
_PAGE = 5_000


class Hit(msgspec.Struct, rename={"index": "_index", "id": "_id", "source": "_source"}):
    """A document. `index` is the generation it is in."""

    index: str
    id: str
    source: msgspec.Raw = msgspec.Raw(b"{}")


class _Count(msgspec.Struct):
    count: int


class Found(msgspec.Struct, frozen=True):
    """A document with what it says of itself."""

    id: str
    source: msgspec.Raw
    mark: Mark


class Snapshot(msgspec.Struct, frozen=True):
    """What one search saw: the generation, the checkpoints and rows of the ids that were asked for, and the rest."""

    index: str
    named: dict[str, Found]
    found: list[Found]


class _Hits(msgspec.Struct):
    hits: list[Hit] = []


class _Answer(msgspec.Struct):
    hits: _Hits = msgspec.field(default_factory=_Hits)
    scroll_id: str = msgspec.field(name="_scroll_id", default="")


async def search(
    server: Server,
    table: str,
    ids: Sequence[str],
    query: dict[str, Any] | None,
    sort: list[dict[str, Any]],
    enough: int | None,
    holds: Callable[[Found], bool] | None = None,
    *,
    some: bool = False,
) -> Snapshot | None:
    """One look at a table: the documents of these ids, and of the query those that `holds` is true of, in order, until
    there are `enough` (None: all). None: no such table, or nothing in it that can be seen yet.

    Documents that were asked for by id are not in `found`. `some`: `holds` is true of some only.
    """
    size = _WINDOW if enough is None or some else len(ids) + enough
    snapshot, whole = await _look(server, table, _body(ids, query, sort), size, set(ids), enough, holds)
    if not whole and size <= _WINDOW:
        # There is more than one answer may have: looked at again, in several.
        snapshot, _ = await _look(server, table, _body(ids, query, sort), _WINDOW + 1, set(ids), enough, holds)
    return snapshot


async def _look(
    server: Server,
    table: str,
    body: dict[str, Any],
    size: int,
    ids: set[str],
    enough: int | None,
    holds: Callable[[Found], bool] | None,
) -> tuple[Snapshot | None, bool]:
    """What is found, and whether that is all, or enough."""
    named: dict[str, Found] = {}
    found: list[Found] = []
    index, number = "", 0
    async with aclosing(_hits(server, table, body, size)) as hits:
        async for hit in hits:
            index, number = hit.index, number + 1
            each = Found(hit.id, hit.source, mark_of(hit.source))
            if hit.id in ids:
                named[hit.id] = each
            elif holds is None or holds(each):
                found.append(each)
            if enough is not None and len(found) >= enough and number >= len(ids):
                break
    whole = size > _WINDOW or number < size or (enough is not None and len(found) >= enough)
    return (Snapshot(index, named, found) if index else None), whole


def _body(ids: Sequence[str], query: dict[str, Any] | None, sort: list[dict[str, Any]]) -> dict[str, Any]:
    # What is asked for by id comes first, so that one request is enough, and all of it is of one moment.
    either: list[dict[str, Any]] = [{"constant_score": {"filter": {"ids": {"values": list(ids)}}, "boost": 1_000_000}}]
    if query is not None:
        either.append(query)
    return {
        "query": {"bool": {"should": either, "minimum_should_match": 1}},
        "sort": [{"_score": "desc"}, *sort],
    }


async def _hits(server: Server, table: str, body: dict[str, Any], size: int) -> AsyncGenerator[Hit, None]:
    """At most `size` hits of one moment; all, in several answers, when that is more than one answer may have."""
    if size > _WINDOW:
        asked, several = {**body, "size": _PAGE}, {"scroll": "1m"}
    else:
        asked, several = {**body, "size": size, "track_total_hits": False}, {}
    answer = await server.ask("POST", f"/{table}/_search", _Answer, asked, params=several)
    if answer is None:
        return
    for hit in answer.hits.hits:
        yield hit
    scroll = answer.scroll_id
    try:
        while scroll and answer.hits.hits:
            answer = await server.ask("POST", "/_search/scroll", _Answer, {"scroll": "1m", "scroll_id": scroll})
            if answer is None:
                raise StoreUnavailable(f"{server.place.name} has forgotten a search that went on; ask again")
            scroll = answer.scroll_id or scroll
            for hit in answer.hits.hits:
                yield hit
    finally:
        if scroll:
            await server.ask("DELETE", "/_search/scroll", dict[str, Any], {"scroll_id": [scroll]})


async def tally(server: Server, table: str, query: dict[str, Any]) -> int:
    """The number of documents that a query finds; 0 where there is no table."""
    answer = await server.ask("POST", f"/{table}/_count", _Count, {"query": query})
    return 0 if answer is None else answer.count
