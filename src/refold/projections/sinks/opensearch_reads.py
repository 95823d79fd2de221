"""Reading rows from OpenSearch: by key as they are now, by a query as they were at one moment, no older."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from refold.errors import InvalidQuery, StoreUnavailable
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Checkpoint
from refold.projections.conditions import Condition, Order
from refold.projections.ordering import sorted_rows
from refold.projections.row_store import Standing
from refold.projections.sink import Loaded, Query, refuse_other
from refold.projections.sinks.opensearch_documents import META, Documents, checkpoint_id, documents_of
from refold.projections.sinks.opensearch_generations import Generations, Stands
from refold.projections.sinks.opensearch_queries import EVERY_ROW, Asked, asked, sorted_by
from refold.projections.sinks.opensearch_search import Found, Snapshot, search, tally
from refold.projections.sinks.opensearch_server import Server

__all__ = ["Reads"]

_KEYS_AT_ONCE = 2_000
_SECONDS_TO_SETTLE = 0.5
"""So long a reader looks for a moment at which no page is half written."""
_SECONDS_TO_CATCH_UP = 10.0

Look = Callable[[Sequence[str]], Awaitable[Snapshot | None]]
"""A search that looks for these checkpoints too."""


class Reads:
    """See the methods of these names in `RowStore`."""

    def __init__(self, server: Server, tables: Generations) -> None:
        self._server = server
        self._tables = tables
        self._torn: dict[str, tuple[str, int]] = {}

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `RowStore.load`."""
        documents = documents_of(definition)
        ids = {documents.id_of(key): key for key in keys}
        stands, found = await self._looked_up(table, list(ids))
        return Loaded({}) if stands is None else _loaded(documents, table, ids, found, stands.standing)

    async def _looked_up(self, table: str, ids: Sequence[str]) -> tuple[Stands | None, dict[str, Found]]:
        """How a table stands, and what its documents of these ids are at least then."""
        parts = [ids[start : start + _KEYS_AT_ONCE] for start in range(0, len(ids), _KEYS_AT_ONCE)] or [ids]
        while True:
            stands, found = await self._tables.look_up(table, parts[0])
            if stands is None or len(parts) == 1:
                return stands, found
            rest = await asyncio.gather(*(self._tables.look_up(table, part) for part in parts[1:]))
            # What was read later has seen as much or more; unless the tables were exchanged meanwhile.
            if all(other is not None and other.index == stands.index for other, _ in rest):
                for _, more in rest:
                    found.update(more)
                return stands, found

    async def read(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey], query: Query | None
    ) -> tuple[Standing | None, Loaded, list[ReadModel]]:
        """See `RowStore.read`."""
        documents = documents_of(definition)
        ids = {documents.id_of(key): key for key in keys}
        if query is None:
            stands, found = await self._looked_up(table, list(ids))
            if stands is None or stands.standing.fingerprint != definition.fingerprint:
                return (None if stands is None else stands.standing), Loaded({}), []
            return stands.standing, _loaded(documents, table, ids, found, stands.standing), []
        wanted = asked(documents, query.where)
        enough = None if query.limit is None else query.limit + query.offset

        async def look(checkpoints: Sequence[str]) -> Snapshot | None:
            holds = None if query.where is None else _holds(documents, table, query.where, wanted)
            named = [*checkpoints, *ids]
            filtered = {"constant_score": {"filter": wanted.filter(), "boost": 0}}
            sort = sorted_by(documents, query.order)
            return await search(
                self._server, self._tables.alias(table), named, filtered, sort, enough, holds, some=not wanted.exact
            )

        standing, snapshot = await self._at_one_moment(definition, table, look)
        if standing is None or snapshot is None:
            return standing, Loaded({}), []
        loaded = _loaded(documents, table, ids, snapshot.named, standing)
        rows = [documents.row(each.source, table) for each in snapshot.found]
        ahead = {
            definition.key_of(row): each.mark.position
            for row, each in zip(rows, snapshot.found, strict=True)
            if each.mark.position > standing.position
        }
        # Rows that were asked for by key come by their key alone.
        rows += [row for row in loaded.rows.values() if query.where is None or query.where.holds(row)]
        return (
            standing,
            Loaded(loaded.rows, {**ahead, **loaded.seen}),
            sorted_rows(rows, query.order)[query.offset : enough],
        )

    async def _at_one_moment(
        self, definition: ReadModelDefinition, table: str, look: Look
    ) -> tuple[Standing | None, Snapshot | None]:
        """What a search sees, not before what stood in the table when it was asked for; if possible at a moment at
        which no page is half written.
        """
        began = time.monotonic()
        while True:
            known = self._tables.checkpoint_ids(table)
            stands, snapshot = await asyncio.gather(
                self._tables.look_up(table, []), look(known), return_exceptions=True
            )
            if isinstance(stands, BaseException):
                raise stands
            now = stands[0]
            if now is None or now.standing.fingerprint != definition.fingerprint:
                return (None if now is None else now.standing), None
            if isinstance(snapshot, BaseException):
                raise snapshot
            seen = None if snapshot is None else self._tables.lowest(snapshot)
            if snapshot is not None and seen is not None and self._is_new(now, snapshot, seen):
                torn = any(each.mark.position > seen.position for each in _rows_in(snapshot))
                mark = (snapshot.index, seen.position)
                if not torn or self._torn.get(table) == mark:
                    return seen, snapshot
                if time.monotonic() - began > _SECONDS_TO_SETTLE:
                    # A writer was killed, or writes a large page: whoever comes next need not wait for it again.
                    self._torn[table] = mark
                    return seen, snapshot
            elif time.monotonic() - began > _SECONDS_TO_CATCH_UP:
                raise StoreUnavailable(
                    f"{self._server.place.name} does not show what was written to {table!r}; is it overloaded?"
                )
            await self._tables.refresh(table)

    def _is_new(self, now: Stands, snapshot: Snapshot, seen: Standing) -> bool:
        return snapshot.index == now.index and seen.position >= now.standing.position

    async def count(self, definition: ReadModelDefinition, table: str, where: Condition | None) -> int:
        """See `RowStore.count`."""
        documents = documents_of(definition)
        wanted = asked(documents, where)
        await self._tables.refresh(table)
        alias = self._tables.alias(table)
        if where is None or (wanted.exact and not wanted.long):
            return await tally(self._server, alias, wanted.filter())
        counted, unsure = 0, wanted.filter()
        if wanted.exact:
            long = {"terms": {f"{META}.long": list(wanted.long)}}
            sure = {"bool": {**EVERY_ROW["bool"], "filter": [wanted.query, {"bool": {"must_not": [long]}}]}}
            counted = await tally(self._server, alias, sure)
            unsure = {"bool": {**EVERY_ROW["bool"], "filter": [long]}}
        look = {"constant_score": {"filter": unsure, "boost": 0}}
        holds = _holds(documents, table, where, Asked(unsure, False))
        found = await search(self._server, alias, [checkpoint_id("")], look, [], None, holds)
        return counted + (0 if found is None else len(found.found))

    async def search(
        self, definition: ReadModelDefinition, text: str, limit: int, fields: Sequence[str] | None = None
    ) -> list[ReadModel]:
        """The rows that hold all words of a text, the best first: `"exact words"`, `one | other`, `-without` and
        `begin*` mean what they say, and nothing is a mistake. `fields`: where to look, all fields of text by default.

        Raises `InvalidQuery`, `ProjectionStopped` when the rows are of another definition.
        """
        documents, table = documents_of(definition), definition.name
        searched = self._searched(documents, fields)
        if type(limit) is not int or not 0 <= limit <= 10_000:
            raise InvalidQuery(f"limit={limit!r} must be a whole number from 0 to 10,000")
        if not isinstance(text, str):
            raise InvalidQuery(f"{text!r} is no text to search for")
        match = {"simple_query_string": {"query": text, "fields": searched, "default_operator": "and"}}
        query = {"bool": {**EVERY_ROW["bool"], "must": [match]}}

        async def look(checkpoints: Sequence[str]) -> Snapshot | None:
            return await search(
                self._server,
                self._tables.alias(table),
                checkpoints,
                query,
                sorted_by(documents, [Order(name, False) for name in definition.key]),
                limit,
            )

        standing, snapshot = await self._at_one_moment(definition, table, look)
        at = None
        if standing is not None:
            at = Checkpoint(name=table, position=standing.position, fingerprint=standing.fingerprint)
        refuse_other(definition, at)
        return [] if snapshot is None else [documents.row(each.source, table) for each in snapshot.found]

    def _searched(self, documents: Documents, fields: Sequence[str] | None) -> list[str]:
        chosen = documents.prose if fields is None else list(fields)
        for name in chosen:
            if name not in documents.prose:
                known = ", ".join(documents.prose) or "none"
                raise InvalidQuery(
                    f"{documents.definition.cls.__qualname__} has no field of text {name!r}; it has {known}"
                )
        if not chosen:
            raise InvalidQuery(f"{documents.definition.cls.__qualname__} has no field of text to search in")
        return [documents.names[name] for name in chosen]


def _loaded(
    documents: Documents, table: str, ids: Mapping[str, RowKey], found: Mapping[str, Found], stands: Standing
) -> Loaded:
    rows, seen = {}, {}
    for name, key in ids.items():
        each = found.get(name)
        if each is None:
            continue
        if not each.mark.kind:
            rows[key] = documents.row(each.source, table)
        if each.mark.position > stands.position:
            seen[key] = each.mark.position
    return Loaded(rows, seen)


def _holds(documents: Documents, table: str, where: Condition, wanted: Asked) -> Callable[[Found], bool]:
    """Whether a found row fulfils the condition: looked at only where the query does not decide it."""

    def holds(found: Found) -> bool:
        if wanted.exact and not found.mark.long:
            return True
        return where.holds(documents.row(found.source, table))

    return holds


def _rows_in(snapshot: Snapshot) -> Iterator[Found]:
    yield from snapshot.found
    yield from (each for each in snapshot.named.values() if each.mark.kind != "checkpoint")
