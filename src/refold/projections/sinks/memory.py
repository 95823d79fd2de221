"""Read models in memory, beside an in-memory store."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from refold import faults
from refold.errors import ProjectionStopped
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import StoredEvent
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.columns import refuse_unkeepable
from refold.projections.conditions import Condition
from refold.projections.definitions import KnownDefinition
from refold.projections.ordering import sorted_rows
from refold.projections.parking.memory import MemoryRecords
from refold.projections.roster import MemoryRoster, Roster
from refold.projections.sink import (
    Answer,
    Decode,
    Holder,
    Kept,
    Loaded,
    Query,
    building,
    lives_elsewhere,
    previous,
    refuse_inline,
    refuse_other,
)
from refold.store.event_store import LogPage, StoreTransaction

__all__ = ["MemorySink"]


class MemoryAccess(Protocol):
    """What the sink needs of its store."""

    inline: Any

    async def read_log(self, *, after: int = 0, limit: int = 1000) -> LogPage:
        """Reads the log."""
        ...


def _known(name: str, fingerprint: str, parts: dict[str, str], now: int) -> KnownDefinition:
    return KnownDefinition(name=name, fingerprint=fingerprint, parts=parts, seen_at=now, retired_at=0)


class MemorySink:
    """See `Sink`. What it gives and takes are copies, so that a caller cannot change a row behind its back."""

    def __init__(self, store: MemoryAccess) -> None:
        self._store = store
        self._tables: dict[str, dict[RowKey, ReadModel]] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._definitions: dict[str, dict[str, KnownDefinition]] = {}
        self._epoch = 0
        self.records = MemoryRecords(self._owned)
        self.roster: Roster | None = MemoryRoster()

    def together(self, name: str) -> bool:
        """See `Sink.together`."""
        return True

    def divides(self, name: str) -> bool:
        """See `Sink.divides`. One process has all rows."""
        return False

    async def prepare(self) -> None:
        """See `Sink.prepare`."""

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """See `Sink.checkpoint`."""
        return self._checkpoints.get(name)

    async def checkpoints(self) -> list[Checkpoint]:
        """See `Sink.checkpoints`."""
        return [self._checkpoints[name] for name in sorted(self._checkpoints)]

    async def shards(self, table: str) -> list[Checkpoint]:
        """See `Sink.shards`."""
        return [self._checkpoints[table]] if table in self._checkpoints else []

    async def reshard(self, table: str, of: int, epochs: Mapping[str, int]) -> bool:
        """See `Sink.reshard`: not divided here."""
        return False

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """See `Sink.register`."""
        if lives_elsewhere(self._checkpoints.get(table)):
            return
        self._tables.setdefault(table, {})
        self._checkpoints.setdefault(
            table, Checkpoint(name=table, fingerprint=definition.fingerprint, updated_at=_now())
        )

    async def begin(self, definition: ReadModelDefinition, owner: str, seconds: float) -> Checkpoint | None:
        """See `Sink.begin`."""
        table, now = building(definition.name), _now()
        known = self._checkpoints.get(table)
        if known is not None and known.owner not in ("", owner) and known.lease_until >= now:
            return None
        self._epoch = max(self._epoch + 1, now)
        self._tables[table] = {}
        self.records.forget_table(table)
        begun = self._checkpoints[table] = Checkpoint(
            name=table,
            fingerprint=definition.fingerprint,
            owner=owner,
            epoch=self._epoch,
            lease_until=now + int(seconds * 1_000_000),
            updated_at=now,
        )
        return begun

    async def drop(self, table: str) -> None:
        """See `Sink.drop`."""
        self._tables.pop(table, None)
        self._checkpoints.pop(table, None)
        self.records.forget_table(table)

    async def enroll(self, name: str, fingerprint: str) -> None:
        """See `LogSink.enroll`."""
        self._checkpoints.setdefault(name, Checkpoint(name=name, updated_at=_now()))
        self._change(name, fingerprint=fingerprint)

    async def withdraw(self, name: str) -> None:
        """See `LogSink.withdraw`."""
        self._checkpoints.pop(name, None)
        self.records.forget_table(name)

    async def move(self, transaction: StoreTransaction | None, name: str, move: Move) -> bool:
        """See `LogSink.move`."""
        if not self._moves(name, move):
            return False
        self._change(name, position=move.after, append_id=move.append_id, status=RUNNING, error="", updated_at=_now())
        return True

    async def note(self, name: str, epoch: int, position: int, append_id: str) -> None:
        """See `LogSink.note`."""
        if self._owned(name, epoch):
            self._change(name, position=position, append_id=append_id, updated_at=_now())

    async def choose(self, name: str, fingerprint: str, parts: Mapping[str, str]) -> None:
        """See `Sink.choose`."""
        now = _now()
        known = self._definitions.setdefault(name, {})
        kept = self._checkpoints.get(previous(name))
        if kept is not None:
            known.setdefault(kept.fingerprint, _known(name, kept.fingerprint, {}, now))
        for other, each in known.items():
            if not each.retired_at:
                known[other] = msgspec.structs.replace(each, retired_at=now)
        mine = _known(name, fingerprint, dict(parts), now)
        known[mine.fingerprint] = msgspec.structs.replace(known.get(mine.fingerprint, mine), retired_at=0)

    async def definitions(self, name: str) -> list[KnownDefinition]:
        """See `Sink.definitions`."""
        return sorted(self._definitions.get(name, {}).values(), key=lambda each: -each.seen_at)

    async def claim(
        self, name: str, owner: str, seconds: float, *, force: bool = False, above: int = 0
    ) -> Checkpoint | None:
        """See `Sink.claim`."""
        known = self._checkpoints.get(name)
        if known is None or not (force or known.owner in ("", owner) or known.lease_until < _now()):
            return None
        lease_until = _now() + int(seconds * 1_000_000)
        epoch = max(known.epoch, above) + 1
        return self._change(name, owner=owner, epoch=epoch, lease_until=lease_until, status=RUNNING, error="")

    async def holder(self, name: str) -> Holder | None:
        """See `Sink.holder`."""
        known, now = self._checkpoints.get(name), _now()
        if known is None or not known.owner or known.lease_until < now:
            return None
        return Holder(known.owner, known.epoch, (known.lease_until - now) / 1_000_000)

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """See `Sink.renew`."""
        if not self._owned(name, epoch):
            return False
        self._change(name, lease_until=_now() + int(seconds * 1_000_000))
        return True

    async def renew_all(self, held: Mapping[str, int], seconds: float) -> Mapping[str, Kept]:
        """See `LogSink.renew_all`."""
        there = [name for name in held if name in self._checkpoints]
        return {
            name: Kept(self._checkpoints[name].epoch, await self.renew(name, held[name], seconds)) for name in there
        }

    async def release(self, name: str, epoch: int) -> None:
        """See `Sink.release`."""
        if self._owned(name, epoch):
            self._change(name, owner="")

    async def mark(self, name: str, epoch: int, status: str, error: str) -> None:
        """See `Sink.mark`."""
        if self._owned(name, epoch):
            self._change(name, status=status, error=error)

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `Sink.load`."""
        rows = self._tables[table]
        return Loaded({key: copy.deepcopy(rows[key]) for key in keys if key in rows})

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """See `Sink.write`."""
        if not self._moves(move.of(table), move):
            return False
        refuse_unkeepable(definition, rows)
        if not self.records.apply_now(move.changes):
            return False
        faults.at("projection.rows_written")
        self._put(definition, table, rows, deleted, move)
        return True

    async def switch(
        self, definition: ReadModelDefinition, epoch: int, *, decode: Decode | None = None, back: bool = False
    ) -> bool:
        """See `Sink.switch`."""
        name, built = definition.name, building(definition.name)
        if not self._owned(built, epoch):
            return False
        new, old = self._checkpoints[built], self._checkpoints[name]
        if old.position > new.position and not back:
            if decode is None:
                return False
            # Reading in memory lets nobody in between.
            page = await self._store.read_log(after=new.position, limit=old.position - new.position)
            self._put(definition, built, *self._changes(RowFold(definition), built, new, page.events, decode))
            new = self._checkpoints[built]
        if name in self._tables:
            self._rename(name, previous(name), 0)
        self._rename(built, name, old.epoch)
        return True

    def _rename(self, name: str, new_name: str, above: int) -> None:
        checkpoint = self._checkpoints.pop(name)
        self._tables[new_name] = self._tables.pop(name)
        self.records.rename_table(name, new_name)
        self._checkpoints[new_name] = msgspec.structs.replace(
            checkpoint,
            name=new_name,
            owner="",
            epoch=max(checkpoint.epoch, above) + 1,
            lease_until=0,
            status=RUNNING,
            error="",
        )

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """See `Sink.exchange`."""
        name, kept = definition.name, previous(definition.name)
        if name not in self._checkpoints or kept not in self._checkpoints:
            return False
        above = max(self._checkpoints[name].epoch, self._checkpoints[kept].epoch)
        for source, target in ((name, ""), (kept, name), ("", kept)):
            self._rename(source, target, above)
        return True

    async def read(
        self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None, *, table: str = ""
    ) -> Answer:
        """See `Sink.read`."""
        table = table or definition.name
        checkpoint = self._checkpoints.get(table)
        refuse_other(definition, checkpoint)
        rows = self._tables.get(table, {})
        found = {key: copy.deepcopy(rows[key]) for key in keys if key in rows}
        queried: list[ReadModel] = []
        if query is not None:
            wanted = [row for row in rows.values() if query.where is None or query.where.holds(row)]
            ordered = sorted_rows(wanted, query.order)[query.offset :]
            queried = [copy.deepcopy(row) for row in ordered[: query.limit]]
        return Answer(checkpoint.position if checkpoint else 0, found, queried)

    async def count(self, definition: ReadModelDefinition, where: Condition | None, *, table: str = "") -> int:
        """See `Sink.count`."""
        table = table or definition.name
        refuse_other(definition, self._checkpoints.get(table))
        rows = self._tables.get(table, {})
        return sum(where is None or where.holds(row) for row in rows.values())

    def install(self, definitions: Sequence[ReadModelDefinition], decode: Decode) -> None:
        """See `InlineRows.install`."""
        folds = [RowFold(definition) for definition in definitions]

        def inline(events: list[StoredEvent]) -> None:
            changes = [(fold, *self._folded(fold, events, decode)) for fold in folds]
            for fold, rows, _, _ in changes:
                refuse_unkeepable(fold.definition, rows)
            for fold, rows, deleted, move in changes:
                self._put(fold.definition, fold.definition.name, rows, deleted, move)

        self._store.inline = inline if folds else None

    def _folded(
        self, fold: RowFold, events: list[StoredEvent], decode: Decode
    ) -> tuple[list[ReadModel], list[RowKey], Move]:
        name = fold.definition.name
        checkpoint = self._checkpoints[name]
        refuse_inline(fold.definition, checkpoint, events[0].position - 1)
        if checkpoint.position != events[0].position - 1:
            raise ProjectionStopped(f"inline read model {name!r} does not stand before these events; rebuild it")
        return self._changes(fold, name, checkpoint, events, decode)

    def _changes(
        self, fold: RowFold, table: str, checkpoint: Checkpoint, events: list[StoredEvent], decode: Decode
    ) -> tuple[list[ReadModel], list[RowKey], Move]:
        recorded = [decode(event) for event in events]
        rows = self._tables[table]
        state: dict[RowKey, ReadModel | None] = {
            key: copy.deepcopy(rows[key]) for key in fold.keys(recorded) if key in rows
        }
        touched = fold.fold(state, recorded)
        last = events[-1]
        move = Move(checkpoint.position, last.position, last.append_id.hex(), checkpoint.epoch)
        return (*fold.changes(state, touched), move)

    def _put(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> None:
        kept = self._tables[table]
        for row in rows:
            kept[definition.key_of(row)] = copy.deepcopy(row)
        for key in deleted:
            kept.pop(key, None)
        self._change(
            move.of(table), position=move.after, append_id=move.append_id, status=RUNNING, error="", updated_at=_now()
        )

    def _moves(self, name: str, move: Move) -> bool:
        return self._owned(name, move.epoch) and self._checkpoints[name].position == move.before

    def _owned(self, name: str, epoch: int) -> bool:
        known = self._checkpoints.get(name)
        return known is not None and known.epoch == epoch

    def _change(self, name: str, **fields: Any) -> Checkpoint:
        changed = self._checkpoints[name] = msgspec.structs.replace(self._checkpoints[name], **fields)
        return changed


def _now() -> int:
    return time.time_ns() // 1000
