"""A transaction of the user's: own statements at once, appends last, so that the log's lock is held briefly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import pq
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import psycopg as dialect
from sqlalchemy.sql.compiler import SQLCompiler

from refold import faults
from refold.errors import AlreadyAppended, Conflict, OutcomeUnknown, StoreError, StoreUnavailable
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendResult, validate_append
from refold.store.postgres.address import Address
from refold.store.postgres.batch import AppendStatements, Batch, Repeated, stored_events
from refold.store.postgres.connection import ConnectionLost, Session
from refold.store.postgres.inline import Inline
from refold.store.postgres.pool import SessionPool
from refold.store.postgres.problems import ServerProblem, explain
from refold.store.postgres.settle import answered
from refold.store.postgres.wire import Parameter, bigint, text, uuid

__all__ = ["PostgresTransaction", "Transactions"]

_BEGIN = b"begin isolation level read committed"
# From here on the log's lock is held: nobody may wait for it long, nor may this session fall asleep with it.
_BEFORE_APPENDING = b"""
select set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $1, true)"""
# What changes when the server crashes or is restarted: then it forgets the ids of transactions of which nothing has
# reached the disk, and gives them away again.
_LIFE = """(select concat(pg_postmaster_start_time(), ' ', stats_reset) from pg_stat_bgwriter)"""
_BEFORE_COMMIT = f"select pg_current_xact_id_if_assigned()::text, {_LIFE}".encode()
# A standby does not know yet what its primary has committed.
_WAS_COMMITTED = f"""select case when pg_is_in_recovery() then 'unknown'
    when x.id >= pg_snapshot_xmax(pg_current_snapshot()) or pg_xact_status(x.id) in ('aborted', 'in progress') then 'no'
    when pg_xact_status(x.id) = 'committed' and {_LIFE} = $2 then 'yes'
    else 'unknown' end
