"""An event loop in a thread of its own: for code without `async`."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import Context as ContextVariables
from contextvars import copy_context
from typing import TypeVar

from refold.errors import StoreUnavailable

__all__ = ["LoopThread", "running_loop_in_thread"]

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a thread until its block ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._process = os.getpid()

    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    def run(self, awaitable: Awaitable[T]) -> T:
        """Runs it on the loop and waits for its result. A Ctrl-C here cancels it there."""

        async def wrapped() -> T:
            return await awaitable

        if self._loop.is_closed():
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise StoreUnavailable("the connection is closed: this is after the block of `with app.connect_sync(…)`")
        if self._is_forked():
            # Only the thread that forked goes on in the child: nobody runs the loop there, and it would wait for ever.
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise StoreUnavailable(
                f"the connection was made in process {self._process}, of which this one was forked; connect after the "
                "fork"
            )
        future = asyncio.run_coroutine_threadsafe(wrapped(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def each(self, values: AsyncIterator[T]) -> Generator[T, None, None]:
        """What an asynchronous iterator gives, each fetched on the loop when it is asked for."""
        try:
            while True:
                try:
                    value = self.run(anext(values))
                except StopAsyncIteration:
                    return
                yield value
        finally:
            if isinstance(values, AsyncGenerator):
                with suppress(StoreUnavailable):  # the connection is over, and all of it with it
                    self.run(values.aclose())

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """The value of an asynchronous context manager, entered and left on the loop.

        What it sets in context variables holds in this thread inside the block, as it would without threads: so a store
        knows who is inside its transaction.
        """
        value, inside = self.run(_entered(context))
        before = copy_context()
        changed = [(variable, variable.set(now)) for variable, now in inside.items() if before.get(variable) is not now]
        try:
            yield value
        except BaseException as problem:
            if self._is_forked() or not self.run(context.__aexit__(type(problem), problem, problem.__traceback__)):
                raise
        else:
            if not self._is_forked():  # what was entered is the parent's, which goes on with it
                self.run(context.__aexit__(None, None, None))
        finally:
            for variable, token in changed:
                variable.reset(token)


async def _entered(context: AbstractAsyncContextManager[T]) -> tuple[T, ContextVariables]:
    return await context.__aenter__(), copy_context()


@contextmanager
def running_loop_in_thread() -> Iterator[LoopThread]:
    """A loop that runs in a thread of its own for the time of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="refold-loop", daemon=True)
    thread.start()
    process = os.getpid()
    try:
        yield LoopThread(loop)
    finally:
        if os.getpid() == process:  # in a forked child it is the parent's, which goes on with it
            _end(loop, thread)


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
