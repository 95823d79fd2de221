"""Hand-written projections: a function of the user's gets pages of recorded events, and the transaction in which the
checkpoint moves.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from refold import faults
from refold.errors import ConfigurationError, DefinitionError, LogRegression, RefoldError, StoreUnavailable
from refold.messages.event import Event
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded
from refold.projections.checkpoint import PAUSED, RUNNING, STOPPED, Checkpoint, Move
from refold.projections.counts import FoldCounts
from refold.projections.feed import Batch, Feed
from refold.projections.folding import LostOwnership
from refold.projections.leases import Leases
from refold.projections.parking.records import Desk
from refold.projections.projection import check_history, paused_in_words
from refold.projections.roster import Shift
from refold.projections.sink import LogSink
from refold.store.doorbell import Doorbell
from refold.store.event_store import EventStore, StoreTransaction
from refold.subscriptions.pace import Pace

__all__ = ["HAND_WRITTEN", "HandWritten", "HandWrittenProjection", "ProjectionPage", "hand_written"]

_log = logging.getLogger("refold.projections")

HAND_WRITTEN = "hand-written"
"""The fingerprint of its checkpoint: nobody compares its code."""
_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_LOOK = 0.5


class ProjectionPage:
    """What a hand-written projection gets: the `events` of its types after position `after`, up to `position`; there is
    at least one.
    """

    def __init__(
        self, events: Sequence[Recorded[Any]], after: int, position: int, transaction: StoreTransaction | None
    ) -> None:
        self.events = events
        self.after = after
        self.position = position
        self._transaction = transaction

    @property
    def transaction(self) -> StoreTransaction:
        """The open transaction, in which the checkpoint moves too. Raises `ConfigurationError` for a projection that
        was declared with `transaction=False`.
        """
        if self._transaction is None:
            raise ConfigurationError("this projection was declared with transaction=False, so its pages have none")
        return self._transaction

    async def execute(
        self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Runs one SQL statement in that transaction; gives its rows."""
        return await self.transaction.execute(statement, parameters)


Function = Callable[[ProjectionPage], Awaitable[None]]


class HandWritten(msgspec.Struct, frozen=True):
    """A declared projection. `events`: the names of the event types that it gets; none: all of the app's."""

    name: str
    function: Function
    events: frozenset[str]
    transaction: bool