from (select $1::text::xid8 as id) x""".encode()
# Exact, whoever else may have appended under that id since: no two are recorded at one place and moment.
_IS_IN_THE_LOG = """select case when pg_is_in_recovery() then 'unknown' when exists (select 1 from @schema@.events e
    where e.position = $1 and e.append_id = $2 and e.recorded_at = $3) then 'yes' else 'no' end"""
_LOCKED_FOR = "10s"
_DIALECT = dialect.dialect(dbapi=psycopg)  # type: ignore[no-untyped-call]  # SQLAlchemy's dialects have no types


class PostgresTransaction:
    """What the user holds inside the block."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]], payload_limit: int) -> None:
        self._connection = connection
        self._payload_limit = payload_limit
        self.staged: list[Append] = []
        self.results: Sequence[AppendResult] = ()
        self._over = False

    @property
    def connection(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """psycopg's connection, in the transaction. Do not commit or roll back on it: the block does."""
        return self._connection

    async def execute(
        self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Runs one statement: text with psycopg's placeholders (`%s`, `%(name)s`), or SQLAlchemy Core; gives its rows.

        Raises psycopg's own errors for what is wrong with the statement, and `StoreUnavailable` when the connection is
        lost: nothing of the transaction is stored then.
        """
        self._refuse_when_over()
        if isinstance(statement, ClauseElement):
            statement, parameters = _compiled(statement, parameters)
        try:
            cursor = await self._connection.execute(statement, parameters or None)
            return await cursor.fetchall() if cursor.description is not None else []
        except psycopg.OperationalError as problem:
            if not self._connection.closed:
                raise
            reason = " ".join(str(problem).split())
            raise StoreUnavailable(
                f"the connection was lost in a transaction, nothing of it was stored: {reason}"
            ) from problem

    def append(self, append: Append) -> None:
        """Stages an append. Raises `InvalidAppend`, `PayloadTooLarge`."""
        self._refuse_when_over()
        validate_append(append, payload_limit=self._payload_limit)
        self.staged.append(append)

    def end(self) -> None:
        """Nothing more may be done with it: its connection is another's soon."""
        self._over = True

    def _refuse_when_over(self) -> None:
        if self._over:
            raise StoreError("this transaction is over; do everything inside its block")


def _compiled(statement: ClauseElement, parameters: Any) -> tuple[str, Any]:
    given = dict(parameters) if parameters else {}
    compiled = statement.compile(
        dialect=_DIALECT, column_keys=list(given) or None, compile_kwargs={"render_postcompile": True}
    )
    if not isinstance(compiled, SQLCompiler):  # DDL: it has no parameters
        return str(compiled), None
    processors = compiled._bind_processors  # how SQLAlchemy itself turns values into the driver's
    values = compiled.construct_params(given)
    return str(compiled), {name: _bound(processors.get(name), value) for name, value in values.items()}


def _bound(processor: Any, value: Any) -> Any:
    return value if processor is None else processor(value)


class Transactions:
    """Makes the transactions of one store."""

    def __init__(
        self,
        address: Address,
        pool: SessionPool,
        *,
        payload_limit: int,
        patience: float,
        committed: Callable[[int], None],
    ) -> None:
        self.inline: Inline | None = None
        self._address = address
        self._pool = pool
        self._payload_limit = payload_limit
        self._patience = patience
        self._committed = committed
        self._statements = AppendStatements(address)
        self._is_in_the_log = address.of(_IS_IN_THE_LOG).encode()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[PostgresTransaction]:
        """A transaction for the time of the block. Raises `Conflict`, `StoreUnavailable`, `OutcomeUnknown`."""
        async with self._pool.lease(_BEGIN) as session:
            transaction = PostgresTransaction(session.release(), self._payload_limit)
            try:
                yield transaction
            except BaseException:
                transaction.end()
                await self._roll_back(session)
                raise
            transaction.end()
            await self._commit(session, transaction)
        if transaction.results:
            self._committed(transaction.results[-1].last)

    async def _commit(self, session: Session, transaction: PostgresTransaction) -> None:
        if session.connection.pgconn.transaction_status != pq.TransactionStatus.INTRANS:
            await self._roll_back(session)
            raise StoreError(
                f"{self._address.name}: the transaction had failed, or was ended inside its block; "
                "what it still held was rolled back"
            )
        try:
            results = await self._append_staged(session, transaction)
            question = await self._question(session, results)
            faults.at("postgres.transaction.before_commit")
        except ServerProblem as problem:
            await self._roll_back(session)
            raise explain(problem, self._address.name) from problem
        except ConnectionLost as lost:
            raise StoreUnavailable(
                f"{self._address.name}: the connection was lost ({lost}); nothing was stored"
            ) from lost
        except BaseException:
            await self._roll_back(session)
            raise
        try:
            await session.query(b"commit")
            faults.at("postgres.transaction.after_commit")
        except ServerProblem as problem:
            raise explain(problem, self._address.name) from problem
        except Exception as problem:  # noqa: BLE001  # whatever it was, the commit is out, and what became of it must be found out
            session.drop(str(problem))
            await self._settle(session, transaction, question, problem)
        transaction.results = results

    async def _append_staged(self, session: Session, transaction: PostgresTransaction) -> list[AppendResult]:
        """Does the staged appends. Raises `Conflict`, `AlreadyAppended`."""
        results: list[AppendResult] = []
        if not transaction.staged:
            return results
        await session.query(_BEFORE_APPENDING, (text(_LOCKED_FOR),))
        batch = Batch(transaction.staged)
        sql, parameters = batch.statement(self._statements)
        verdicts = batch.verdicts(await session.query(sql, parameters))
        events: list[StoredEvent] = []
        for append, verdict in zip(transaction.staged, verdicts, strict=True):
            if isinstance(verdict, Conflict):
                raise verdict
            if isinstance(verdict, Repeated):
                raise AlreadyAppended(append.id)
            if isinstance(verdict, AppendResult):
                results.append(verdict)
                events += stored_events(append, verdict)
        if events and self.inline is not None:
            await self.inline(session.release(), events)
        return results

    async def _question(
        self, session: Session, results: Sequence[AppendResult]
    ) -> tuple[bytes, Sequence[Parameter]] | None:
        """What to ask, should the commit not be answered, to learn whether it is done: the log, for what was appended;
        without that the transaction's id. None: it changed nothing.
        """
        if results:
            first = results[0]
            return self._is_in_the_log, (bigint(first.first), uuid(first.id.bytes), bigint(first.recorded_at))
        found = await session.query(_BEFORE_COMMIT)
        xid, life = _text(found, 0), _text(found, 1)
        return None if xid is None else (_WAS_COMMITTED, (text(xid), text(life)))

    async def _roll_back(self, session: Session) -> None:
        if session.lost or not session.in_transaction:
            return
        try:
            await session.query(b"rollback")
        except (ConnectionLost, ServerProblem):
            session.drop("it could not be rolled back")

    async def _settle(
        self,
        lost: Session,
        transaction: PostgresTransaction,
        question: tuple[bytes, Sequence[Parameter]] | None,
        problem: Exception,
    ) -> None:
        """Finds out whether a transaction whose commit was not answered is in the database."""
        if question is None:
            return
        unsettled: Exception = problem
        try:
            async with asyncio.timeout(self._patience):
                committed = await answered(self._address, lost.application_name, *question)
        except (TimeoutError, StoreError) as still_away:
            committed, unsettled = "unknown", still_away
        if committed == "unknown":
            cause = f"the connection was lost while the transaction was committed: {problem}"
            if transaction.staged:
                raise OutcomeUnknown(transaction.staged[0].id, cause) from unsettled
            raise StoreUnavailable(f"{self._address.name}: {cause}; whether it is stored is not known") from unsettled
        if committed != "yes":
            raise StoreUnavailable(
                f"{self._address.name}: the connection was lost while the transaction was committed ({problem}); "
                "nothing was stored"
            ) from problem


def _text(result: pq.abc.PGresult, column: int) -> str | None:
    value = result.get_value(0, column)
    return None if value is None else value.decode()
