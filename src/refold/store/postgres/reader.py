"""A reader of the log with a connection of its own: at the log's end it waits in the loop, where an answer is there
soonest; far behind it, in a thread, where blocking reads of large pages are quicker.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import psycopg
from psycopg import pq

from refold.errors import StoreUnavailable
from refold.store.event_store import EventFilter, LogPage
from refold.store.postgres.address import Address
from refold.store.postgres.connection import ConnectionLost, Session
from refold.store.postgres.problems import ServerProblem, explain, raise_for
from refold.store.postgres.rows import Rows
from refold.store.postgres.wire import Parameter

__all__ = ["PostgresLogReader"]

_EVERYTHING = EventFilter()


class PageQueries(Protocol):
    """How a page is asked for, and made from the answer."""

    def statement(
        self, after: int, limit: int, where: EventFilter, backward: bool
    ) -> tuple[bytes, Sequence[Parameter]]:
        """The statement for one page."""
        ...

    def page(
        self, result: pq.abc.PGresult, rows: Rows, after: int, limit: int, where: EventFilter, backward: bool
    ) -> LogPage:
        """The page that the statement gave."""
        ...


class PostgresLogReader:
    """Reads pages of the log. It connects at the first read, and again after a connection was lost."""

    def __init__(self, address: Address, queries: PageQueries) -> None:
        self._address = address
        self._queries = queries
        self._rows = Rows()
        self._session: Session | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="refold-reader")
        self._one_at_a_time = asyncio.Lock()
        self._in_thread: asyncio.Future[LogPage] | None = None
        self._at_end = False
        self._closed = False

    async def read(self, after: int, limit: int, where: EventFilter = _EVERYTHING) -> LogPage:
        """The next events after a position, at most `limit`. Raises `StoreUnavailable`; the next read connects anew."""
        async with self._one_at_a_time:
            await self._thread_is_done()
            session = await self._connected()
            try:
                page = await self._page(session, after, limit, where)
            except (ConnectionLost, psycopg.OperationalError) as problem:
                raise StoreUnavailable(f"{self._address.name}: the connection was lost ({problem})") from problem
            except ServerProblem as problem:
                if session.lost:
                    raise StoreUnavailable(
                        f"{self._address.name}: the connection was lost ({problem.message.strip()})"
                    ) from problem
                raise explain(problem, self._address.name) from problem
            self._at_end = page.scanned_to >= page.head
            return page

    async def close(self) -> None:
        """Ends a read that is under way, and gives the connection back."""
        if self._closed:
            return
        self._closed = True
        self._cut()
        await self._thread_is_done()
        if self._session is not None:
            self._session.drop("the reader is closed")
        self._thread.shutdown(wait=False)

    async def _thread_is_done(self) -> None:
        if self._in_thread is not None and not self._in_thread.done():
            await asyncio.wait([self._in_thread])

    async def _page(self, session: Session, after: int, limit: int, where: EventFilter) -> LogPage:
        if self._at_end:
            sql, parameters = self._queries.statement(after, limit, where, backward=False)
            result = await session.query(sql, parameters)
            return self._queries.page(result, self._rows, after, limit, where, backward=False)
        pgconn = session.release().pgconn
        reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read, pgconn, after, limit, where)
        self._in_thread = reading
        # Who gives up waiting does not end it: until it is done, nobody else may touch the connection.
        return await asyncio.shield(reading)

    def _read(self, pgconn: pq.abc.PGconn, after: int, limit: int, where: EventFilter) -> LogPage:
        sql, parameters = self._queries.statement(after, limit, where, backward=False)
        result = pgconn.exec_params(
            sql,
            [value for _, value in parameters],
            param_types=[oid for oid, _ in parameters],
            param_formats=[pq.Format.BINARY] * len(parameters),
            result_format=pq.Format.BINARY,
        )
        raise_for(result)
        return self._queries.page(result, self._rows, after, limit, where, backward=False)

    async def _connected(self) -> Session:
        self._refuse_closed()
        if self._session is None or self._session.lost:
            if self._session is not None:
                self._session.drop("it was lost")
                self._session = None
            self._session = await Session.connect(self._address, "reader")
            self._refuse_closed()  # meanwhile
        return self._session

    def _refuse_closed(self) -> None:
        if self._closed:
            if self._session is not None:
                self._session.drop("the reader is closed")
            raise StoreUnavailable("the reader is closed")

    def _cut(self) -> None:
        """Shuts the socket down under a read that waits, in the thread or in the loop."""
        if self._session is None or self._session.lost:
            return
        try:
            descriptor = os.dup(self._session.connection.pgconn.socket)
        except (psycopg.Error, OSError):
            return  # it is gone already
        with socket.socket(fileno=descriptor) as cut:
            try:
                cut.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
