"""Care: after a failure, or when the last owner died, a projection goes in small steps, and writes down what it tries
before it tries it. So an event that kills the process is found out.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from refold import faults
from refold.errors import (
    AtEvent,
    ConfigurationError,
    InvalidQuery,
    LogRegression,
    ProjectionStopped,
    RefoldError,
    StoreCorrupt,
    StoreError,
)
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import Recorded, StoredEvent
from refold.projections.checkpoint import Checkpoint
from refold.projections.feed import Batch
from refold.projections.folding import EVENTS_UNWRITTEN, Folding, LostOwnership
from refold.projections.parking.records import Attempt, Change, Forget, Park, ParkedKey, ProjectionRecords, as_text

__all__ = ["ATTEMPTS", "DEATHS", "PARKED_AT_MOST", "Care", "WorkerKilled", "keys_fault"]

ATTEMPTS = 5
"""How often an event that fails is tried, before its read model stops or its row is parked."""
DEATHS = 3
"""How often an event may take the process with it."""
PARKED_AT_MOST = 100
"""Rows of one projection that may be parked: when more fail, it is no row's fault, and the projection stops."""
_PIECE = 100
_AHEAD = EVENTS_UNWRITTEN + 5_000
"""How far ahead of its checkpoint an owner can have been when it died."""


class WorkerKilled(ProjectionStopped):
    """An event took the process with it, several times. It is not tried again until an operator says so."""


def keys_fault(problem: Exception) -> bool:
    """Whether only a row may be to blame: not the store, nor what the whole projection needs."""
    if isinstance(problem, StoreError):
        return isinstance(problem, StoreCorrupt)
    return not isinstance(problem, ProjectionStopped | LogRegression | ConfigurationError)


def said_of(problem: Exception) -> str:
    """An error in words, with its notes, but for the event: that is told beside it."""
    text = str(problem) if isinstance(problem, RefoldError) else repr(problem)
    return " ".join([text, *(each for each in getattr(problem, "__notes__", ()) if not isinstance(each, AtEvent))])


