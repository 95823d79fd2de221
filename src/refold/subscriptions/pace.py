"""How long to wait for the doorbell before looking anyway: delivery never depends on being rung."""

from __future__ import annotations

import random

__all__ = ["Pace"]

_SHORTEST = 0.005
_LONGEST = 0.25


class Pace:
    """Seconds to wait: 5 ms while events keep coming, then twice as long each time, up to 250 ms (or `longest`), each a
    little different.

    The differences keep processes that were started together from looking together.
    """

    def __init__(self, longest: float = _LONGEST) -> None:
        self._longest = longest
        self._next = _SHORTEST

    def found(self) -> None:
        """Something was there."""
        self._next = _SHORTEST

    def pause(self) -> float:
        """How long to wait now, nothing having been there."""
        seconds = self._next
        self._next = min(2 * seconds, self._longest)
        return seconds * random.uniform(0.8, 1.2)  # noqa: S311  # spreads polls, guards nothing
