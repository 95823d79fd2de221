"""The doorbell: tells waiting tasks of this process that the log may have grown. A hint only; delivery never depends on
it.
"""

from __future__ import annotations

import asyncio

__all__ = ["Doorbell"]


class Doorbell:
    """Remembers the furthest position that was rung, and wakes those that wait for one beyond theirs."""

    def __init__(self) -> None:
        self._position = 0
        self._waiting: dict[asyncio.Future[bool], int] = {}

    @property
    def position(self) -> int:
        """The furthest position that was rung."""
        return self._position

    def ring(self, position: int) -> None:
        """Says that the log has reached a position."""
        if position <= self._position:
            return
        self._position = position
        self._wake([waiting for waiting, beyond in self._waiting.items() if beyond < position])

    def ring_anyway(self) -> None:
        """Wakes everybody without knowing a position: a connection came back, a notification could not be read."""
        self._wake(list(self._waiting))

    def _wake(self, those: list[asyncio.Future[bool]]) -> None:
        for waiting in those:
            del self._waiting[waiting]
            if not waiting.done():
                waiting.set_result(True)

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """True as soon as a position beyond this one was rung, or anyway; False after `timeout` seconds."""
        if self._position > position:
            return True
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        self._waiting[waiting] = position
        timer = loop.call_later(timeout, _give_up, waiting)
        try:
            return await waiting
        finally:
            timer.cancel()
            self._waiting.pop(waiting, None)


def _give_up(waiting: asyncio.Future[bool]) -> None:
    if not waiting.done():
        waiting.set_result(False)
