"""How much one caller may ask for: so many calls a second, and so many open streams."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from refold.server.problems import Problem

__all__ = ["OpenStreams", "Pace"]

_CALLERS = 10_000
"""Callers that are remembered; whoever has not called for the longest time is forgotten, and begins anew."""


class Pace:
    """A bucket of tokens for each caller: `rate` calls a second, and as many again in one go."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """0 when one more call is all right; otherwise the seconds after which it will be."""
        now = self._clock()
        left, then = self._buckets.pop(caller, (self._rate, now))
        left = min(self._rate, left + (now - then) * self._rate)
        fits = left >= 1
        self._buckets[caller] = (left - 1 if fits else left, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if fits else (1 - left) / self._rate


class OpenStreams:
    """The streams that are open in this process: so many in all, and so many of one caller."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._open: Counter[str] = Counter()

    def refuse_more(self, caller: str) -> None:
        """Raises `Problem` (`too-many`) when one more would be too many."""
        if self._open.total() >= self._most or self._open[caller] >= self._most_of_one:
            raise Problem("too-many", f"{caller} has {self._open[caller]} open streams", headers={"Retry-After": "5"})

    @contextmanager
    def one_of(self, caller: str) -> Iterator[None]:
        """Counts a stream for as long as it is open."""
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
