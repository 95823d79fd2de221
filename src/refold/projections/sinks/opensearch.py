"""Read models in OpenSearch (and what speaks its language): an index for each generation of a table, behind an alias
with the table's name.

A checkpoint is a document of the same index, and of the same shard, as its rows: whatever the server loses, it loses
the checkpoint before the rows, and one search sees both as they were at one moment. There are no transactions: rows
are written first, each with the position up to which it has seen the log, and then the checkpoint, if nobody has
touched it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence

import msgspec

from refold import faults
from refold.errors import RefoldError, StoreUnavailable
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Move
from refold.projections.conditions import Condition
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Loaded, Query
from refold.projections.sinks.opensearch_bulk import Document, Gone, overwrite_documents, write_documents
from refold.projections.sinks.opensearch_documents import documents_of
from refold.projections.sinks.opensearch_generations import Generations, Stands
from refold.projections.sinks.opensearch_reads import Reads
from refold.projections.sinks.opensearch_server import Conflicted, Server, pause, place_of

__all__ = ["OpenSearchRows", "open_opensearch"]

_log = logging.getLogger("refold.projections")

_SECONDS_DELETED = 600.0
"""So long it is kept that a row was deleted: what an owner sends late, who was fenced out, must not bring it back."""
_SECONDS_BETWEEN_SWEEPS = 60.0
_SWEPT_AT_ONCE = 5_000
_OVERWRITTEN_AT_ONCE = 500
_ATTEMPTS = 8


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
        self._reads = Reads(server, self._tables)

    async def prepare(self) -> None:
        """See `RowStore.prepare`."""
        await self._server.examine()

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
        return await self._reads.load(definition, table, keys)

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
            refused = await write_documents(self._server, found.place, written, move.after) if written else []
            if refused and not await self._overwrite(found, move.of(table), refused, move.after):
                return False
            faults.at("external.rows_before_checkpoint")
            if not await self._moved(found, move, table):
                return False
        except (Gone, Conflicted):
            return False
        if time.monotonic() - self._swept.get(found.index, -math.inf) > _SECONDS_BETWEEN_SWEEPS:
            await self._sweep(found)
        return True

    async def _moved(self, found: Stands, move: Move, table: str) -> bool:
        if move.after == move.before:
            # Of several that write beside each other, as the processes of a rebuild do, none may be in the others' way.
            now = await self._tables.checkpoint(move.of(table))
            return now is not None and (now.index, now.standing) == (found.index, found.standing)
        after = msgspec.structs.replace(found.standing, position=move.after, append_id=move.append_id)
        return await self._tables.move(found, after)

    async def _overwrite(self, found: Stands, name: str, refused: Sequence[Document], position: int) -> bool:
        """Writes what the server refused only because somebody else has changed the document that is there: each change
        counts its version up, beyond the positions that are written then. What has seen more of the log stays.

        False: the checkpoint was moved meanwhile, so what is here comes too late.
        """
        left = list(refused)
        for attempt in range(_ATTEMPTS):
            if attempt:
                await pause(attempt)
            now = await self._tables.checkpoint(name)
            if now is None or (now.index, now.seq_no) != (found.index, found.seq_no):
                return False
            again: list[Document] = []
            for start in range(0, len(left), _OVERWRITTEN_AT_ONCE):
                some = dict(left[start : start + _OVERWRITTEN_AT_ONCE])
                stand = await self._tables.versions(found.place, list(some))
                theirs = [
                    ((each, some[each]), seq_no, term)
                    for each, (mark, seq_no, term) in stand.items()
                    if mark.position <= position
                ]
                if theirs:
                    again += await overwrite_documents(self._server, found.place, theirs)
            left = again
            if not left:
                return True
        raise StoreUnavailable(f"{self.name} is busy, or somebody else changes what is in {found.place} all the time")

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
        return await self._reads.read(definition, table, keys, query)

    async def count(self, definition: ReadModelDefinition, table: str, where: Condition | None) -> int:
        """See `RowStore.count`."""
        return await self._reads.count(definition, table, where)

    async def search(
        self, definition: ReadModelDefinition, text: str, limit: int, fields: Sequence[str] | None = None
    ) -> list[ReadModel]:
        """The rows that hold all words of a text, the best first: `"exact words"`, `one | other`, `-without` and
        `begin*` mean what they say, and nothing is a mistake. `fields`: where to look, all fields of text by default.

        Raises `InvalidQuery`, `ProjectionStopped` when the rows are of another definition.
        """
        return await self._reads.search(definition, text, limit, fields)
