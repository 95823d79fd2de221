"""A thread of its own for a connection: SQLite calls block, and a connection is used by one thread at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from refold.errors import StoreUnavailable

__all__ = ["Answered", "Thread"]

P = ParamSpec("P")
T = TypeVar("T")

Answered = Callable[[Any, BaseException | None], None]
"""Called in the event loop with the result of a job, or with its exception."""

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, Answered]


class Thread:
    """Runs jobs one after the other in one thread, in the order in which they come, each to its end.

    An executor would do the same with three turns of the event loop for each job; one batch of appends is one job.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, job: Callable[[], Any], answered: Answered) -> None:
        """Begins a job and comes back at once. Raises `StoreUnavailable` when the thread was closed."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._thread is None:
            # A store that is never closed must not keep its process alive. What is not committed then is as if killed.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((job, asyncio.get_running_loop(), answered))

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begins a job; gives the future of its result. The job runs to its end, also when nobody waits for it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.begin(partial(function, *args, **kwargs), partial(_answer, future))
        return future

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a job and waits for its result. Once begun it runs to its end, also when the caller is cancelled."""
        return await self.submit(function, *args, **kwargs)

    def close(self) -> None:
        """Waits for what runs, then ends the thread."""
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, loop, answered = job
            result: Any = None
            problem: BaseException | None = None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001  # it belongs to whoever waits for the job
                problem = raised
            try:
                loop.call_soon_threadsafe(answered, result, problem)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue
            finally:
                del job, function, answered, result, problem


def _answer(future: asyncio.Future[T], result: T, problem: BaseException | None) -> None:
    if future.done():  # its caller was cancelled meanwhile
        return
    if problem is None:
        future.set_result(result)
    elif isinstance(problem, StopIteration):  # which no future takes
        future.set_exception(RuntimeError("the function raised StopIteration"))
    else:
        future.set_exception(problem)
