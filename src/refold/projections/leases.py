"""Leases: all that one process holds are kept by one statement, now and then, whatever each projection waits for.

Whoever writes names its epoch, so a lease that is kept too long or lost unnoticed costs time, and never a row.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from refold.errors import RefoldError
from refold.projections.folding import LostOwnership
from refold.projections.sink import LogSink

__all__ = ["Leases"]

_log = logging.getLogger("refold.projections")

_LATE = 0.4
"""The part of its time after which a lease is kept by who folds: a little later than the round that keeps them all."""


class _Held(msgspec.Struct):
    epoch: int
    kept_at: float
    written: Callable[[], int]
    lost: bool = False


class Leases:
    """The leases of one process, of `seconds` each. `before` is called before each round: it may let some go."""

    def __init__(self, sink: LogSink, seconds: float, before: Callable[[], None] = lambda: None) -> None:
        self.seconds = seconds
        self._sink = sink
        self._before = before
        self._held: dict[str, _Held] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to keep what is held."""
        self._task = asyncio.create_task(self._go_on(), name="refold-leases")

    async def stop(self) -> None:
        """Keeps nothing any more; what is held runs out unless it is given back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def hold(self, name: str, epoch: int, written: Callable[[], int] = lambda: 0) -> None:
        """A checkpoint was claimed just now. `written` says how far its owner has moved it, where the log's database
        has it: one that has gone back is not held any more, but claimed anew.
        """
        self._held[name] = _Held(epoch, time.monotonic(), written)

    def let_go(self, name: str, epoch: int) -> None:
        """A checkpoint is this owner's no more."""
        held = self._held.get(name)
        if held is not None and held.epoch == epoch:
            del self._held[name]

    def forget(self, name: str) -> None:
        """Whoever holds it hangs: it is not kept any more."""
        self._held.pop(name, None)

    async def check(self, name: str, epoch: int) -> None:
        """Raises `LostOwnership` when it is known that another has the checkpoint. Keeps it alone when it was passed
        over for long: at that moment it was being moved.
        """
        held = self._held.get(name)
        if held is None or held.epoch != epoch or held.lost:
            raise LostOwnership(name)
        if self._task is None or time.monotonic() - held.kept_at > self.seconds * _LATE:
            held.kept_at = time.monotonic()
            if not await self._sink.renew(name, epoch, self.seconds):
                raise LostOwnership(name)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self.seconds / 3)
            self._before()
            try:
                await self._keep()
            except RefoldError as away:
                _log.debug("the leases could not be kept: %s", away)
            except Exception:  # noqa: BLE001  # whatever it was, it is logged, and tried again
                _log.exception("the leases could not be kept; trying again")

    async def _keep(self) -> None:
        asked = {name: held.epoch for name, held in self._held.items() if not held.lost}
        if not asked:
            return
        written = {name: self._held[name].written() for name in asked}
        began = time.monotonic()
        kept = await self._sink.renew_all(asked, self.seconds)
        for name, epoch in asked.items():
            held, now = self._held.get(name), kept.get(name)
            if held is None or held.epoch != epoch:
                continue
            held.lost = now is None or now.epoch != epoch
            if now is not None and now.position is not None and now.position < written[name]:
                # A crash took what was not flushed, and nobody has noticed: nothing was asked of the server meanwhile.
                _log.warning("%s went back from position %d to %d", name, written[name], now.position)
                held.lost = True
            if now is not None and now.renewed:
                held.kept_at = began