class Care:
    """How carefully one projection goes. `failures` counts those in a row; it is set by who runs the projection.

    `one_at_a_time` is the process's: while one projection tries something that may kill the process, no other does, so
    that none is blamed for another's event.
    """

    def __init__(
        self,
        records: ProjectionRecords,
        definition: ReadModelDefinition,
        owner: str,
        one_at_a_time: asyncio.Lock,
    ) -> None:
        self.failures = 0
        self._records = records
        self._definition = definition
        self._name = definition.name
        self._owner = owner
        self._lock = one_at_a_time
        self._epoch = 0
        self._attempt: Attempt | None = None
        self._failing_at = 0
        self._failed_after = 0
        self._singly_to = 0
        self._slowly_to = 0

    async def begin(self, checkpoint: Checkpoint, died: bool, head: int) -> None:
        """Begins a term of ownership of one checkpoint. `died`: its last owner did not end in order."""
        self._name = checkpoint.name
        self._epoch = checkpoint.epoch
        attempt = await self._records.attempt(self._name)
        self._attempt = attempt if attempt is not None and attempt.first > checkpoint.position else None
        self._singly_to = self._slowly_to = 0
        if self._attempt is not None and self._attempt.begun:
            died, self._singly_to = True, self._attempt.last
        if died:
            self._slowly_to = max(self._singly_to, min(head, checkpoint.position + _AHEAD))

    def wanted(self, batch: Batch) -> bool:
        """Whether a batch is to be taken carefully. What stands before a failure is taken in bulk: it may be most of
        the log.
        """
        return batch.after < self._slowly_to or (self.failures > 0 and batch.scanned_to > self._failed_after)

    def failed(self, batch: Batch) -> None:
        """Something in a batch that was taken in bulk failed."""
        self._failed_after = batch.after

    async def note_failure(self, problem: Exception, position: int, next_in: float) -> None:
        """Keeps for all to see that the event after a position, or one soon after it, failed."""
        if isinstance(problem, WorkerKilled):
            return
        first = self._failing_at if self._failing_at > position else position + 1
        failed = Attempt(name=self._name, first=first, last=first, failed=self.failures, error=said_of(problem))
        with contextlib.suppress(RefoldError):  # the store is away: then nobody can see it either
            await self._records.note(failed, self._epoch, next_in)

    async def healed(self, position: int) -> None:
        """A batch was taken carefully to its end."""
        self.failures = self._failing_at = 0
        if self._attempt is not None and position >= self._slowly_to:
            self._attempt = None
            await self._records.apply([Forget(self._name)])

    async def take(self, folding: Folding, batch: Batch) -> None:
        """Folds a batch in small steps, writing each: so a failure leaves the checkpoint right before its event."""
        if folding.position > folding.written:
            await folding.write()
        start = 0
        while start < len(batch.events):
            first = batch.events[start].position
            singly = self.failures > 0 or first <= self._singly_to
            piece = batch.events[start : start + (1 if singly else _PIECE)]
            if first - 1 > folding.position:
                before = first - 1
                await folding.take(Batch(folding.position, before, before, batch.stored_at(before), []))
            await self._try(folding, batch, piece)
            start += len(piece)
        await folding.take(Batch(folding.position, batch.scanned_to, batch.head, batch.last, [], batch.unreadable))

    async def _try(self, folding: Folding, batch: Batch, piece: list[Recorded[Any]]) -> None:
        first, last = piece[0], piece[-1]
        async with self._lock:
            if await self._killed_too_often(folding, first, last):
                return
            await self._note_begin(first.position, last.position)
            faults.at("parking.attempt_noted")
            try:
                await folding.take(Batch(folding.position, last.position, last.position, last.stored, piece))
            except LostOwnership:
                raise
            except Exception as problem:
                if first is not last:
                    # Some event of these: each alone, then.
                    self._failed_after, self._failing_at = batch.after, 0
                    raise
                problem.add_note(f"at position {first.position}: {first.type!r} of stream {first.stream!r}")
                if self._failing_at not in (0, first.position):
                    self.failures = 0
                self._failed_after, self._failing_at = batch.after, first.position
                if not self._definition.parks or self.failures + 1 < ATTEMPTS or not keys_fault(problem):
                    raise
                await self._park_failing(folding, first, problem)
                self.failures = 1  # what follows in this batch is taken singly too

    async def _note_begin(self, first: int, last: int) -> None:
        known = self._attempt
        same = known is not None and (known.first, known.last) == (first, last)
        begun = Attempt(
            name=self._name,
            first=first,
            last=last,
            begun=known.begun + 1 if known is not None and same else 1,
            failed=self.failures,
            error=known.error if known is not None and same else "",
        )
        if not await self._records.note(begun, self._epoch):
            raise LostOwnership(f"{self._name}: another process has taken it over")
        self._attempt = begun

    async def _killed_too_often(self, folding: Folding, first: Recorded[Any], last: Recorded[Any]) -> bool:
        known = self._attempt
        if known is None or first is not last or known.first != first.position or known.last != first.position:
            return False
        if known.begun < DEATHS:
            return False
        stored = first.stored
        problem = WorkerKilled(
            f"event {stored.type!r} at position {stored.position} (stream {stored.stream!r}) killed the worker "
            f"{known.begun} times; mend its fold, then run `refold resume {self._definition.name}`"
        )
        # Whoever died while it asked for the keys stops: it is the key function that kills.
        if not self._definition.parks or known.begun > DEATHS:
            raise problem
        await self._note_begin(stored.position, stored.position)
        faults.at("parking.attempt_noted")
        keys = folding.keys(first)
        if not keys:
            raise problem
        await self._park(folding, stored, dict.fromkeys(keys, problem), [], [], known.begun)
        return True

    async def _park_failing(self, folding: Folding, recorded: Recorded[Any], problem: Exception) -> None:
        """Tries an event row by row: the rows that fail are parked, the others get it."""
        failed: dict[RowKey, Exception] = {}
        rows: list[ReadModel] = []
        deleted: list[RowKey] = []
        try:
            keys = folding.keys(recorded)
        except Exception:  # noqa: BLE001  # a key function of the user's: without a key nothing can be parked
            raise problem from None
        for key in keys:
            try:
                changed, gone = await folding.fold_row(key, recorded)
            except Exception as why:
                if not keys_fault(why):
                    raise
                failed[key] = why
            else:
                rows += changed
                deleted += gone
        if not failed and isinstance(problem, InvalidQuery):
            # Every row can be folded, and the database does not take what came of it (a text too long for an index). It
            # does not say whose that was.
            failed, rows, deleted = dict.fromkeys(keys, problem), [], []
        await self._park(folding, recorded.stored, failed, rows, deleted, self.failures + 1)

    async def park_undecodable(self, folding: Folding, stored: StoredEvent, problem: Exception) -> bool:
        """Parks the row of an event that its class cannot hold, if the stream alone says which row that is."""
        if not self._definition.parks:
            return False
        handlers = [each for event, each in self._definition.evolves.items() if event.__message_name__ == stored.type]
        if not handlers or handlers[0].key is not None:
            return False
        route = self._definition.routes[handlers[0].event]
        keys = [
            key
            for key in route(Recorded(None, stored))
            if folding.shard.has(key) and folding.gate.passes(key, stored.position)
        ]
        await self._park(folding, stored, dict.fromkeys(keys, problem), [], [], 1)
        return True

    async def _park(
        self,
        folding: Folding,
        stored: StoredEvent,
        failed: dict[RowKey, Exception],
        rows: list[ReadModel],
        deleted: list[RowKey],
        attempts: int,
    ) -> None:
        if folding.gate.parked + len(failed) > PARKED_AT_MOST:
            raise ProjectionStopped(
                f"{folding.gate.parked} rows of {self._definition.name!r} are parked already, and one more fails at "
                f"position {stored.position}; see `refold parked list`. {next(iter(failed.values()))!r}"
            )
        parked = {
            key: ParkedKey(
                name=self._name.partition(":")[0],  # a row's, whichever shard it is in
                key=as_text(key),
                position=stored.position,
                stream=stored.stream,
                type=stored.type,
                error=said_of(problem),
                attempts=attempts,
                owner=self._owner,
                fingerprint=self._definition.fingerprint,
            )
            for key, problem in failed.items()
        }
        changes: list[Change] = [*(Park(each) for each in parked.values()), Forget(self._name)]
        await folding.settle(stored.position, stored, rows, deleted, changes)
        for key, each in parked.items():
            folding.gate.park(key, each)
        self._attempt = None