def hand_written(name: str, function: Function, events: Iterable[type[Event]], transaction: bool) -> HandWritten:
    """Checks a declaration. Raises `DefinitionError`."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name) or name.startswith("refold_"):
        raise DefinitionError(
            f"projection {name!r}: a name must be 1 to 48 of a-z, 0-9 and _, begin with a letter, and not with refold_"
        )
    if not inspect.iscoroutinefunction(function) or len(inspect.signature(function).parameters) != 1:
        raise DefinitionError(f"projection {name!r} must be an async function of one page: async def {name}(page): …")
    return HandWritten(name, function, frozenset(event.__message_name__ for event in events), transaction)


class HandWrittenProjection:
    """Runs one, in this process, as long as this process owns it."""

    def __init__(
        self,
        store: EventStore,
        sink: LogSink,
        feed: Feed,
        types: EventTypes,
        declared: HandWritten,
        owner: str,
        lease: float,
        shift: Shift,
        desk: Desk,
        counts: FoldCounts | None = None,
        leases: Leases | None = None,
    ) -> None:
        self._leases = leases or Leases(sink, lease)
        self._desk = desk
        self.counts = counts or FoldCounts()
        self.owns = False
        self.declared = declared
        self.applied = Doorbell()
        self.status = RUNNING
        self.error = ""
        self._store = store
        self._sink = sink
        self._feed = feed
        self._types = types
        self._owner = owner
        self._lease = lease
        self._shift = shift
        self._failures = 0
        self._looked = 0.0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Runs until `stop`. Never raises: a failure is retried, and then kept as `error` for all to see."""
        name = self.declared.name
        while not self._stopping.is_set():
            checkpoint: Checkpoint | None = None
            try:
                await self._sink.enroll(name, HAND_WRITTEN)
                if await self._is_paused() or self._shift.is_anothers(name):
                    await self._wait(self._lease / 8)
                    continue
                checkpoint = await self._sink.claim(name, self._owner, self._lease)
                if checkpoint is None:
                    await self._wait(self._lease / 4)
                    continue
                self._leases.hold(name, checkpoint.epoch)
                await check_history(self._store, checkpoint)
                self.owns = True
                await self._follow(checkpoint)
                await self._sink.release(name, checkpoint.epoch)
            except LostOwnership:
                _log.info("projection %s goes on elsewhere", name)
            except StoreUnavailable as problem:
                self.error = f"it waits for the store: {problem}"
                await self._wait(1.0)
            except Exception as problem:  # noqa: BLE001  # whatever the user's function raises stops this projection only
                self.counts.failures += 1
                self.counts.rest()
                await self._failed(problem, checkpoint)
            finally:
                self.owns = False
                self.counts.rest()
                if checkpoint is not None:
                    self._leases.let_go(name, checkpoint.epoch)

    async def stop(self) -> None:
        """Ends it after the page at hand, and lets another process take over at once."""
        self._stopping.set()

    async def _follow(self, checkpoint: Checkpoint) -> None:
        position = checkpoint.position
        self.status, self.error = RUNNING, ""
        self.applied.ring(position)
        pace = Pace()
        while not self._stopping.is_set() and not await self._is_to_stand_back(checkpoint):
            self.counts.begin()
            batch = await self._feed.read(position)
            if batch.unreadable is not None:
                raise batch.unreadable
            if batch.last is not None:
                await self._take(batch, position, checkpoint.epoch)
                position = batch.scanned_to
                self.applied.ring(position)
                self._failures = 0
                pace.found()
                self.counts.pages += 1
            self.counts.rest()
            if batch.scanned_to >= batch.head:
                await self._store.wait_beyond(position, pace.pause())

    async def _is_paused(self) -> bool:
        """Whether an operator lets it stand still; says so, to whoever waits for it."""
        name = self.declared.name
        if name not in (await self._desk.orders()).paused:
            if self.status == PAUSED:
                self.status, self.error = RUNNING, ""
            return False
        if self.status != PAUSED:
            words = [paused_in_words(each) for each in await self._sink.records.pauses() if each.name == name]
            if not words:  # resumed just now
                return False
            self.status, self.error = PAUSED, words[0]
            _log.warning("projection %s is %s", name, self.error)
            self.applied.ring_anyway()
        return True

    async def _call(self, page: ProjectionPage) -> None:
        """Calls the user's function. What it waited for may have been cancelled (a request, a connection's task): that
        is its failure as any other is. Only when this very task is cancelled may it end by that.
        """
        try:
            await self.declared.function(page)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError(
                "its function let a CancelledError through, of something that it waited for"
            ) from cancelled

    async def _take(self, batch: Batch, after: int, epoch: int) -> None:
        assert batch.last is not None
        wanted = self.declared.events
        events = [each for each in batch.events if not wanted or each.type in wanted]
        self.counts.done(0)
        move = Move(after, batch.scanned_to, batch.last.append_id.hex(), epoch)
        if not events or not self.declared.transaction:
            if events:
                await self._call(ProjectionPage(events, after, batch.scanned_to, None))
                faults.at("handwritten.done")
            moved = await self._sink.move(None, self.declared.name, move)
        else:
            async with self._store.transaction() as transaction:
                await self._call(ProjectionPage(events, after, batch.scanned_to, transaction))
                faults.at("handwritten.done")
                moved = await self._sink.move(transaction, self.declared.name, move)
                if not moved:
                    raise LostOwnership(self.declared.name)  # and all that it did is rolled back
                faults.at("handwritten.before_commit")
        if not moved:
            raise LostOwnership(self.declared.name)
        faults.at("handwritten.moved")
        self.counts.done(len(events))

    async def _is_to_stand_back(self, checkpoint: Checkpoint) -> bool:
        """Keeps the lease; says whether it is another's turn, or an operator has paused it."""
        name, now = self.declared.name, time.monotonic()
        await self._leases.check(name, checkpoint.epoch)
        if now - self._looked > _LOOK:
            self._looked = now
            if name in (await self._desk.orders()).paused:
                return True
        return self._shift.is_anothers(name)

    async def _failed(self, problem: Exception, checkpoint: Checkpoint | None) -> None:
        self._failures += 1
        said = str(problem) if isinstance(problem, RefoldError) else repr(problem)
        final = self._failures >= _ATTEMPTS or isinstance(problem, LogRegression)
        self.error = said if final else f"attempt {self._failures} of {_ATTEMPTS} failed: {said}"
        _log.log(
            logging.ERROR if final else logging.WARNING,
            "projection %s %s: %s",
            self.declared.name,
            "stopped" if final else "pauses",
            self.error,
            exc_info=problem if final else None,
        )
        if not final:
            await self._wait(min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE))
            if self._stopping.is_set() and checkpoint is not None:
                with contextlib.suppress(RefoldError):
                    await self._sink.release(self.declared.name, checkpoint.epoch)
            return
        self.status = STOPPED
        await self._stand(checkpoint)
        self._failures = 0

    async def _stand(self, checkpoint: Checkpoint | None) -> None:
        """Stands still until the process stops, another takes it over, or it was paused (and is resumed then)."""
        name = self.declared.name
        self.applied.ring_anyway()
        while True:  # once at least: whoever saw it stop may be ending this process already
            with contextlib.suppress(RefoldError):
                if checkpoint is not None:
                    await self._sink.mark(name, checkpoint.epoch, STOPPED, self.error)
                    if not await self._sink.renew(name, checkpoint.epoch, self._lease):
                        return
                if name in (await self._desk.orders()).paused:
                    break
            if self._stopping.is_set():
                break
            await self._wait(self._lease / 4)
        if checkpoint is not None:
            with contextlib.suppress(RefoldError):
                await self._sink.release(name, checkpoint.epoch)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
