"""The writing connection in its thread: one job after the other, and now and then a transaction that has it alone."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

from refold.errors import Overloaded, StoreUnavailable
from refold.store.sqlite.address import Address, identity_of
from refold.store.sqlite.committing import overwritten, transaction
from refold.store.sqlite.problems import in_words, is_flush
from refold.store.sqlite.threads import Answered, Thread

__all__ = ["Run", "Writer"]

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]
Run = Callable[[Job[Any]], asyncio.Future[Any]]
"""Runs a step of a transaction in the writer's thread."""


class Writer:
    """Jobs (a batch of appends, the rows of a read model) are whole transactions; each is one step of the thread.

    A transaction of the user's takes many steps, with the user's code between them: it has its turn alone. `patience`
    is how many seconds others wait for it.
    """

    def __init__(self, connection: sqlite3.Connection, address: Address, *, patience: float) -> None:
        self.connection = connection
        self._name = address.name
        self._path = address.path
        self._file = None if address.path is None else identity_of(address.path)
        self._patience = patience
        self._thread = Thread("refold-sqlite-writer")
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closing = False

    def refuse_when_gone(self) -> None:
        """Raises `StoreUnavailable` when the file is not in its place any more. SQLite goes on with what it has open,
        whose name is another one's now, or nobody's: what it acknowledged would be lost.
        """
        if self._path is not None and identity_of(self._path) != self._file:
            raise StoreUnavailable(
                f"{self._name} was moved, replaced or deleted while it is open; nothing was stored. Put it back, or "
                "close it here and open what is there now"
            )

    def begin(self, job: Job[Any], answered: Answered) -> bool:
        """Begins a job at once; False when it would overtake somebody who waits."""
        if self._waiting or self._turn.locked():
            return False
        self._thread.begin(partial(job, self.connection), answered)
        return True

    async def run(self, job: Job[T]) -> T:
        """Runs a job when no transaction has the connection. Raises `Overloaded` when it had to wait too long."""
        await self._take_turn()
        try:
            answer = self._thread.submit(job, self.connection)
        finally:
            self._turn.release()
        return await answer

    async def run_between(self, job: Job[T]) -> T:
        """Runs a job that only reads, also between the steps of a transaction."""
        return await self._thread.run(self._in_words, job)

    async def transact(self, job: Job[T], *, durable: bool) -> T:
        """Runs a job in one transaction."""
        return await self.run(partial(self._transacted, job, durable or self._path is None))

    def _transacted(self, job: Job[T], durable: bool, connection: sqlite3.Connection) -> T:
        self.refuse_when_gone()
        with _told(connection, self._name):
            if durable:
                with transaction(connection):
                    return job(connection)
            # The write-ahead log is flushed by the next commit that is durable, with all that stands before it, and
            # before any checkpoint: so a power cut may take back the last commits of this kind, but never one of the
            # others, nor a part of one.
            connection.execute("pragma synchronous = normal")
            try:
                with transaction(connection):
                    return job(connection)
            finally:
                connection.execute("pragma synchronous = full")

    def _in_words(self, job: Job[T]) -> T:
        with _told(self.connection, self._name):
            return job(self.connection)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Run]:
        """A transaction of many steps. Who leaves with an exception rolls it back; to commit is a step of its own."""
        await self._take_turn()
        try:
            try:
                await self._step(self._begin)
                yield self._step
            except BaseException:
                # Also for a caller who was cancelled while the transaction began. If it was cancelled while it was
                # committed, nothing is left to roll back.
                await asyncio.shield(self._step(_roll_back))
                raise
        finally:
            self._turn.release()

    def _begin(self, connection: sqlite3.Connection) -> None:
        self.refuse_when_gone()
        connection.execute("begin immediate")

    def _step(self, job: Job[T]) -> asyncio.Future[T]:
        return self._thread.submit(self._in_words, job)

    async def _take_turn(self) -> None:
        if self._closing:
            raise StoreUnavailable(f"{self._name} is closed; nothing was stored")
        await self._wait_for_turn()

    async def _wait_for_turn(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
        except TimeoutError:
            raise Overloaded(
                f"a transaction has held the only writing connection of {self._name} for {self._patience:g} s; nothing "
                "was stored. Keep transactions short, and append through the transaction while it is open"
            ) from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Closes the connection, once the transaction that has it is over; one that does not end is rolled back."""
        self._closing = True
        try:
            await self._wait_for_turn()
        except Overloaded:
            await self._thread.run(_roll_back, self.connection)
        else:
            self._turn.release()
        await self._thread.run(self.connection.close)
        self._thread.close()


@contextmanager
def _told(connection: sqlite3.Connection, where: str) -> Iterator[None]:
    """Turns SQLite's errors into Refold's; what the disk refused to flush is made sure to be gone, or not known."""
    try:
        yield
    except sqlite3.Error as problem:
        if is_flush(problem) and not overwritten(connection):
            raise StoreUnavailable(
                f"{where}: the disk did not take what was committed ({problem}); whether it is stored is not known"
            ) from problem
        raise in_words(problem, where) from problem


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("rollback")
