"""A projection: one read model that is kept current. Its life is: standing by → owning → following, until it stops, is
paused, or another takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from refold.errors import (
    ConfigurationError,
    DecodeError,
    LogRegression,
    ProjectionStopped,
    RefoldError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    UnknownEvent,
)
from refold.folds.read_model import ReadModelDefinition
from refold.messages.recorded import from_microseconds
from refold.projections.checkpoint import CHANGED, PAUSED, RUNNING, STOPPED, Checkpoint
from refold.projections.counts import FoldCounts
from refold.projections.definitions import changes_between, retired
from refold.projections.feed import Batch, Feed
from refold.projections.folding import Folding, LostOwnership
from refold.projections.leases import Leases
from refold.projections.parking.care import ATTEMPTS, Care, WorkerKilled, said_of
from refold.projections.parking.gate import open_gate
from refold.projections.parking.records import Desk, Pause
from refold.projections.parking.requests import Requests
from refold.projections.roster import Shift
from refold.projections.routed import RoutedSink, log_of
from refold.projections.shards import WHOLE, Shard
from refold.projections.sink import Sink, lives_elsewhere, previous
from refold.store.doorbell import Doorbell
from refold.store.event_store import EventStore
from refold.subscriptions.pace import Pace
from refold.tracing import NO_TRACING, Tracing

__all__ = ["LEASE_SECONDS", "Projection", "check_history", "paused_in_words"]

_log = logging.getLogger("refold.projections")

LEASE_SECONDS = 3.0
"""How long a process that stands still stays the owner; then another takes over, a quarter of it later at most. Both
together are shorter than a read waits by default, so that one waits through the death of a worker.
"""
_SECONDS_STOPPED = 10.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_LONGEST_ABSENCE = 1.0
"""Seconds between attempts to reach a store that is away: it is told of once, and found again soon."""
ORDERS_EVERY = 0.9
"""Seconds between two looks at what operators ask."""


async def check_history(store: EventStore, checkpoint: Checkpoint) -> None:
    """Raises `LogRegression` unless the log holds the event at which the checkpoint stands."""
    if checkpoint.position == 0:
        return
    name = checkpoint.name.partition(":")[0]
    page = await store.read_log(after=checkpoint.position - 1, limit=1)
    if not page.events:
        raise LogRegression(
            f"read model {name!r} is at position {checkpoint.position}, the log ends at {page.head}: it "
            f"was restored from an older backup; run `refold rebuild {name}`"
        )
    if page.events[0].append_id.hex() != checkpoint.append_id:
        raise LogRegression(
            f"read model {name!r} was folded from another history: the log has another event at position "
            f"{checkpoint.position}; run `refold rebuild {name}`"
        )


def paused_in_words(pause: Pause) -> str:
    """Who paused a read model, since when and why."""
    why = f": {pause.reason}" if pause.reason else ""
    since = from_microseconds(pause.since).isoformat(timespec="seconds")
    return f"paused by {pause.actor} since {since}{why}; run `refold resume {pause.name}`"


class Projection:
    """Keeps one read model, or one shard of it, current, in this process, as long as this process owns it.

    `applied` rings with each position that is written, and with none when it stops or another takes over. `status` and
    `error` say what became of it here, `epoch` is that of its last term of ownership; `stands`: its definition changed,
    and it is not built anew by itself. `regroup` is called when the read model has another number of shards by now.
    """

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        feed: Feed,
        definition: ReadModelDefinition,
        owner: str,
        lease: float = LEASE_SECONDS,
        build: Callable[[ReadModelDefinition], Awaitable[int]] | None = None,
        shift: Shift | None = None,
        desk: Desk | None = None,
        counts: FoldCounts | None = None,
        tracing: Tracing = NO_TRACING,
        leases: Leases | None = None,
        shard: Shard = WHOLE,
        regroup: Callable[[], None] = lambda: None,
    ) -> None:
        self._leases = leases or Leases(log_of(sink), lease)
        self.shard = shard
        self.name = shard.checkpoint(definition.name)
        self._regroup = regroup
        self._desk = desk or Desk(sink.records, ORDERS_EVERY)
        self._shift = shift
        self._build = build
        self.stands = False
        self._table = definition.name
        self.definition = definition
        self.counts = counts or FoldCounts()
        self._tracing = tracing
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
        self._looked = 0.0
        self._absences = 0
        self._written = 0
        self._beside: int | None = None
        self._wanted = frozenset(event.__message_name__ for event in definition.evolves)
        self._care = Care(sink.records, definition, owner, feed.one_at_a_time)
        self._requests = Requests(store, sink.records, definition, feed.types, together=sink.together(definition.name))
        self._lives_elsewhere = isinstance(sink, RoutedSink) and sink.external(definition.name) is not None
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Runs until `stop`. Never raises: a failure is retried, and then kept as `error` for all to see."""
        while not self._stopping.is_set():
            try:
                await self._own_and_follow()
                self._care.failures = 0
            except LostOwnership:
                _log.info("read model %s goes on elsewhere", self.name)
            except (StoreUnavailable, StoreFull, StoreReadOnly, ConfigurationError) as problem:
                # Nothing is wrong with the read model: it goes on as soon as the store does, lets it in, or is set up.
                await self._wait_for_the_store(problem)
            except (LogRegression, UnknownEvent, DecodeError, WorkerKilled) as problem:
                self.counts.failures += 1
                await self._stop_at(problem)
            except Exception as problem:  # noqa: BLE001  # whatever a fold of the user's raises stops this projection only
                self._care.failures += 1
                self.counts.failures += 1
                if self._care.failures >= ATTEMPTS:
                    await self._stop_at(problem)
                else:
                    await self._back_off(problem)

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
        name = self.definition.name
        self._beside = None
        if (await self._orders())[0]:
            await self._stand_paused()
            return
        left, of = await self._version()
        if of not in (0, self.shard.of):
            self._regroup()
            await self._wait(self._lease / 4)
            return
        if left is not None and left.fingerprint != self.definition.fingerprint:
            await self._stand_changed(left)
            return
        if self._is_anothers():
            await self._wait(self._lease / 8)
            return
        mine = self.shard.checkpoint(self._table)
        checkpoint = await self._sink.claim(mine, self._owner, self._lease)
        if checkpoint is None:
            # Whoever dropped the table wants it made anew.
            await self._sink.register(self.definition, name)
            await self._wait(self._lease / 4)
            return
        self.epoch, self._written = checkpoint.epoch, checkpoint.position
        self._leases.hold(mine, self.epoch, lambda: 0 if self._lives_elsewhere else self._written)
        if self.status in (STOPPED, CHANGED):
            self.status, self.error = RUNNING, ""  # it was rebuilt
        try:
            if checkpoint.fingerprint != self.definition.fingerprint:
                return  # it was switched just now
            await check_history(self._store, checkpoint)
            await self._choose()
            died = left is not None and left.owner not in ("", self._owner)
            await self._care.begin(checkpoint, died, (await self._store.head()).position if died else 0)
            await self._follow(checkpoint)
        finally:
            self.owns = False
            self.counts.rest()
            # Who waits here must look elsewhere now.
            self.applied.ring_anyway()
            self._leases.let_go(mine, self.epoch)
        await self._sink.release(mine, self.epoch)

    def _is_anothers(self) -> bool:
        """Whether another process is to have it, so that all have their share."""
        return self._shift is not None and self._shift.is_anothers(self.name)

    async def _version(self) -> tuple[Checkpoint | None, int]:
        """The checkpoint of the rows that are this definition's, and how many shards they have (0: there are none):
        those that are read; or the previous ones, when another release, whose rows took their place, runs beside.
        """
        name = self.definition.name
        self._table, parts = name, await self._sink.shards(name)
        if parts and parts[0].fingerprint != self.definition.fingerprint:
            kept = await self._sink.shards(previous(name))
            if kept and kept[0].fingerprint == self.definition.fingerprint:
                self._table, parts = previous(name), kept
        mine = self.shard.checkpoint(self._table)
        return next((each for each in parts if each.name == mine), None), len(parts)

    async def _choose(self) -> None:
        """Keeps that this definition serves, when it does."""
        name, fingerprint = self.definition.name, self.definition.fingerprint
        if self._table != name or self.shard.number > 1:
            return
        known = await self._sink.definitions(name)
        if not any(each.fingerprint == fingerprint and not each.retired_at for each in known):
            await self._sink.choose(name, fingerprint, self.definition.parts)

    async def _follow(self, checkpoint: Checkpoint) -> None:
        gate = await open_gate(self._sink.records, self.definition, self._table)
        folding = Folding(
            self._sink, self.definition, self._table, checkpoint, self._renew, gate, self.counts, self.shard
        )
        self._written = folding.written
        if folding.written < self.applied.position:
            # It went back: the server lost its last moments, or the log is another. A bell only goes forward.
            self.applied = Doorbell()
        self.applied.ring(folding.written)
        self.owns = True
        self.status, self.error = RUNNING, ""
        self._absences = 0
        pace = Pace()
        self._looked = 0.0
        while not self._stopping.is_set():
            self.counts.begin()
            if await self._paused_after_orders(folding):
                return
            if self._is_anothers():
                _log.info("read model %s is handed over", self.name)
                if folding.position > folding.written:
                    await folding.write()
                return
            batch = await self._feed.read(folding.position)
            with self._tracing.fold(self.definition.name, batch.events, self.definition.evolves):
                careful = await self._take(folding, batch)
            self._written = folding.written
            if folding.written == folding.position:
                self.applied.ring(folding.written)
            self.progress_at = time.monotonic()
            if batch.unreadable is not None:
                batch = await self._read_alone(folding, batch.unreadable)
            await self._renew()
            self.counts.rest()
            if batch.last is not None:
                self.counts.pages += 1
                pace.found()
                if careful:
                    # A batch that was folded after all: what failed before has healed.
                    await self._care.healed(folding.position)
            if batch.scanned_to >= batch.head:
                await self._store.wait_beyond(folding.position, pace.pause())

    async def _renew(self) -> None:
        """Raises `LostOwnership` when another has the lease."""
        await self._leases.check(self.shard.checkpoint(self._table), self.epoch)

    async def _take(self, folding: Folding, batch: Batch) -> bool:
        """Folds a batch; in small steps if one failed in it, or killed the last owner. Says whether it did so."""
        careful = self._care.wanted(batch)
        if careful:
            await self._care.take(folding, batch)
            return True
        try:
            await folding.take(batch)
        except LostOwnership:
            raise
        except Exception:
            self._care.failed(batch)
            raise
        return False

    async def _read_alone(self, folding: Folding, unreadable: UnknownEvent | DecodeError) -> Batch:
        """Goes on over an event that only others want and cannot read. Raises it when it is wanted here, and cannot be
        parked.
        """
        batch = await self._feed.read_alone(folding.position, self._wanted)
        await self._take(folding, batch)
        self._written = folding.written
        unreadable = batch.unreadable or unreadable
        if batch.unreadable is not None or batch.last is None:
            if not isinstance(unreadable, DecodeError) or isinstance(unreadable, UnknownEvent):
                raise unreadable
            stored = batch.stored_at(batch.scanned_to + 1)
            if not await self._care.park_undecodable(folding, stored, unreadable):
                raise unreadable
        if folding.written == folding.position:
            self.applied.ring(folding.written)
        return batch

    async def _orders(self, *, now: bool = False) -> tuple[bool, bool]:
        """Whether it is to pause, and whether parked keys are to be dealt with."""
        self._looked = time.monotonic()
        orders = await self._desk.orders(now=now)
        return self.definition.name in orders.paused, self._table in orders.requested

    async def _paused_after_orders(self, folding: Folding) -> bool:
        """Looks now and then what operators ask, and does it. Says whether it is paused."""
        woken = self._woken.is_set()
        if time.monotonic() - self._looked < ORDERS_EVERY and not woken:
            return False
        self._woken.clear()
        paused, requested = await self._orders(now=woken)
        if requested:
            await self._requests.answer(folding, self._table, self._renew)
            paused, _ = await self._orders(now=True)
        if paused and folding.position > folding.written:
            await folding.write()
            self.applied.ring(folding.written)
        return paused

    async def _stand_paused(self) -> None:
        """Stands still, and lets nobody's lease run, until an operator resumes it."""
        pauses = [each for each in await self._sink.records.pauses() if each.name == self.definition.name]
        if not pauses:
            return
        self.status, self.error = PAUSED, paused_in_words(pauses[0])
        _log.warning("read model %s is %s", self.definition.name, self.error)
        self.applied.ring_anyway()
        while not self._stopping.is_set():
            await self._wait(ORDERS_EVERY)
            if not (await self._orders())[0]:
                self.status, self.error = RUNNING, ""
                return

    async def _stand_changed(self, read: Checkpoint) -> None:
        """The rows that are read were folded by another definition: nobody may add to them here. A new definition is
        built beside them, and takes their place; one that has served before only comes back when somebody says so.
        """
        name = self.definition.name
        known = await self._sink.definitions(name)
        before = next((each.parts for each in known if each.fingerprint == read.fingerprint), {})
        if lives_elsewhere(read):
            place = read.fingerprint.partition(":")[0]
            self._say_changed(f"its rows are in {place}; run `refold rebuild {name}` to move them here", stands=True)
        elif retired(known, self.definition.fingerprint):
            self._say_changed(
                "another definition took the place of this one, and its rows are gone; update this process, or run "
                f"`refold rebuild {name}` to go back",
                stands=True,
            )
        elif self._build is None or self.shard.number > 1:
            self._say_changed(
                f"its definition changed since its rows were written; run `refold rebuild {name}`", stands=True
            )
        else:
            what = changes_between(before, self.definition.parts)
            self._say_changed(f"its definition changed ({what}); the new version is built beside the old one")
            self._beside = read.epoch
            try:
                await self._build_beside(self._build)
                return
            except ProjectionStopped as problem:  # another process builds it, or was faster
                self.error = str(problem)
        await self._wait_until_it_is_mine(self._lease / 4)

    async def _build_beside(self, build: Callable[[ReadModelDefinition], Awaitable[int]]) -> None:
        building = asyncio.ensure_future(build(self.definition))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # What is built by then is kept: the next process goes on with it.
            for task in (building, stopping):
                task.cancel()
            await asyncio.gather(building, stopping, return_exceptions=True)
        if not building.cancelled():
            building.result()

    def _say_changed(self, error: str, *, stands: bool = False) -> None:
        self.stands = stands
        if self.status != CHANGED or self.error != error:
            _log.error("read model %s: %s", self.definition.name, error)
        self.status, self.error = CHANGED, error
        self.applied.ring_anyway()

    async def _wait_until_it_is_mine(self, seconds: float) -> None:
        """Looks now and then whether the rows are of this definition by now. Ends after some time too: it may have to
        be built after all.
        """
        for _ in range(20):
            if self._stopping.is_set():
                return
            await self._wait(seconds)
            found, _ = await self._version()
            if found is None or found.fingerprint == self.definition.fingerprint:
                return

    async def _stop_at(self, problem: Exception) -> None:
        """Stops loudly at the last good checkpoint. Goes on when it is rebuilt, or when the process starts again."""
        self.status = STOPPED
        self.error = said_of(problem)
        if self._beside is not None:
            self.error = f"its new version cannot be built: {self.error}"
        _log.error("read model %s stopped: %s", self.name, self.error, exc_info=problem)
        if self._beside is not None:
            await self._stand_unbuilt(self._beside)
            return
        epoch, mine = self.epoch, self.shard.checkpoint(self._table)
        await self._care.note_failure(problem, self._written, 0.0)
        self.applied.ring_anyway()
        began = time.monotonic()
        while True:  # once at least: whoever saw it stop may be ending this process already
            try:
                await self._sink.mark(mine, epoch, STOPPED, self.error)
                await self._sink.renew(mine, epoch, self._lease)
                parts = await self._sink.shards(self._table)
                checkpoint = next((each for each in parts if each.name == mine), None)
                paused, requested = await self._orders()
                # What is asked for a parked row may be what it cannot do, as it cannot go on: not again and again.
                requested = requested and time.monotonic() - began > _SECONDS_STOPPED
                if checkpoint is None or checkpoint.epoch != epoch or paused or requested:
                    self._care.failures = 0
                    return
            except RefoldError as away:
                _log.debug("read model %s: its error is not kept yet: %s", self.definition.name, away)
            if self._stopping.is_set():
                break
            await self._wait(self._lease / 4)
        with contextlib.suppress(RefoldError):  # then the lease runs out by itself
            await self._sink.release(mine, epoch)

    async def _stand_unbuilt(self, epoch: int) -> None:
        """The rows that are read, of that epoch, are another definition's: they are neither marked nor held. Goes on
        when somebody rebuilds it, or pauses and resumes it, or when the process starts again.
        """
        self.applied.ring_anyway()
        while not self._stopping.is_set():
            with contextlib.suppress(RefoldError):
                parts = await self._sink.shards(self.definition.name)
                read = next((each for each in parts if each.name == self.name), None)
                if read is None or read.epoch != epoch or (await self._orders())[0]:
                    break
            await self._wait(self._lease / 4)
        self._care.failures = 0

    async def _wait_for_the_store(self, problem: RefoldError) -> None:
        if self._absences == 0:
            _log.warning("read model %s waits for the store: %s", self.name, problem)
        self.error = f"it waits for the store: {problem}"
        if not isinstance(problem, StoreUnavailable):
            # Whoever looks finds by himself that a store is away, but not that one which answers takes no rows.
            with contextlib.suppress(RefoldError):
                for each in await self._sink.shards(self._table):
                    if each.name == self.shard.checkpoint(self._table) and each.owner == self._owner:
                        await self._sink.mark(each.name, each.epoch, RUNNING, self.error)
        seconds = min(_FIRST_PAUSE * 2**self._absences, _LONGEST_ABSENCE)
        self._absences = min(self._absences + 1, 10)
        await self._wait(seconds)

    async def _back_off(self, problem: Exception) -> None:
        failures = self._care.failures
        seconds = min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE)
        self.error = f"attempt {failures} of {ATTEMPTS} failed: {problem!r}"
        _log.warning("read model %s pauses for %.1f s: %s", self.name, seconds, self.error)
        await self._care.note_failure(problem, self._written, seconds)
        await self._wait(seconds)
        if self._stopping.is_set():
            # It ends in order, though it fails: the next owner is not to wait, nor to think that this one was killed.
            with contextlib.suppress(RefoldError):
                await self._sink.release(self.shard.checkpoint(self._table), self.epoch)

    async def _wait(self, seconds: float) -> None:
        if self._stopping.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
