"""ExternalSink: read models whose rows live outside of the log's database, in a `RowStore`.

Owners, leases and states stay beside the log. What counts as seen is the position that stands in the row store, with
the rows: a store that lost its last moments goes back by itself, and one that lost everything begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from refold import faults
from refold.errors import ConfigurationError, ProjectionStopped, RefoldError
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.conditions import Condition
from refold.projections.definitions import KnownDefinition
from refold.projections.parking.records import Dropped, ProjectionRecords, Renamed, written_apart
from refold.projections.roster import Roster
from refold.projections.row_store import Forgetful, FullText, RowStore, Standing
from refold.projections.sink import (
    Answer,
    Decode,
    Holder,
    Loaded,
    LogSink,
    Query,
    building,
    lives_elsewhere,
    placed,
    previous,
    refuse_other,
)
from refold.store.event_store import LogPage

__all__ = ["ExternalSink", "Log"]

_log = logging.getLogger("refold.projections")

_PAGE = 2_000
_NOTED_EVERY = 0.25
"""Seconds between two notes, beside the log, of how far the rows are: for whoever looks while their store is away."""
_SECONDS_TO_CREATE = 30.0
_LOOK = 0.05


class Log(Protocol):
    """What an external sink needs of the event store."""

    async def read_log(self, *, after: int = 0, limit: int = 1000) -> LogPage:
        """Reads the log."""
        ...


class ExternalSink:
    """See `Sink`. `leases` is the sink of the log's database: it keeps everything but rows and true positions."""

    def __init__(self, log: Log, leases: LogSink, rows: RowStore) -> None:
        self._log = log
        self._leases = leases
        self._store = rows
        self._prepared = False
        self._noted: dict[str, float] = {}
        self._marked: set[str] = set()

    @property
    def records(self) -> ProjectionRecords:
        """See `Sink.records`."""
        return self._leases.records

    def together(self, name: str) -> bool:
        """See `Sink.together`."""
        return False

    def divides(self, name: str) -> bool:
        """See `Sink.divides`."""
        return False

    @property
    def place(self) -> str:
        """Where the rows are, without secrets."""
        return self._store.name

    async def prepare(self) -> None:
        """See `Sink.prepare`."""
        await self._leases.prepare()
        await self._rows()

    async def examine(self) -> None:
        """Looks whether the row store answers and can do what is needed; writes nothing beside the log."""
        await self._rows()

    async def life(self) -> str:
        """Another text whenever the row store may have lost what it had acknowledged. Raises `StoreUnavailable`."""
        rows = await self._rows()
        return await rows.life() if isinstance(rows, Forgetful) else ""

    async def close(self) -> None:
        """Gives the row store's connections back."""
        await self._store.close()

    async def _rows(self) -> RowStore:
        # Prepared by whoever comes first: the store may be away when the process starts.
        if not self._prepared:
            await self._store.prepare()
            self._prepared = True
        return self._store

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """See `Sink.checkpoint`."""
        lease = await self._leases.checkpoint(name)
        return None if lease is None else await self.current(lease)

    async def current(self, lease: Checkpoint) -> Checkpoint:
        """A checkpoint with the position at which the rows really are. Raises `StoreUnavailable`."""
        if not self._has(lease):
            return _other_place(lease)
        rows = await self._rows()
        stands = await rows.standing(lease.name)
        return _standing_at(lease, stands or Standing(fingerprint=lease.fingerprint.partition(":")[2]))

    def unenrolled(self, definition: ReadModelDefinition) -> Checkpoint:
        """What stands beside the log of a read model that no process has registered yet: nothing but where it is to
        live.
        """
        return Checkpoint(name=definition.name, fingerprint=placed(self._store.kind, definition.fingerprint))

    def noted(self, lease: Checkpoint) -> Checkpoint:
        """A checkpoint with the position that was noted beside the log: for when the store does not answer."""
        if not self._has(lease):
            return _other_place(lease)
        return msgspec.structs.replace(lease, fingerprint=lease.fingerprint.partition(":")[2])

    def _has(self, lease: Checkpoint) -> bool:
        """Whether it is here that the rows are: not where the read model lived before."""
        return lease.fingerprint.startswith(f"{self._store.kind}:")

    async def _enroll(self, table: str, fingerprint: str) -> None:
        await self._leases.enroll(table, placed(self._store.kind, fingerprint))

    async def checkpoints(self) -> list[Checkpoint]:
        """See `Sink.checkpoints`."""
        return [await self.current(lease) for lease in await self._leases.checkpoints()]

    async def shards(self, table: str) -> list[Checkpoint]:
        """See `Sink.shards`."""
        found = await self.checkpoint(table)
        return [] if found is None else [found]

    async def reshard(self, table: str, of: int, epochs: Mapping[str, int]) -> bool:
        """See `Sink.reshard`: not divided here."""
        return False

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """See `Sink.register`."""
        # Known beside the log first: then it is seen that it waits for its store.
        lease = await self._leases.checkpoint(table)
        if lease is None:
            await self._enroll(table, definition.fingerprint)
        elif not self._has(lease):
            return  # it is rebuilt to move here
        rows = await self._rows()
        deadline = time.monotonic() + _SECONDS_TO_CREATE
        while await rows.standing(table) is None:
            # Made by one process alone: a second one would drop what the first has filled meanwhile.
            claimed = await self._leases.claim(
                table, f"register:{id(self):x}:{time.monotonic_ns()}", _SECONDS_TO_CREATE
            )
            if claimed is not None:
                try:
                    if await rows.standing(table) is None:
                        if lease is not None and lease.position:
                            _log.warning(
                                "the rows of %s were at position %d, and are not in %s any more; they are folded anew",
                                table, lease.position, self.place,
                            )  # fmt: skip
                        await self._enroll(table, definition.fingerprint)
                        await self._leases.note(table, claimed.epoch, 0, "")
                        await self.records.apply([Dropped(table)])
                        await rows.create(definition, table, {table: _empty(definition, claimed.epoch)})
                finally:
                    await self._leases.release(table, claimed.epoch)
                return
            if time.monotonic() > deadline:
                return  # whoever owns it finds that the table is gone, and comes here
            await asyncio.sleep(_LOOK)

    async def begin(self, definition: ReadModelDefinition, owner: str, seconds: float) -> Checkpoint | None:
        """See `Sink.begin`."""
        rows = await self._rows()
        table = building(definition.name)
        await self._enroll(table, definition.fingerprint)
        left = await rows.standing(table)
        above = max(time.time_ns() // 1000, 0 if left is None else left.epoch)
        claimed = await self._leases.claim(table, owner, seconds, above=above)
        if claimed is None:
            return None
        await self._leases.note(table, claimed.epoch, 0, "")
        await self.records.apply([Dropped(table)])
        await rows.create(definition, table, {table: _empty(definition, claimed.epoch)})
        return msgspec.structs.replace(claimed, position=0, append_id="", fingerprint=definition.fingerprint)

    async def drop(self, table: str) -> None:
        """See `Sink.drop`."""
        await (await self._rows()).drop(table)
        await self._leases.withdraw(table)

    @property
    def roster(self) -> Roster | None:
        """See `Sink.roster`."""
        return self._leases.roster

    async def choose(self, name: str, fingerprint: str, parts: Mapping[str, str]) -> None:
        """See `Sink.choose`."""
        await self._leases.choose(name, fingerprint, parts)

    async def definitions(self, name: str) -> list[KnownDefinition]:
        """See `Sink.definitions`."""
        return await self._leases.definitions(name)

    async def claim(
        self, name: str, owner: str, seconds: float, *, force: bool = False, above: int = 0
    ) -> Checkpoint | None:
        """See `Sink.claim`. None too when the rows are gone: they are registered again."""
        lease = await self._leases.checkpoint(name)
        if lease is None or not self._has(lease):
            claimed = await self._leases.claim(name, owner, seconds, force=force, above=above)
            return None if claimed is None else _other_place(claimed)
        rows = await self._rows()
        stands = await rows.standing(name)
        if stands is None:
            return None
        claimed = await self._leases.claim(name, owner, seconds, force=force, above=max(above, stands.epoch))
        if claimed is None:
            return None
        # From here on, whoever owned it before cannot write.
        fenced = await rows.fence(name, claimed.epoch)
        if fenced is None:
            await self._leases.release(name, claimed.epoch)
            return None
        faults.at("external.fenced")
        return _standing_at(claimed, fenced)

    async def holder(self, name: str) -> Holder | None:
        """See `Sink.holder`."""
        return await self._leases.holder(name)

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """See `Sink.renew`."""
        return await self._leases.renew(name, epoch, seconds)

    async def release(self, name: str, epoch: int) -> None:
        """See `Sink.release`."""
        await self._leases.release(name, epoch)

    async def mark(self, name: str, epoch: int, status: str, error: str) -> None:
        """See `Sink.mark`."""
        self._marked.add(name)
        await self._leases.mark(name, epoch, status, error)

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `Sink.load`."""
        return await (await self._rows()).load(definition, table, keys) if keys else Loaded({})

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """See `Sink.write`."""
        store = await self._rows()
        if not await written_apart(
            self.records, move.changes, lambda: store.write(definition, table, rows, deleted, move)
        ):
            return False
        faults.at("external.rows_written")
        await self._told(move.of(table), move)
        return True

    async def _told(self, name: str, move: Move) -> None:
        now = time.monotonic()
        if name in self._marked:
            self._marked.discard(name)
            await self._leases.mark(name, move.epoch, RUNNING, "")
        elif now - self._noted.get(name, 0.0) < _NOTED_EVERY:
            return
        self._noted[name] = now
        await self._leases.note(name, move.epoch, move.after, move.append_id)

    async def switch(
        self, definition: ReadModelDefinition, epoch: int, *, decode: Decode | None = None, back: bool = False
    ) -> bool:
        """See `Sink.switch`. In place of a transaction: the read one is fenced, so that nobody moves it meanwhile."""
        name, built = definition.name, building(definition.name)
        rows = await self._rows()
        new, old = await self._built(built, epoch), await rows.standing(name)
        if new is None or (old is not None and old.position > new.position and decode is None and not back):
            return False
        taken = await self._leases.claim(
            name, f"switch:{epoch}", _SECONDS_TO_CREATE, force=True, above=max(epoch, 0 if old is None else old.epoch)
        )
        try:
            if old is not None and taken is not None:
                old = await rows.fence(name, taken.epoch)
            if old is not None and old.position > new.position and not back:
                if decode is None:
                    return False
                await self._heal(definition, built, new, epoch, old.position, decode)
            if await self._built(built, epoch) is None:
                return False
            kept = previous(name)
            # What serves from now on is known before it does: a process of the release before, that sees other rows in
            # the place of its own, must neither take itself for the newer one nor miss what is kept for it.
            await self._leases.choose(name, definition.fingerprint, definition.parts)
            if old is not None:
                await self._enroll(kept, old.fingerprint)
            faults.at("external.switching")
            if not await rows.switch(definition, built, name, kept):
                return False
            faults.at("external.switched")
            await self.records.apply([Renamed(name, kept), Renamed(built, name)])
            await self._enroll(name, definition.fingerprint)
            await self._leases.withdraw(built)
            await self._note_standing(name, kept)
        finally:
            if taken is not None:
                await self._leases.release(name, taken.epoch)
        return True

    async def _note_standing(self, *tables: str) -> None:
        """Keeps beside the log how far rows are that were given another name, for when their store is away."""
        rows = await self._rows()
        for table in tables:
            lease, stands = await self._leases.checkpoint(table), await rows.standing(table)
            if lease is not None and stands is not None:
                await self._leases.note(table, lease.epoch, stands.position, stands.append_id)

    async def _built(self, table: str, epoch: int) -> Standing | None:
        lease = await self._leases.checkpoint(table)
        if lease is None or lease.epoch != epoch:
            return None
        return await (await self._rows()).fence(table, epoch)

    async def _heal(
        self, definition: ReadModelDefinition, table: str, new: Standing, epoch: int, until: int, decode: Decode
    ) -> None:
        """Folds into the built rows what the read ones have seen more."""
        fold, position = RowFold(definition), new.position
        wanted = {event.__message_name__ for event in definition.evolves}
        while position < until:
            page = await self._log.read_log(after=position, limit=min(_PAGE, until - position))
            if not page.events:
                raise ProjectionStopped(f"{definition.name}: its rows have seen position {until}, the log has not")
            events = [decode(event) for event in page.events if event.type in wanted]
            keys = list(fold.keys(events))
            loaded = await self.load(definition, table, keys)
            state: dict[RowKey, ReadModel | None] = {key: loaded.rows.get(key) for key in keys}
            changed, deleted = fold.changes(state, fold.fold(state, events, seen=loaded.seen))
            last = page.events[-1]
            move = Move(position, last.position, last.append_id.hex(), epoch)
            if not await (await self._rows()).write(definition, table, changed, deleted, move):
                raise ProjectionStopped(f"read model {definition.name!r} was taken over by another rebuild")
            position = last.position

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """See `Sink.exchange`."""
        name, kept = definition.name, previous(definition.name)
        rows = await self._rows()
        current, before = await rows.standing(name), await rows.standing(kept)
        if current is None or before is None:
            return False
        above = max(current.epoch, before.epoch)
        await self._enroll(kept, before.fingerprint)
        taken = []
        try:
            for table in (name, kept):
                claimed = await self._leases.claim(table, "exchange", _SECONDS_TO_CREATE, force=True, above=above)
                if claimed is None or await rows.fence(table, claimed.epoch) is None:
                    return False
                taken.append((table, claimed.epoch))
            if not await rows.exchange(name, kept):
                return False
            between = f"{name}__exchange"
            await self.records.apply([Renamed(name, between), Renamed(kept, name), Renamed(between, kept)])
            await self._enroll(name, before.fingerprint)
            await self._enroll(kept, current.fingerprint)
            await self._note_standing(name, kept)
        finally:
            for table, epoch in taken:
                await self._leases.release(table, epoch)
        return True

    async def read(
        self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None, *, table: str = ""
    ) -> Answer:
        """See `Sink.read`."""
        table = table or definition.name
        rows = await self._rows()
        try:
            stands, loaded, found = await rows.read(definition, table, keys, query)
            if stands is None:
                refuse_other(definition, await self.checkpoint(table))
        except RefoldError:
            # Rows of another definition may have other columns.
            _refuse_other(definition, table, await rows.standing(table))
            raise
        _refuse_other(definition, table, stands)
        return Answer(0 if stands is None else stands.position, loaded.rows, found, loaded.seen)

    async def search(
        self, definition: ReadModelDefinition, text: str, limit: int, fields: Sequence[str] | None
    ) -> list[ReadModel]:
        """Full-text search, where the row store is made for it. Raises `ConfigurationError` where it is not."""
        rows = await self._rows()
        if not isinstance(rows, FullText):
            raise ConfigurationError(f"{self.place} has no full-text search; keep {definition.name!r} in OpenSearch")
        return await rows.search(definition, text, limit, fields)

    async def count(self, definition: ReadModelDefinition, where: Condition | None, *, table: str = "") -> int:
        """See `Sink.count`."""
        table = table or definition.name
        rows = await self._rows()
        _refuse_other(definition, table, await rows.standing(table))
        return await rows.count(definition, table, where)


def _empty(definition: ReadModelDefinition, epoch: int) -> Standing:
    return Standing(fingerprint=definition.fingerprint, epoch=epoch)


def _other_place(lease: Checkpoint) -> Checkpoint:
    """Rows that live elsewhere are like those of another definition: nobody may add to them here."""
    if lives_elsewhere(lease):
        return lease
    return msgspec.structs.replace(lease, fingerprint=placed("the log's database", lease.fingerprint))


def _standing_at(lease: Checkpoint, stands: Standing) -> Checkpoint:
    return msgspec.structs.replace(
        lease, position=stands.position, append_id=stands.append_id, fingerprint=stands.fingerprint
    )


def _refuse_other(definition: ReadModelDefinition, table: str, stands: Standing | None) -> None:
    at = None if stands is None else _standing_at(Checkpoint(name=table), stands)
    refuse_other(definition, at)
