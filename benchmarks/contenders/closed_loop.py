"""Callers in a closed loop: each begins its next operation when the last one has been acknowledged, as a caller who
waits does.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import NamedTuple

WARM_UP = 1.0
"""Seconds of work before the clock counts: connections, prepared statements, caches."""
COLD_WARM_UP = 0.25
"""The same where caches must not be warm and work is bounded: for the connections alone."""


class Driven(NamedTuple):
    """`rate` is per second in the counted time; `acknowledged` counts all, also those of the warm-up, for checking."""

    rate: float
    acknowledged: int


class Exhausted(Exception):
    """A caller has nothing left to do; the others go on."""


class _Clock:
    def __init__(self, seconds: float, warm_up: float) -> None:
        self.begin = perf_counter() + warm_up
        self.end = self.begin + seconds
        self.counted = 0
        self.acknowledged = 0
        self.last = self.begin

    def count(self, counted: int, acknowledged: int) -> None:
        self.counted += counted
        self.acknowledged += acknowledged
        self.last = max(self.last, perf_counter())

    def driven(self) -> Driven:
        """Raises ValueError when the work ran out before the clock counted."""
        # The last caller is done before the end only when all of them ran out of work.
        seconds = min(self.end, self.last) - self.begin
        if seconds <= 0:
            raise ValueError(
                f"{self.acknowledged} operations were all done before the clock counted; give the callers more to do"
            )
        return Driven(self.counted / seconds, self.acknowledged)


async def tasks(
    operations: Sequence[Callable[[], Awaitable[None]]], seconds: float, warm_up: float = WARM_UP
) -> Driven:
    """Each operation in a loop of its own, as a task."""
    clock = _Clock(seconds, warm_up)

    async def caller(operation: Callable[[], Awaitable[None]]) -> None:
        counted = acknowledged = 0
        try:
            while perf_counter() < clock.end:
                await operation()
                acknowledged += 1
                counted += clock.begin <= perf_counter() <= clock.end
        except Exhausted:
            pass
        clock.count(counted, acknowledged)

    await asyncio.gather(*(caller(operation) for operation in operations))
    return clock.driven()


def threads(operations: Sequence[Callable[[], None]], seconds: float, warm_up: float = WARM_UP) -> Driven:
    """The same for a library without async: each operation in a loop and a thread of its own. Raises the first
    caller's error.
    """
    clock = _Clock(seconds, warm_up)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def caller(operation: Callable[[], None]) -> None:
        counted = acknowledged = 0
        try:
            while perf_counter() < clock.end and not errors:
                operation()
                acknowledged += 1
                counted += clock.begin <= perf_counter() <= clock.end
        except Exhausted:
            pass
        except BaseException as error:  # noqa: BLE001  (a thread's error would go unseen)
            errors.append(error)
        with lock:
            clock.count(counted, acknowledged)

    callers = [threading.Thread(target=caller, args=(operation,)) for operation in operations]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    if errors:
        raise errors[0]
    return clock.driven()
