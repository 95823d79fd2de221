"""A projection: one read model that is kept current. Its life is: standing by → owning → following, until it stops or
another takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from refold.errors import (
    DecodeError,
    LogRegression,
    RefoldError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    UnknownEvent,
)
from refold.folds.read_model import ReadModelDefinition
from refold.projections.checkpoint import CHANGED, RUNNING, STOPPED, Checkpoint
from refold.projections.feed import Batch, Feed
from refold.projections.folding import Folding, LostOwnership
from refold.projections.sink import Sink
from refold.store.doorbell import Doorbell
from refold.store.event_store import EventStore
from refold.subscriptions.pace import Pace

__all__ = ["LEASE_SECONDS", "Projection", "check_history"]

_log = logging.getLogger("refold.projections")

LEASE_SECONDS = 10.0
"""How long a process that stands still stays the owner; then another takes over."""
_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_LONGEST_ABSENCE = 1.0
"""Seconds between attempts to reach a store that is away: it is told of once, and found again soon."""


async def check_history(store: EventStore, checkpoint: Checkpoint) -> None:
    """Raises `LogRegression` unless the log holds the event at which the checkpoint stands."""
    if checkpoint.position == 0:
        return
    page = await store.read_log(after=checkpoint.position - 1, limit=1)
    if not page.events:
        raise LogRegression(
            f"read model {checkpoint.name!r} is at position {checkpoint.position}, the log ends at {page.head}: it "
            f"was restored from an older backup; run `refold rebuild {checkpoint.name}`"
        )
    if page.events[0].append_id.hex() != checkpoint.append_id:
        raise LogRegression(
            f"read model {checkpoint.name!r} was folded from another history: the log has another event at position "
            f"{checkpoint.position}; run `refold rebuild {checkpoint.name}`"
        )


def _notes(problem: Exception) -> list[str]:
    return list(getattr(problem, "__notes__", []))


class Projection:
    """Keeps one read model current, in this process, as long as this process owns it.

    `applied` rings with each position that is written, and with none when it stops or another takes over. `status` and
    `error` say what became of it here, `epoch` is that of its last term of ownership.
    """

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        feed: Feed,
        definition: ReadModelDefinition,
        owner: str,
        lease: float = LEASE_SECONDS,
    ) -> None:
        self.definition = definition
        self.applied = Doorbell()
        self.status = RUNNING
        self.error = ""
        self.owns = False
        self.progress_at = time.monotonic()
        self._store = store
        self._sink = sink
        self._feed = feed
        self._owner = owner
        self._lease = lease
        self.epoch = 0
        self._failures = 0
        self._failed_after = 0
        self._renewed = 0.0
        self._absences = 0
        self._wanted = frozenset(event.__message_name__ for event in definition.evolves)
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Runs until `stop`. Never raises: a failure is retried, and then kept as `error` for all to see."""
        while not self._stopping.is_set():
            try:
                await self._own_and_follow()
                self._failures = 0
            except LostOwnership:
                _log.info("read model %s goes on elsewhere", self.definition.name)
            except (StoreUnavailable, StoreFull, StoreReadOnly) as problem:
                # Nothing is wrong with the read model: it goes on as soon as the store does.
                await self._wait_for_the_store(problem)
            except (LogRegression, UnknownEvent, DecodeError) as problem:
                await self._stop_at(problem)
            except Exception as problem:  # noqa: BLE001  # whatever a fold of the user's raises stops this projection only
                self._failures += 1
                if self._failures >= _ATTEMPTS:
                    await self._stop_at(problem)
                else:
                    await self._pause(f"attempt {self._failures} of {_ATTEMPTS} failed: {problem!r}")

    async def stop(self) -> None:
        """Ends it, and lets another process take over at once."""
        self._stopping.set()
        self._woken.set()
        self.applied.ring_anyway()

    def look(self) -> None:
        """Makes one that stands still look at once whether it can go on: it was rebuilt."""
        self._woken.set()

    async def _own_and_follow(self) -> None:
        """One term of ownership. Returns when it ends in order."""
        checkpoint = await self._sink.claim(self.definition.name, self._owner, self._lease)
        if checkpoint is None:
            # Whoever dropped the table wants it made anew.
            await self._sink.register(self.definition, self.definition.name)
            await self._wait(self._lease / 4)
            return
        self.epoch = checkpoint.epoch
        try:
            if checkpoint.fingerprint != self.definition.fingerprint:
                await self._stand_changed()
                return
            await check_history(self._store, checkpoint)
            await self._follow(checkpoint)
        finally:
            self.owns = False
            # Who waits here must look elsewhere now.
            self.applied.ring_anyway()
        await self._sink.release(self.definition.name, self.epoch)

    async def _follow(self, checkpoint: Checkpoint) -> None:
        folding = Folding(self._sink, self.definition, self.definition.name, checkpoint, self._renew)
        if folding.written < self.applied.position:
            # It went back: the server lost its last moments, or the log is another. A bell only goes forward.
            self.applied = Doorbell()
        self.applied.ring(folding.written)
        self.owns = True
        self.status, self.error = RUNNING, ""
        self._absences = 0
        pace = Pace()
        self._renewed = time.monotonic()
        while not self._stopping.is_set():
            batch = await self._feed.read(folding.position)
            careful = await self._take(folding, batch)
            if folding.written == folding.position:
                self.applied.ring(folding.written)
            self.progress_at = time.monotonic()
            if batch.unreadable is not None:
                batch = await self._read_alone(folding, batch.unreadable)
            await self._renew()
            if batch.last is not None:
                pace.found()
                if careful:
                    # A batch that was folded after all: what failed before has healed.
                    self._failures = 0
            if batch.scanned_to >= batch.head:
                await self._store.wait_beyond(folding.position, pace.pause())

    async def _renew(self) -> None:
        """Keeps the lease when a quarter of it is over. Raises `LostOwnership` when another has it."""
        now = time.monotonic()
        if now - self._renewed > self._lease / 4:
            self._renewed = now
            if not await self._sink.renew(self.definition.name, self.epoch, self._lease):
                raise LostOwnership(self.definition.name)

    async def _take(self, folding: Folding, batch: Batch) -> bool:
        """Folds a batch; event by event if it is the one that failed. Says whether it was.

        What stands before that one is folded in bulk again: it may be most of the log.
        """
        careful = self._failures > 0 and batch.scanned_to > self._failed_after
        try:
            if careful:
                await folding.take_carefully(batch)
            else:
                await folding.take(batch)
        except LostOwnership:
            raise
        except Exception:
            self._failed_after = batch.after
            raise
        return careful

    async def _read_alone(self, folding: Folding, unreadable: UnknownEvent | DecodeError) -> Batch:
        """Goes on over an event that only others want and cannot read. Raises it when it is wanted here."""
        batch = await self._feed.read_alone(folding.position, self._wanted)
        await self._take(folding, batch)
        if folding.written == folding.position:
            self.applied.ring(folding.written)
        if batch.unreadable is not None or batch.last is None:
            raise batch.unreadable or unreadable
        return batch

    async def _stand_changed(self) -> None:
        """The rows were folded by another definition: nobody may add to them. Looks now and then whether they were
        rebuilt.
        """
        name = self.definition.name
        if self.status != CHANGED:
            self.status = CHANGED
            self.error = f"its definition changed since its rows were written; run `refold rebuild {name}`"
            _log.error("read model %s stands still: %s", name, self.error)
        await self._sink.release(name, self.epoch)
        while not self._stopping.is_set():
            await self._wait(self._lease / 4)
            checkpoint = await self._sink.checkpoint(name)
            if checkpoint is not None and checkpoint.fingerprint == self.definition.fingerprint:
                return

    async def _stop_at(self, problem: Exception) -> None:
        """Stops loudly at the last good checkpoint. Goes on when it is rebuilt, or when the process starts again."""
        self.status = STOPPED
        self.error = " ".join([str(problem) if isinstance(problem, RefoldError) else repr(problem), *_notes(problem)])
        _log.error("read model %s stopped: %s", self.definition.name, self.error, exc_info=problem)
        epoch = self.epoch
        self.applied.ring_anyway()
        while not self._stopping.is_set():
            try:
                await self._sink.mark(self.definition.name, epoch, STOPPED, self.error)
                await self._sink.renew(self.definition.name, epoch, self._lease)
                checkpoint = await self._sink.checkpoint(self.definition.name)
                if checkpoint is None or checkpoint.epoch != epoch:
                    self._failures = 0
                    return
            except RefoldError as away:
                _log.debug("read model %s: its error is not kept yet: %s", self.definition.name, away)
            await self._wait(self._lease / 4)
        with contextlib.suppress(RefoldError):  # then the lease runs out by itself
            await self._sink.release(self.definition.name, epoch)

    async def _wait_for_the_store(self, problem: RefoldError) -> None:
        if self._absences == 0:
            _log.warning("read model %s waits for the store: %s", self.definition.name, problem)
        self.error = f"it waits for the store: {problem}"
        seconds = min(_FIRST_PAUSE * 2**self._absences, _LONGEST_ABSENCE)
        self._absences = min(self._absences + 1, 10)
        await self._wait(seconds)

    async def _pause(self, why: str) -> None:
        seconds = min(_FIRST_PAUSE * 2 ** max(0, self._failures), _LONGEST_PAUSE)
        self.error = why
        _log.warning("read model %s pauses for %.1f s: %s", self.definition.name, seconds, why)
        await self._wait(seconds)

    async def _wait(self, seconds: float) -> None:
        if self._stopping.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
