"""One connection. Statements go and come in binary, and without a name, so that a pooler may stand in between."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import psycopg
from psycopg import pq

from refold.errors import StoreUnavailable
from refold.store.postgres.address import Address
from refold.store.postgres.problems import ServerProblem, connecting, raise_for
from refold.store.postgres.wire import Parameter

__all__ = ["UNKNOWN_NAME", "ConnectionLost", "OnAnswer", "Session", "connection_parameters"]

_BINARY = pq.Format.BINARY
_SYNC = pq.ExecStatus.PIPELINE_SYNC
_REFUSED = pq.ExecStatus.FATAL_ERROR
_SQLSTATE = pq.DiagnosticField.SQLSTATE
_OK = pq.ConnStatus.OK
_PREPARED = 50
"""Statements that one session remembers, at most."""
UNKNOWN_NAME = "26000"
"""SQLSTATE: no statement has been prepared under this name."""
_HALF_WAY = 1.0
"""Seconds that an attempt to connect may still take when it is given up."""


class ConnectionLost(Exception):
    """The connection ended before the statement was answered: whether it was done is unknown."""


OnAnswer = Callable[[pq.abc.PGresult | ConnectionLost], None]
"""Gets a statement's result, which may be the server's refusal."""


def connection_parameters(address: Address, role: str) -> dict[str, str]:
    """What a connection is made with. Its application name is its own, so that sessions can be told apart."""
    several = {"target_session_attrs": "read-write"} if "," in address.parameters.get("host", "") else {}
    # Of several hosts a standby may answer first, and it does not know yet what its primary has committed.
    return {**several, **address.parameters, "application_name": f"refold {role} {secrets.token_hex(6)}"}


class Session:
    """A connection of the running event loop's, in autocommit.

    Answers are taken from the socket by a callback of the loop: at ten thousand statements a second the detour over
    psycopg's cursors would cost more than the statements. One statement at a time; in a pipeline several, each of which
    is a transaction of its own, done in the order in which they were sent.

    A statement that comes again is prepared under a name, but only on a `direct` connection: a pooler may have the next
    one done by another of its sessions, which does not know the name.
    """

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]], application_name: str) -> None:
        self.connection = connection
        self.application_name = application_name
        self._token = application_name.rpartition(" ")[2]
        self._pgconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = -1
        self._pipelined = False
        self._names: dict[bytes, bytes] = {}
        self._seen: set[bytes] = set()
        self.direct = False
        self._answers: deque[OnAnswer] = deque()
        self._results: list[pq.abc.PGresult] = []
        self._lost: str | None = None
        self._on_notify: Callable[[bytes], None] | None = None

    @classmethod
    async def connect(cls, address: Address, role: str) -> Session:
        """A new session. Raises `StoreUnavailable`, `ConfigurationError`."""
        parameters = connection_parameters(address, role)
        attempt = asyncio.ensure_future(
            psycopg.AsyncConnection.connect(
                **parameters,  # type: ignore[arg-type]  # libpq's parameters, not psycopg's own
                autocommit=True,
                prepare_threshold=None,
            )
        )
        try:
            connection = await asyncio.shield(attempt)
        except psycopg.Error as problem:
            raise connecting(problem, address.name, address.parameters.get("password")) from None
        except asyncio.CancelledError:
            # Cut off half-way, its socket would stay open until it is collected as garbage, and the server wait for the
            # login up to a minute, in which no database can be dropped.
            await asyncio.wait([attempt], timeout=_HALF_WAY)
            attempt.add_done_callback(_let_go)
            raise
        session = cls(connection, parameters["application_name"])
        try:
            # Through a pooler, the process id that is named at login is not that of the session which does the work.
            backend = (await session.query(b"select pg_backend_pid()")).get_value(0, 0) or b""
        except (ConnectionLost, ServerProblem) as problem:
            session.drop("it could not be used")
            raise StoreUnavailable(f"{address.name} cannot be reached: {problem}") from problem
        session.direct = int.from_bytes(backend, "big") == connection.info.backend_pid
        return session

    @property
    def lost(self) -> bool:
        """Whether the connection is known to be gone."""
        return self._lost is not None or self._pgconn.status != _OK

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._pgconn.transaction_status != pq.TransactionStatus.IDLE

    async def query(self, sql: bytes, parameters: Sequence[Parameter] = ()) -> pq.abc.PGresult:
        """Runs one statement, and waits until the server is done with it, commit included.

        Raises `ServerProblem`, `ConnectionLost`.
        """
        if self.direct and not self._pipelined and sql not in self._names:
            if sql in self._seen:
                await self.prepare(sql, [oid for oid, _ in parameters])
            elif len(self._seen) < _PREPARED:
                self._seen.add(sql)
        try:
            return await self._query(sql, parameters)
        except ServerProblem as problem:
            if problem.sqlstate != UNKNOWN_NAME:
                raise
            # There is a pooler after all. Nothing was done yet, and from now on it goes without names.
            return await self._query(sql, parameters)

    async def prepare(self, sql: bytes, types: Sequence[int] | None = None) -> None:
        """Prepares a statement that will come often, if that is possible here.

        `types` are its parameters' (oids); without them they follow from the statement. Raises `ServerProblem`,
        `ConnectionLost`.
        """
        if not self.direct or sql in self._names:
            return
        # The token is this session's own, so that no other session's statement can ever be meant by the name.
        name = f"refold_{self._token}_{len(self._names)}".encode()
        await self._answer(lambda: self._pgconn.send_prepare(name, sql, types))
        self._names[sql] = name

    async def _query(self, sql: bytes, parameters: Sequence[Parameter]) -> pq.abc.PGresult:
        return await self._answer(lambda: self._send(sql, parameters))

    async def _answer(self, send: Callable[[], None]) -> pq.abc.PGresult:
        answer: asyncio.Future[pq.abc.PGresult] = self._loop.create_future()
        self._begin(send, partial(_settle, answer))
        try:
            result = await answer
        except asyncio.CancelledError:
            # The answer is still under way; nobody may use this connection for another statement.
            self.drop("the statement was given up")
            raise
        raise_for(result)
        return result

    def send(self, sql: bytes, parameters: Sequence[Parameter], on_answer: OnAnswer) -> None:
        """Sends one statement. Raises `ConnectionLost` when that is impossible; then `on_answer` is not called."""
        self._begin(partial(self._send, sql, parameters), on_answer)

    def _send(self, sql: bytes, parameters: Sequence[Parameter]) -> None:
        name = self._names.get(sql)
        if name is not None:
            values = [value for _, value in parameters]
            self._pgconn.send_query_prepared(name, values, [_BINARY] * len(values), _BINARY)
        elif parameters:
            types, values_too = zip(*parameters, strict=True)
            self._pgconn.send_query_params(sql, values_too, types, [_BINARY] * len(types), _BINARY)
        else:
            self._pgconn.send_query_params(sql, None, result_format=_BINARY)

    def _begin(self, send: Callable[[], None], on_answer: OnAnswer) -> None:
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        pgconn = self._pgconn
        try:
            send()
            if self._pipelined:
                pgconn.pipeline_sync()
            unsent = pgconn.flush()
        except psycopg.OperationalError as problem:
            raise self._lose(problem) from problem
        if self._socket < 0:
            self._attach()
        if unsent:
            self._loop.add_writer(self._socket, self._writable)
        self._answers.append(on_answer)

    def enter_pipeline(self) -> None:
        """From now on several statements may be sent before the first is answered."""
        if not self._pipelined:
            self._pgconn.enter_pipeline_mode()
            self._pipelined = True

    async def leave_pipeline(self) -> None:
        """Waits until all statements are answered; then it is one at a time again."""
        if self._answers:
            await self.query(b"select")
        if self._pipelined and not self.lost:
            self._pgconn.exit_pipeline_mode()
            self._pipelined = False

    def release(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """psycopg's connection, for statements by its own interface. `query` may be used again after those."""
        self._detach()
        return self.connection

    def listen(self, on_notify: Callable[[bytes], None]) -> None:
        """Calls back for each notification, until the connection is lost; then once more, with nothing."""
        self._on_notify = on_notify
        self._attach()

    def watch(self) -> None:
        """Lets the loop notice, while nothing is asked, that the server closes the connection."""
        if self._socket < 0 and not self.lost:
            self._attach()

    def drop(self, why: str) -> None:
        """Lets go of the connection at once, whatever it does."""
        self._end(why)

    def _attach(self) -> None:
        self._socket = self._pgconn.socket
        self._loop.add_reader(self._socket, self._readable)

    def _detach(self) -> None:
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = -1

    def _writable(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as problem:
            self._lose(problem)

    def _readable(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            while self._answers and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if not self._pipelined:
                        self._answered()
                elif result.status == _SYNC:
                    self._answered()
                else:
                    self._results.append(result)
            if self._on_notify is not None:
                while (notification := pgconn.notifies()) is not None:
                    self._on_notify(notification.extra)
            if pgconn.status != _OK:
                self._lose(psycopg.OperationalError(pgconn.get_error_message()))
        except psycopg.OperationalError as problem:
            self._lose(problem)

    def _answered(self) -> None:
        """The server is done with the first statement. The last result tells: a commit may fail after its rows came."""
        if self._pgconn.status != _OK:
            raise psycopg.OperationalError(self._pgconn.get_error_message())
        on_answer = self._answers.popleft()
        result = self._results[-1]
        self._results.clear()
        if result.status == _REFUSED and result.error_field(_SQLSTATE) == UNKNOWN_NAME.encode():
            self.direct = False
            self._names.clear()
        on_answer(result)

    def _lose(self, problem: psycopg.OperationalError) -> ConnectionLost:
        said = [result.get_error_message() for result in self._results if result.status == pq.ExecStatus.FATAL_ERROR]
        why = " ".join((said[0] if said else str(problem) or "the server closed the connection").split())
        return self._end(why)

    def _end(self, why: str) -> ConnectionLost:
        if self._lost is None:
            self._lost = why
        self._detach()
        self._pgconn.finish()
        lost = ConnectionLost(self._lost)
        self._results.clear()
        while self._answers:
            self._answers.popleft()(lost)
        if self._on_notify is not None:
            on_notify, self._on_notify = self._on_notify, None
            on_notify(b"")
        return lost


def _settle(answer: asyncio.Future[pq.abc.PGresult], result: pq.abc.PGresult | ConnectionLost) -> None:
    if answer.done():
        return
    if isinstance(result, ConnectionLost):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def _let_go(attempt: asyncio.Future[psycopg.AsyncConnection[tuple[object, ...]]]) -> None:
    """Ends a connection that nobody wants any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().pgconn.finish()
