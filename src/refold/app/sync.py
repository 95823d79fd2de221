"""The context without `async`: the same methods, run on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

from refold.commands.receipt import Receipt
from refold.commands.unit_of_work import UnitOfWork
from refold.errors import RefoldError
from refold.folds.aggregate import Aggregate
from refold.folds.read_model import ReadModel
from refold.messages.event import Command, Event
from refold.messages.recorded import Recorded
from refold.store.append import ANY, AppendCondition
from refold.store.event_store import EventStore

if TYPE_CHECKING:
    from refold.app.context import Context

__all__ = ["LoopThread", "SyncContext", "SyncUnitOfWork", "running_loop_in_thread"]

T = TypeVar("T")
A = TypeVar("A", bound=Aggregate)
R = TypeVar("R", bound=ReadModel)


class LoopThread:
    """An event loop that runs in a thread until its block ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, awaitable: Awaitable[T]) -> T:
        """Runs it on the loop and waits for its result. A Ctrl-C here cancels it there."""

        async def wrapped() -> T:
            return await awaitable

        future = asyncio.run_coroutine_threadsafe(wrapped(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """The value of an asynchronous context manager, entered and left on the loop."""
        value = self.run(context.__aenter__())
        try:
            yield value
        except BaseException as problem:
            if not self.run(context.__aexit__(type(problem), problem, problem.__traceback__)):
                raise
        else:
            self.run(context.__aexit__(None, None, None))


@contextmanager
def running_loop_in_thread() -> Iterator[LoopThread]:
    """A loop that runs in a thread of its own for the time of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="refold-loop", daemon=True)
    thread.start()
    try:
        yield LoopThread(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class SyncUnitOfWork:
    """A unit of work without `async`; see `UnitOfWork`. Its statements run on the loop's thread, so use `execute`, not
    the connection.
    """

    def __init__(self, unit: UnitOfWork, loop: LoopThread) -> None:
        self._unit = unit
        self._loop = loop

    def execute(self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Runs one SQL statement (text with the driver's placeholders, or SQLAlchemy Core) and gives its rows."""
        return self._loop.run(self._unit.execute(statement, parameters))

    def command(self, command: Command, **envelope: Any) -> tuple[Event, ...]:
        """Decides a command now and stages its events; see `UnitOfWork.command`."""
        return self._loop.run(self._unit.command(command, **envelope))

    def append(self, stream: str, events: Iterable[Event], **options: Any) -> None:
        """Stages events for a stream without a command; see `UnitOfWork.append`."""
        self._unit.append(stream, events, **options)
