"""The watchdog: calls a projection that makes no progress, whatever its own state says.

It looks from a thread of its own, because what hangs may be the event loop itself: a fold that never comes back. While
the whole process gets no turn, it does not look either, and no projection is to blame for that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from refold.errors import RefoldError
from refold.projections.checkpoint import RUNNING, Checkpoint
from refold.projections.counts import FoldCounts
from refold.projections.heartbeat import Heartbeat
from refold.projections.sink import Sink
from refold.store.doorbell import Doorbell
from refold.store.event_store import EventStore

__all__ = ["PATIENCE_SECONDS", "Stalled", "Watchdog", "Watched"]

_log = logging.getLogger("refold.projections")

PATIENCE_SECONDS = 30.0
"""How long a projection may stand still while there is something to do, before it is called stalled."""
_LOOKS = 6
"""How often it looks within its patience."""


class Watched(Protocol):
    """What is looked at: a projection of this process, of whatever kind."""

    counts: FoldCounts
    applied: Doorbell
    status: str
    error: str
    owns: bool


class Stalled(msgspec.Struct, frozen=True):
    """A projection that makes no progress: its checkpoint's name, why it is thought so, and for how many seconds."""

    name: str
    why: str
    seconds: float


class _Stand(msgspec.Struct):
    """Where a projection was found, and since when (by the watchdog's own time) it has been there with work to do, and
    has been this process's.
    """

    mark: tuple[int, int, int]
    since: float
    owned_since: float


class _Work(msgspec.Struct):
    """What a projection was found to be busy with, by the moment when that began (by the monotonic clock), and the
    same moment by the watchdog's own time.
    """

    began: float
    since: float


