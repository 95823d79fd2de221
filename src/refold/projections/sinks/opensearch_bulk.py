"""Writing many documents to one generation of a table, each only if it has not seen more of the log already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from refold.errors import InvalidQuery, StoreUnavailable
from refold.projections.sinks.opensearch_server import Busy, Server, TooLarge, pause

__all__ = ["Document", "Gone", "overwrite_documents", "write_documents"]

_DOCUMENTS = 2_500
_BYTES = 5_000_000
_AT_ONCE = 3
_ATTEMPTS = 8

Document = tuple[str, bytes]


class Gone(Exception):  # an answer, not a failure
    """The generation was dropped meanwhile."""


class _Error(msgspec.Struct):
    type: str = ""
    reason: str | None = None
    caused_by: dict[str, object] = {}

    def __str__(self) -> str:
        deeper = self.caused_by.get("reason")
        return " ".join(f"{self.type}: {self.reason}{f': {deeper}' if deeper else ''}".split())[:300]


class _Item(msgspec.Struct):
    status: int
    error: _Error | None = None


class _Answer(msgspec.Struct):
    errors: bool = False
    items: list[dict[str, _Item]] = []


async def write_documents(server: Server, place: str, documents: Sequence[Document], position: int) -> list[Document]:
    """Writes documents that have seen the log up to a position, and gives those that the server refused because of
    their version: what is there has seen more, or somebody else has changed it, which counts its version up.

    `place` is an alias. Raises `Gone`, `InvalidQuery` naming the document, `StoreUnavailable`, `StoreFull`.
    """
    ahead = asyncio.Semaphore(_AT_ONCE)
    refused: list[Document] = []

    async def write(chunk: Sequence[Document]) -> None:
        async with ahead:
            await _write(server, place, chunk, position, refused)

    chunks = list(_chunks(documents))
    if len(chunks) == 1:
        await write(chunks[0])
        return refused
    outcomes = await asyncio.gather(*(write(chunk) for chunk in chunks), return_exceptions=True)
    # Only when none is under way any more: what a late one writes must not surprise whoever goes on.
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return refused


async def overwrite_documents(
    server: Server, place: str, documents: Sequence[tuple[Document, int | None, int]]
) -> list[Document]:
    """Writes documents, each in the place of the one of a sequence number and term (None: where there is none). Gives
    those that were not written: another one is there by now, or the server was too busy. Raises as `write_documents`.
    """
    lines = []
    for (name, document), seq_no, term in documents:
        action: dict[str, Any] = {"_id": name}
        if seq_no is not None:
            action |= {"if_seq_no": seq_no, "if_primary_term": term}
        lines += [msgspec.json.encode({"create" if seq_no is None else "index": action}), document]
    changed: list[Document] = []
    busy = await _sent(server, place, [document for document, _, _ in documents], lines, changed)
    return [*changed, *busy]


def _chunks(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    # Equal parts, so that none of those under way at once is nearly empty.
    parts = max(1, -(-len(documents) // _DOCUMENTS))
    most = -(-len(documents) // parts) if documents else 0
    start, size = 0, 0
    for number, (_, body) in enumerate(documents):
        if number > start and (size + len(body) > _BYTES or number - start >= most):
            yield documents[start:number]
            start, size = number, 0
        size += len(body)
    if start < len(documents):
        yield documents[start:]


async def _write(server: Server, place: str, chunk: Sequence[Document], position: int, refused: list[Document]) -> None:
    left = chunk
    for attempt in range(_ATTEMPTS):
        try:
            left = await _once(server, place, left, position, refused)
        except TooLarge:
            if len(left) == 1:
                raise InvalidQuery(
                    f"{server.place.name} takes no document as large as that of {left[0][0]!r} "
                    f"({len(left[0][1]):,} bytes); keep less in one row, or raise http.max_content_length there"
                ) from None
            middle = len(left) // 2
            await _write(server, place, left[:middle], position, refused)
            await _write(server, place, left[middle:], position, refused)
            return
        except Busy:
            if attempt == _ATTEMPTS - 1:
                raise
        if not left:
            return
        # Smaller parts are taken sooner by who has too much to do.
        await pause(attempt)
        if len(left) > 1:
            middle = len(left) // 2
            await _write(server, place, left[:middle], position, refused)
            left = left[middle:]
    raise Busy(f"{server.place.name} has too much to do: it did not take {len(left):,} documents; they are tried again")


async def _once(
    server: Server, place: str, chunk: Sequence[Document], position: int, refused: list[Document]
) -> Sequence[Document]:
    lines = []
    versioned = b',"version":%d,"version_type":"external_gte"}}' % position
    for name, document in chunk:
        lines += [b'{"index":{"_id":' + msgspec.json.encode(name) + versioned, document]
    return await _sent(server, place, chunk, lines, refused)


async def _sent(
    server: Server, place: str, chunk: Sequence[Document], lines: list[bytes], refused: list[Document]
) -> Sequence[Document]:
    """Gives the documents that the server was too busy for, and notes those that it refused for what is there."""
    lines.append(b"")
    # Only an alias is written to: a dropped generation would be made anew, without its mapping, by its name.
    params = {"require_alias": "true", "filter_path": "errors,items.*.status,items.*.error"}
    answer = await server.ask("POST", f"/{place}/_bulk", _Answer, b"\n".join(lines), params=params)
    if answer is None:
        raise Gone
    if not answer.errors:
        return []
    if len(answer.items) != len(chunk):
        raise StoreUnavailable(f"{server.place.name} answered for {len(answer.items)} of {len(chunk)} documents")
    busy = []
    for document, found in zip(chunk, answer.items, strict=True):
        for item in found.values():
            if item.status == 409:
                refused.append(document)
            elif item.error is not None and _busy_with(server, document, item, item.error):
                busy.append(document)
    return busy


def _busy_with(server: Server, document: Document, item: _Item, error: _Error) -> bool:
    """Whether a document is to be tried again. Raises what it means that it cannot be kept."""
    match item.status:
        case 429 if "blocked by" not in str(error):
            return True
        case 404:
            raise Gone
        case 400 | 413:
            raise InvalidQuery(f"{server.place.name} cannot keep the row {document[0]!r}: {error}")
        case _:
            raise server.blocked(str(error)) or StoreUnavailable(f"{server.place.name} did not write: {error}")
