"""A heartbeat: shows other threads whether an event loop still turns."""

from __future__ import annotations

import asyncio
import time

__all__ = ["Heartbeat"]

_EVERY = 0.25


class Heartbeat:
    """Beats on the loop that starts it; `age` may be asked from any thread."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to beat, on the running loop."""
        self._beat(asyncio.get_running_loop())

    def stop(self) -> None:
        """Beats no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def age(self) -> float:
        """Seconds since the loop last turned, a quarter of one when nothing is wrong; 0 for one that does not beat."""
        return time.monotonic() - self._last if self._next is not None else 0.0

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last = time.monotonic()
        self._next = loop.call_later(_EVERY, self._beat, loop)
