"""One connection. Statements go and come in binary, and without a name, so that a pooler may stand in between."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

import psycopg
from psycopg import pq

from refold.store.postgres.address import Address
from refold.store.postgres.problems import connecting, raise_for
from refold.store.postgres.wire import Parameter

__all__ = ["ConnectionLost", "Session", "connection_parameters"]


class ConnectionLost(Exception):
    """The connection ended before the statement was answered: whether it was done is unknown."""


def connection_parameters(address: Address, role: str) -> dict[str, str]:
    """What a connection is made with. Its application name is its own, so that sessions can be told apart."""
    return {**address.parameters, "application_name": f"refold {role} {secrets.token_hex(6)}"}


class Session:
    """A connection of the running event loop's, in autocommit. One statement at a time.

    Answers are taken from the socket by a callback of the loop: at ten thousand statements a second the detour over
    psycopg's cursors would cost more than the statements.
    """

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]], application_name: str) -> None:
        self.connection = connection
        self.application_name = application_name
        self.on_notify: Callable[[bytes], None] | None = None
        self._pgconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = -1
        self._waiting: asyncio.Future[None] | None = None
        self._results: list[pq.abc.PGresult] = []
        self._lost: str | None = None

    @classmethod
    async def connect(cls, address: Address, role: str) -> Session:
        """A new session. Raises `StoreUnavailable`, `ConfigurationError`."""
        parameters = connection_parameters(address, role)
        try:
            connection = await psycopg.AsyncConnection.connect(
                **parameters,  # type: ignore[arg-type]  # libpq's parameters, not psycopg's own
                autocommit=True,
                prepare_threshold=None,
            )
        except psycopg.Error as problem:
            raise connecting(problem, address.name, address.parameters.get("password")) from None
        return cls(connection, parameters["application_name"])

    @property
    def lost(self) -> bool:
        """Whether the connection is known to be gone."""
        return self._lost is not None or self._pgconn.status != pq.ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._pgconn.transaction_status != pq.TransactionStatus.IDLE

    async def query(self, sql: bytes, parameters: Sequence[Parameter] = ()) -> pq.abc.PGresult:
        """Runs one statement, and waits until the server is done with it, commit included.

        Raises `ServerProblem`, `ConnectionLost`.
        """
        if self.lost:
            raise ConnectionLost(self._lost or "the connection is closed")
        pgconn = self._pgconn
        try:
            pgconn.send_query_params(
                sql,
                [value for _, value in parameters],
                param_types=[oid for oid, _ in parameters],
                param_formats=[pq.Format.BINARY] * len(parameters),
                result_format=pq.Format.BINARY,
            )
            unsent = pgconn.flush()
        except psycopg.OperationalError as problem:
            raise self._lose(problem) from problem
        self._attach()
        if unsent:
            self._loop.add_writer(self._socket, self._writable)
        self._waiting = self._loop.create_future()
        try:
            await self._waiting
        except asyncio.CancelledError:
            # The answer is still under way; nobody may use this connection for another statement.
            self.drop("the statement was given up")
            raise
        finally:
            self._waiting = None
        results, self._results = self._results, []
        for result in results:
            raise_for(result)
        return results[-1]

    def release(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """psycopg's connection, for statements by its own interface. `query` may be used again after those."""
        self._detach()
        return self.connection

    async def interrupt(self) -> None:
        """Asks the server to take back the statement that it runs."""
        try:
            await self.connection.cancel_safe(timeout=5)
        except (psycopg.Error, OSError):
            self.drop("the server did not answer")

    def drop(self, why: str) -> None:
        """Lets go of the connection at once, whatever it does."""
        if self._lost is None:
            self._lost = why
        self._detach()
        self._pgconn.finish()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionLost(why))

    def _attach(self) -> None:
        if self._socket < 0:
            self._socket = self._pgconn.socket
            self._loop.add_reader(self._socket, self._readable)

    def _detach(self) -> None:
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = -1

    def listen(self, on_notify: Callable[[bytes], None]) -> None:
        """Calls back for each notification, until the connection is lost; then once more, with nothing."""
        self.on_notify = on_notify
        self._attach()

    def _writable(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as problem:
            self._fail(problem)

    def _readable(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            waiting = self._waiting
            if waiting is not None and not waiting.done():
                while not pgconn.is_busy():
                    result = pgconn.get_result()
                    if result is None:
                        self._answered(waiting)
                        break
                    self._results.append(result)
            if self.on_notify is not None:
                while (notification := pgconn.notifies()) is not None:
                    self.on_notify(notification.extra)
            if pgconn.status != pq.ConnStatus.OK:
                self._fail(psycopg.OperationalError(pgconn.get_error_message()))
        except psycopg.OperationalError as problem:
            self._fail(problem)

    def _answered(self, waiting: asyncio.Future[None]) -> None:
        if self._pgconn.status == pq.ConnStatus.OK:
            waiting.set_result(None)
        else:
            self._fail(psycopg.OperationalError(self._pgconn.get_error_message()))

    def _fail(self, problem: psycopg.OperationalError) -> None:
        lost = self._lose(problem)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(lost)
        if self.on_notify is not None:
            self.on_notify(b"")

    def _lose(self, problem: psycopg.OperationalError) -> ConnectionLost:
        said = [result.get_error_message() for result in self._results if result.status == pq.ExecStatus.FATAL_ERROR]
        self._results = []
        self._lost = " ".join((said[0] if said else str(problem) or "the server closed the connection").split())
        self._detach()
        self._pgconn.finish()
        return ConnectionLost(self._lost)