class Watchdog:
    """Looks after the projections of one process. `stalled` may be asked from any thread, and never waits."""

    def __init__(
        self, store: EventStore, sink: Sink, projections: Callable[[], Mapping[str, Watched]], patience: float
    ) -> None:
        self.patience = patience
        self.heartbeat = Heartbeat()
        self._store = store
        self._sink = sink
        self._projections = projections
        self._head = 0
        self._checkpoints: dict[str, Checkpoint] = {}
        self._answered = False
        self._lived = 0.0
        self._stands: dict[str, _Stand] = {}
        self._works: dict[str, _Work] = {}
        self._stalled: dict[str, Stalled] = {}
        self._asking: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Begins to look; no-op when it does. Called on the event loop that it looks after."""
        if self._thread is not None:
            return
        self._over.clear()
        self.heartbeat.start()
        self._asking = asyncio.create_task(self._ask(), name="refold-watchdog")
        self._thread = threading.Thread(target=self._look_on, name="refold-watchdog", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends it. What it found is forgotten."""
        if self._thread is None or self._asking is None:
            return
        self._over.set()
        self.heartbeat.stop()
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)
        self._thread.join()
        self._thread = None
        self._stands.clear()
        self._works.clear()
        self._stalled = {}

    def stalled(self) -> list[Stalled]:
        """Those that make no progress now, by name."""
        return sorted(self._stalled.values(), key=lambda each: each.name)

    def hanging(self) -> list[Stalled]:
        """Those of them that this process has let stand still for so long, and that have not moved since the last look
        either. Asked on the event loop: when that turns again, what made it stand still may have come back just now.
        """
        projections = self._projections()
        return [
            each
            for each in self.stalled()
            if each.name in projections and self._hangs(each.name, projections[each.name])
        ]

    def _hangs(self, name: str, projection: Watched) -> bool:
        work, stand = self._works.get(name), self._stands.get(name)
        if projection.counts.busy_since and work is not None and work.began == projection.counts.busy_since:
            return True
        # Who has just taken one over is not to blame for how long it stood.
        since = self._lived if stand is None or stand.mark != self._mark(name, projection) else stand.owned_since
        return self._lived - since > self.patience

    def forget(self, name: str) -> None:
        """What was found of one is over: it begins anew."""
        self._stands.pop(name, None)
        self._works.pop(name, None)
        self._stalled = {each: found for each, found in self._stalled.items() if each != name}

    async def _ask(self) -> None:
        """Keeps asking the store how far the log and the checkpoints are."""
        while True:
            await asyncio.sleep(self.patience / _LOOKS)
            try:
                async with asyncio.timeout(self.patience / 2):
                    # The head first: a checkpoint behind it has something to do for certain.
                    head = (await self._store.head()).position
                    checkpoints = await self._sink.checkpoints()
            except (RefoldError, TimeoutError) as problem:
                _log.debug("the watchdog could not ask the store: %r", problem)
                self._answered = False
            except Exception:  # noqa: BLE001  # a watchdog that dies of what it meets guards nothing
                _log.exception("the watchdog could not ask the store")
                self._answered = False
            else:
                self._head, self._checkpoints = head, {each.name: each for each in checkpoints}
                self._answered = True

    def _look_on(self) -> None:
        pause, looked = self.patience / _LOOKS, time.monotonic()
        while not self._over.wait(pause):
            now = time.monotonic()
            # A look that comes late means that this process got no turn (or was stopped): neither did its projections.
            self._lived += min(now - looked, 2 * pause)
            looked = now
            with contextlib.suppress(RuntimeError):  # the projections changed while they were listed: next time
                self._note({each.name: each for each in self._look(now)})

    def _look(self, now: float) -> list[Stalled]:
        found = []
        for name, projection in self._projections().items():
            if (seconds := self._working(name, projection.counts.busy_since, now)) > self.patience:
                found.append(Stalled(name, self._hanging(name, projection, seconds), seconds))
            elif (seconds := self._standing(name, projection)) > self.patience:
                why = f"the log has grown to {self._head}, and it has not moved for {seconds:.0f} s"
                found.append(Stalled(name, f"{why}{self._whose(name, projection)}", seconds))
        return found

    def _working(self, name: str, began: float, now: float) -> float:
        """For how long it has been inside the work at hand."""
        if not began:
            self._works.pop(name, None)
            return 0.0
        work = self._works.get(name)
        if work is None or work.began != began:
            work = _Work(began, self._lived - min(now - began, self.patience / _LOOKS))
            self._works[name] = work
        return self._lived - work.since

    def _hanging(self, name: str, projection: Watched, seconds: float) -> str:
        what = f"what it does after position {projection.applied.position} has not come back for {seconds:.0f} s"
        if self.heartbeat.age() > self.patience / 2:
            return (
                f"{what}, and the whole event loop stands still with it: look for an endless loop, or a call that waits"
            )
        return f"{what}: look at the store that its rows are in"

    def _standing(self, name: str, projection: Watched) -> float:
        """For how long it has had something to do and has done nothing."""
        mark = self._mark(name, projection)
        stand = self._stands.get(name)
        # One that stopped says so by itself; and nobody can move while the store is away.
        resting = projection.status != RUNNING or not self._answered or max(mark[:2]) >= self._head
        if stand is None or stand.mark != mark or resting:
            self._stands[name] = _Stand(mark, self._lived, self._lived)
            return 0.0
        if not projection.owns:
            stand.owned_since = self._lived
        return self._lived - stand.since

    def _mark(self, name: str, projection: Watched) -> tuple[int, int, int]:
        checkpoint = self._checkpoints.get(name)
        written = 0 if checkpoint is None else checkpoint.position
        return (written, projection.applied.position, projection.counts.events + projection.counts.pages)

    def _whose(self, name: str, projection: Watched) -> str:
        checkpoint = self._checkpoints.get(name)
        if projection.owns or checkpoint is None or not checkpoint.owner:
            return f" ({projection.error})" if projection.error else ""
        return f"; its owner is {checkpoint.owner}"

    def _note(self, now: dict[str, Stalled]) -> None:
        before, self._stalled = self._stalled, now
        for name in now.keys() - before.keys():
            _log.error("read model %s is stalled: %s", name, now[name].why)
        for name in before.keys() - now.keys():
            _log.warning("read model %s is no longer stalled", name)
