"""Read models in OpenSearch (and what speaks its language): an index for each generation of a table, behind an alias
with the table's name.

A checkpoint is a document of the same index, and of the same shard, as its rows: whatever the server loses, it loses
the checkpoint before the rows, and one search sees both as they were at one moment. There are no transactions: rows
are written first, each with the position up to which it has seen the log, and then the checkpoint, if nobody has
touched it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import msgspec

from refold import faults
from refold.errors import InvalidQuery, RefoldError, StoreUnavailable
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Checkpoint, Move
from refold.projections.conditions import Condition, Order
from refold.projections.ordering import sorted_rows
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Loaded, Query, refuse_other
from refold.projections.sinks.opensearch_bulk import Gone, write_documents
from refold.projections.sinks.opensearch_documents import META, Documents, checkpoint_id, documents_of
from refold.projections.sinks.opensearch_generations import Generations, Stands
from refold.projections.sinks.opensearch_queries import EVERY_ROW, Asked, asked, sorted_by
from refold.projections.sinks.opensearch_search import Found, Snapshot, search, tally
from refold.projections.sinks.opensearch_server import Conflicted, Server, place_of

__all__ = ["OpenSearchRows", "open_opensearch"]

_log = logging.getLogger("refold.projections")

_KEYS_AT_ONCE = 2_000
_SECONDS_TO_SETTLE = 0.5
"""So long a reader looks for a moment at which no page is half written."""
_SECONDS_TO_CATCH_UP = 10.0
_SECONDS_DELETED = 600.0
"""So long it is kept that a row was deleted: what an owner sends late, who was fenced out, must not bring it back."""
_SECONDS_BETWEEN_SWEEPS = 60.0
_SWEPT_AT_ONCE = 5_000


Look = Callable[[Sequence[str]], Awaitable[Snapshot | None]]
"""A search that looks for these checkpoints too."""


async def open_opensearch(url: str) -> RowStore:
    """The rows in the OpenSearch of a URL; it is not connected to yet. Raises `ConfigurationError`."""
    return OpenSearchRows(Server(place_of(url)))


class OpenSearchRows:
    """See `RowStore`."""

    kind = "opensearch"

    def __init__(self, server: Server, *, seconds_deleted: float = _SECONDS_DELETED) -> None:
        self.name = server.place.name
        self._server = server
        self._tables = Generations(server)
        self._seconds_deleted = seconds_deleted
        self._swept: dict[str, float] = {}
        self._torn: dict[str, tuple[str, int]] = {}

    async def prepare(self) -> None:
        """See `RowStore.prepare`."""
        await self._tables.examine()

    async def close(self) -> None:
        """See `RowStore.close`."""
        await self._server.close()

    async def standing(self, name: str) -> Standing | None:
        """See `RowStore.standing`."""
        found = await self._tables.checkpoint(name)
        return None if found is None else found.standing

    async def create(self, definition: ReadModelDefinition, table: str, standings: Mapping[str, Standing]) -> None:
        """See `RowStore.create`."""
        await self._tables.create(documents_of(definition).mapping(), table, standings)

    async def drop(self, table: str) -> None:
        """See `RowStore.drop`."""
        await self._tables.drop(table)

    async def fence(self, name: str, epoch: int) -> Standing | None:
        """See `RowStore.fence`."""
        while True:
            found = await self._tables.checkpoint(name)
            if found is None or found.standing.epoch >= epoch:
                return None if found is None else found.standing
            fenced = msgspec.structs.replace(found.standing, epoch=epoch)
            try:
                if await self._tables.move(found, fenced):
                    return fenced
            except Conflicted:
                continue  # moved meanwhile by whom this fences out

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

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """See `RowStore.write`. Raises `StoreFull` when the server has no space left."""
        found = await self._tables.checkpoint(move.of(table))
        if found is None or (found.standing.position, found.standing.epoch) != (move.before, move.epoch):
            return False
        documents = documents_of(definition)
        written = documents.rows(rows, move.after)
        written += documents.tombstones(deleted, move.after, int(time.time()))
        try:
            if written:
                await write_documents(self._server, found.place, written, move.after)
            faults.at("external.rows_before_checkpoint")
            after = msgspec.structs.replace(found.standing, position=move.after, append_id=move.append_id)
            if not await self._tables.move(found, after):
                return False
        except (Gone, Conflicted):
            return False
        if time.monotonic() - self._swept.get(found.index, -math.inf) > _SECONDS_BETWEEN_SWEEPS:
            await self._sweep(found)
        return True

    async def _sweep(self, found: Stands) -> None:
        """Removes what says that rows were deleted, once nobody can bring them back."""
        self._swept[found.index] = time.monotonic()
        try:
            before = int(time.time() - self._seconds_deleted)
            if await self._tables.sweep(found, before, _SWEPT_AT_ONCE) == _SWEPT_AT_ONCE:
                self._swept[found.index] = -math.inf  # there are more, for the next write
        except RefoldError as problem:
            _log.warning("what was deleted from %s is swept later: %s", found.place, problem)

    async def switch(self, definition: ReadModelDefinition, table: str, place: str, kept: str | None) -> bool:
        """See `RowStore.switch`."""
        return await self._tables.switch(table, place, kept)

    async def exchange(self, first: str, second: str) -> bool:
        """See `RowStore.exchange`."""
        return await self._tables.exchange(first, second)

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
                raise StoreUnavailable(f"{self.name} does not show what was written to {table!r}; is it overloaded?")
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
