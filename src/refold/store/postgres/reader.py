"""A reader of the log with a connection and a thread of its own, where blocking reads are quicker than in a loop."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import pq

from refold.errors import StoreUnavailable
from refold.store.event_store import EventFilter, LogPage
from refold.store.postgres.address import Address
from refold.store.postgres.connection import connection_parameters
from refold.store.postgres.problems import ServerProblem, connecting, explain, raise_for
from refold.store.postgres.queries import LogQueries
from refold.store.postgres.rows import Rows

__all__ = ["PostgresLogReader"]

_EVERYTHING = EventFilter()


class PostgresLogReader:
    """Reads pages of the log. It connects at the first read, and again after a connection was lost."""

    def __init__(self, address: Address, queries: LogQueries) -> None:
        self._address = address
        self._queries = queries
        self._rows = Rows()
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="refold-reader")
        self._closed = False

    async def read(self, after: int, limit: int, where: EventFilter = _EVERYTHING) -> LogPage:
        """The next events after a position, at most `limit`. Raises `StoreUnavailable`; the next read connects anew."""
        if self._closed:
            raise StoreUnavailable("the reader is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, after, limit, where)

    async def close(self) -> None:
        """Ends a read that is under way, and gives the connection back."""
        if self._closed:
            return
        self._closed = True
        self._cut()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    def _read(self, after: int, limit: int, where: EventFilter) -> LogPage:
        sql, parameters = self._queries.statement(after, limit, where, backward=False)
        try:
            result = self._connected().pgconn.exec_params(
                sql,
                [value for _, value in parameters],
                param_types=[oid for oid, _ in parameters],
                param_formats=[pq.Format.BINARY] * len(parameters),
                result_format=pq.Format.BINARY,
            )
            raise_for(result)
        except ServerProblem as problem:
            lost = self._lost()
            self._drop_if_lost()
            if lost:
                raise StoreUnavailable(
                    f"{self._address.name}: the connection was lost ({problem.message.strip()})"
                ) from problem
            raise explain(problem, self._address.name) from problem
        except psycopg.OperationalError as problem:
            self._drop_if_lost()
            raise StoreUnavailable(f"{self._address.name}: the connection was lost ({problem})") from problem
        return self._queries.page(result, self._rows, after, limit, where, backward=False)

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        if self._connection is None:
            if self._closed:
                raise StoreUnavailable("the reader is closed")
            try:
                self._connection = psycopg.connect(
                    **connection_parameters(self._address, "reader"),  # type: ignore[arg-type]  # libpq's parameters
                    autocommit=True,
                    prepare_threshold=None,
                )
            except psycopg.Error as problem:
                raise connecting(problem, self._address.name, self._address.parameters.get("password")) from None
        return self._connection

    def _lost(self) -> bool:
        return self._connection is not None and self._connection.pgconn.status != pq.ConnStatus.OK

    def _drop_if_lost(self) -> None:
        if self._lost():
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _cut(self) -> None:
        """Shuts the socket down under a read that waits in the thread, which no other thread may touch otherwise."""
        connection = self._connection
        if connection is None:
            return
        try:
            descriptor = os.dup(connection.pgconn.socket)
        except (psycopg.Error, OSError):
            return  # it is gone already
        with socket.socket(fileno=descriptor) as cut:
            try:
                cut.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
