"""A monitor: knows at any moment how a context is doing, without asking the store for it.

It looks at the store every few seconds, and answers from what it has seen, so an answer never waits for a slow store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Any, Self

import msgspec

from refold.app import Context
from refold.errors import ConfigurationError, RefoldError
from refold.operations.health import Health, not_moving
from refold.operations.metrics import MetricsText, Seen
from refold.operations.status import Status, document_of, status_of
from refold.projections.heartbeat import Heartbeat

__all__ = ["Monitor"]

_log = logging.getLogger("refold.operations")

_SOON = 0.5
"""Seconds until the second look: at the first, nobody owns anything yet."""


class Monitor:
    """Watches one context, for the time of its block: `async with Monitor(context) as monitor`.

    It looks at the store `every` so many seconds, and gives a look up after as many. Its methods may be called from any
    thread; they read memory, and take no longer for a store that hangs. Raises `ConfigurationError` for an `every` that
    is not positive.
    """

    def __init__(self, context: Context, *, every: float = 5.0) -> None:
        if not every > 0:
            raise ConfigurationError(f"every={every!r} is not a number of seconds above 0")
        self.context = context
        self._every = every
        self._patience = context.projections.watchdog.patience
        self._heartbeat = Heartbeat()
        self._status: Status | None = None
        self._status_at = 0.0
        self._problem = "the store was not looked at yet"
        self._looking: asyncio.Task[None] | None = None
        self._text: MetricsText | None = None

    async def __aenter__(self) -> Self:
        """Begins, with a first look."""
        self._heartbeat.start()
        await self._look()
        self._looking = asyncio.create_task(self._look_on(), name="refold-monitor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends."""
        self._heartbeat.stop()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    # --- what may be asked from any thread ----------------------------------------------------------------------------

    def metrics(self) -> str:
        """All metrics in Prometheus' text format. Raises `MissingExtra`."""
        if self._text is None:
            self._text = MetricsText()
        return self._text.of(self._seen())

    def live(self) -> Health:
        """Whether the process lives: its event loop turns. If not, only starting it again helps."""
        age = self._heartbeat.age()
        if age <= self._patience:
            return Health()
        hanging = [f"read model {each.name}: {each.why}" for each in self.context.projections.stalled()]
        return Health((f"the event loop has stood still for {age:.0f} s", *hanging))

    def ready(self) -> Health:
        """Whether the work moves: the store answers, and each read model that this process should move goes on."""
        reasons = list(self.live().reasons[:1])
        if self._problem:
            reasons.append(f"the store does not answer: {self._problem}")
        elif self._age() > self._stale:
            reasons.append(f"the store was last looked at {self._age():.0f} s ago")
        return Health((*reasons, *not_moving(self.context)))

    def document(self) -> dict[str, Any]:
        """How everything stands, as JSON can say it: health, this process, and the status of log and projections."""
        live, ready, seen = self.live(), self.ready(), self._seen()
        return {
            "live": live.well,
            "ready": ready.well,
            "reasons": list(ready.reasons),
            "owner": self.context.projections.owner,
            "age_seconds": None if seen.status is None else round(seen.age, 3),
            "status": None if seen.status is None else document_of(seen.status),
        }

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def _stale(self) -> float:
        """After so many seconds what was seen is too old to be told as if it were so now."""
        return 3 * self._every + 1

    def _age(self) -> float:
        return time.monotonic() - self._status_at

    def _seen(self) -> Seen:
        status, age = self._status, self._age()
        return Seen(
            context=self.context,
            status=None if status is None else self._with_stalled(status),
            fresh=status is not None and age <= self._stale,
            age=age,
            store_up=not self._problem and age <= self._stale,
            loop_age=self._heartbeat.age(),
            ready=self.ready().well,
        )

    def _with_stalled(self, status: Status) -> Status:
        """What the watchdog says counts more than what the checkpoint says."""
        stalled = {each.name: each.why for each in self.context.projections.stalled()}
        projections = [
            msgspec.structs.replace(each, state="stalled", error=stalled[each.name]) if each.name in stalled else each
            for each in status.projections
        ]
        return msgspec.structs.replace(status, projections=projections)

    async def _look_on(self) -> None:
        seconds = min(self._every, _SOON)
        while True:
            await asyncio.sleep(seconds)
            await self._look()
            seconds = self._every

    async def _look(self) -> None:
        context = self.context
        try:
            async with asyncio.timeout(self._every):
                status = await status_of(context.store, context.projections.sink, context.app, before=self._status)
        except TimeoutError:
            self._problem = f"no answer within {self._every:g} s"
        except RefoldError as problem:
            self._problem = str(problem)
        except Exception as problem:  # noqa: BLE001  # a monitor that dies of what it meets says nothing any more
            _log.exception("the monitor could not look at the store")
            self._problem = f"{type(problem).__name__}: {problem}"
        else:
            self._status, self._status_at, self._problem = status, time.monotonic(), ""
