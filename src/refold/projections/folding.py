"""Folding pages into rows and writing them with their checkpoint: what following and rebuilding have in common."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from refold import faults
from refold.errors import ProjectionStopped
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import Recorded, StoredEvent
from refold.projections.checkpoint import Checkpoint, Move
from refold.projections.columns import refuse_unkeepable
from refold.projections.counts import FoldCounts
from refold.projections.feed import Batch
from refold.projections.parking.gate import Gate
from refold.projections.parking.records import Change
from refold.projections.shards import WHOLE, Shard
from refold.projections.sink import Sink

__all__ = ["EVENTS_UNWRITTEN", "Folding", "LostOwnership"]

_ROWS_KEPT = 50_000
_ROWS_UNWRITTEN = 20_000
EVENTS_UNWRITTEN = 200_000
"""How many positions are folded ahead of the last write at most, but for a page."""
_SECONDS_UNWRITTEN = 1.0
_EVENTS_AT_ONCE = 100


class LostOwnership(ProjectionStopped):
    """Another process has taken the projection over. Nothing was written; what is in memory is void."""


class Folding:
    """The rows of one table that were touched lately, folded up to `position`, and written up to `written`.

    Rows in memory are only right while nobody else writes the table: each write names the owner's epoch, and when it
    does not hold, the whole object is to be thrown away. `between` is called now and then inside of a page, so that a
    slow fold can show that its owner lives. `gate` keeps back events of rows that are parked. Of a `shard`, only its
    rows are touched, and its checkpoint moves. What is folded is written after so many seconds or events at the latest.
    """

    def __init__(
        self,
        sink: Sink,
        definition: ReadModelDefinition,
        table: str,
        checkpoint: Checkpoint,
        between: Callable[[], Awaitable[None]] | None = None,
        gate: Gate | None = None,
        counts: FoldCounts | None = None,
        shard: Shard = WHOLE,
        seconds_unwritten: float = _SECONDS_UNWRITTEN,
        events_unwritten: int = EVENTS_UNWRITTEN,
    ) -> None:
        self.shard = shard
        self._only = shard.has if shard != WHOLE else None
        self._name = shard.checkpoint(table)
        self._seconds_unwritten, self._most_unwritten = seconds_unwritten, events_unwritten
        self._counts = counts or FoldCounts()
        self._between = between
        self._sink = sink
        self._definition = definition
        self._table = table
        self._epoch = checkpoint.epoch
        self._fold = RowFold(definition)
        self._rows: OrderedDict[RowKey, ReadModel | None] = OrderedDict()
        self._touched: set[RowKey] = set()
        self._seen: dict[RowKey, int] = {}
        self._events_unwritten = 0
        self._unwritten_since = 0.0
        self._append_id = checkpoint.append_id
        self.gate = gate or Gate((), ())
        self.position = checkpoint.position
        self.written = checkpoint.position

    async def take(self, batch: Batch) -> None:
        """Folds a batch. Writes when it is the log's end, or enough has gathered. Raises `LostOwnership`, and what the
        fold raises.
        """
        if batch.events:
            await self._load_missing(batch)
            faults.at("projection.page_read")
            passes = self.gate.passes if self.gate else None
            for start in range(0, len(batch.events), _EVENTS_AT_ONCE):
                if start and self._between is not None:
                    await self._between()
                events = batch.events[start : start + _EVENTS_AT_ONCE]
                self._touched |= self._fold.fold(self._rows, events, only=self._only, seen=self._seen, passes=passes)
                self._counts.done(sum(type(recorded.event) in self._definition.evolves for recorded in events))
            faults.at("projection.folded")
        if batch.last is not None:
            if self.position == self.written:
                self._unwritten_since = time.monotonic()
            self._events_unwritten += batch.scanned_to - self.position
            self.position = batch.scanned_to
            self._append_id = batch.last.append_id.hex()
        if self.position > self.written and (batch.scanned_to >= batch.head or batch.unreadable or self._enough()):
            await self.write()

    async def fold_row(self, key: RowKey, recorded: Recorded[Any]) -> tuple[list[ReadModel], list[RowKey]]:
        """What one event makes of one row; nothing is changed. Raises what the fold raises, and `InvalidQuery`."""
        loaded = await self._sink.load(self._definition, self._table, [key])
        row = loaded.rows.get(key)
        return self.fold_onto(key, row, recorded, loaded.seen)

    def fold_onto(
        self, key: RowKey, row: ReadModel | None, recorded: Recorded[Any], seen: Mapping[RowKey, int] | None = None
    ) -> tuple[list[ReadModel], list[RowKey]]:
        """The same, for a row that is at hand and may be changed."""
        state: dict[RowKey, ReadModel | None] = {key: row}
        touched = self._fold.fold(state, [recorded], only=lambda each: each == key, seen=seen)
        changed, deleted = self._fold.changes(state, touched)
        refuse_unkeepable(self._definition, changed)
        return changed, deleted

    def keys(self, recorded: Recorded[Any]) -> list[RowKey]:
        """The rows that an event changes here, but for those that wait. Raises what a key function raises."""
        return [key for key in self._keys([recorded]) if self.gate.passes(key, recorded.position)]

    def _keys(self, events: Sequence[Recorded[Any]]) -> list[RowKey]:
        keys = list(self._fold.keys(events))
        return keys if self._only is None else [key for key in keys if self._only(key)]

    async def load_row(self, key: RowKey) -> ReadModel | None:
        """A row as it is written."""
        return (await self._sink.load(self._definition, self._table, [key])).rows.get(key)

    async def settle(
        self,
        upto: int,
        last: StoredEvent | None,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        changes: Sequence[Change],
    ) -> None:
        """Writes these rows, and makes these changes, up to a position that may be where it stands. Nothing else may be
        unwritten. Raises `LostOwnership`.
        """
        append_id = self._append_id if last is None else last.append_id.hex()
        move = Move(self.written, upto, append_id, self._epoch, self._name, tuple(changes))
        if not await self._sink.write(self._definition, self._table, rows, deleted, move):
            raise LostOwnership(f"{self._name}: another process has taken it over")
        faults.at("parking.settled")
        # What a failed fold left in memory is void.
        self._rows.clear()
        self._touched.clear()
        self._seen.clear()
        self._append_id = append_id
        self.position = self.written = upto

    async def write(self) -> None:
        """Writes the touched rows and moves the checkpoint, in one transaction. Raises `LostOwnership`,
        `DefinitionError`.
        """
        rows, deleted = self._fold.changes(self._rows, self._touched)
        move = Move(self.written, self.position, self._append_id, self._epoch, self._name)
        if not await self._sink.write(self._definition, self._table, rows, deleted, move):
            raise LostOwnership(f"{self._name}: another process has taken it over")
        faults.at("projection.committed")
        self.written = self.position
        self._touched.clear()
        if self._seen:
            self._seen = {key: position for key, position in self._seen.items() if position > self.written}
        self._events_unwritten = 0
        self._forget_oldest()

    async def _load_missing(self, batch: Batch) -> None:
        missing: list[RowKey] = []
        for key in self._keys(batch.events):
            if key in self._rows:
                self._rows.move_to_end(key)
            else:
                missing.append(key)
        if missing:
            loaded = await self._sink.load(self._definition, self._table, missing)
            for key in missing:
                self._rows[key] = loaded.rows.get(key)
            self._seen.update(loaded.seen)

    def _enough(self) -> bool:
        return (
            len(self._touched) >= _ROWS_UNWRITTEN
            or self._events_unwritten >= self._most_unwritten
            or time.monotonic() - self._unwritten_since >= self._seconds_unwritten
        )

    def _forget_oldest(self) -> None:
        while len(self._rows) > _ROWS_KEPT:
            self._rows.popitem(last=False)
