"""The writer: a connection on which batches are committed, and whose loss is settled before anyone is answered."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from psycopg import pq

from refold import faults
from refold.errors import InvalidAppend, OutcomeUnknown, RefoldError, StoreError, StoreUnavailable
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendResult
from refold.store.group_commit import Outcome
from refold.store.postgres.address import Address
from refold.store.postgres.batch import REPEATED, AppendStatements, Batch, Repeated, Verdict, stored_events
from refold.store.postgres.connection import UNKNOWN_NAME, ConnectionLost, Session
from refold.store.postgres.inline import Inline
from refold.store.postgres.problems import ServerProblem, concerns_everything, explain, raise_for
from refold.store.postgres.settle import reconnected

__all__ = ["Writer", "prepare_appending"]

_log = logging.getLogger("refold.store.postgres")
_BEGIN = b"begin isolation level read committed"


class _NotConnected(Exception):
    """The server did not come back in time."""

    def __init__(self, cause: RefoldError) -> None:
        self.cause = cause
        super().__init__(str(cause))


class _Hooked(Exception):
    """The inline hook failed; nothing of the batch is stored."""


async def prepare_appending(session: Session, address: Address) -> None:
    """Readies a session for appends. Raises `ServerProblem`, `ConnectionLost`."""
    statements = AppendStatements(address)
    await session.prepare(statements.one)
    await session.prepare(statements.many)


class Writer:
    """Commits batches. For `patience` seconds a lost server is tried again before callers are told."""

    def __init__(
        self,
        address: Address,
        session: Session,
        *,
        patience: float,
        framed: bool,
        find: Callable[[bytes], Awaitable[AppendResult | None]],
    ) -> None:
        self._inline: Inline | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._address = address
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        # Where another isolation level is the default, a transaction of our own says that ours is READ COMMITTED.
        self._framed = framed
        self._find = find
        self._statements = AppendStatements(address)
        self._unsettled = ""
        self._session: Session | None = session

    @property
    def inline(self) -> Inline | None:
        """What is called inside the appending transaction."""
        return self._inline

    @inline.setter
    def inline(self, hook: Inline | None) -> None:
        self._inline = hook

    def begin(self, appends: Sequence[Append], done: Callable[[Sequence[Outcome]], None]) -> bool:
        """Sends a batch at once and calls back with the outcomes; False when it cannot be sent right now.

        This is the way that everything takes while all goes well; what does not is left to the coroutines below.
        """
        session = self._session
        if session is None or session.lost or self._framed or self._inline is not None or self._turn.locked():
            return False
        session.enter_pipeline()
        batch = Batch(appends)

        def answered(result: pq.abc.PGresult | ConnectionLost) -> None:
            try:
                if isinstance(result, ConnectionLost):
                    raise result
                raise_for(result)
                faults.at("postgres.append.after_result")
                verdicts = batch.verdicts(result)
                if REPEATED in verdicts:
                    self._spawn(self._resolve(appends, list(verdicts)), done)
                else:
                    done(verdicts)  # type: ignore[arg-type]  # no other verdict but outcomes is left
            except Exception as problem:  # noqa: BLE001  # whatever it was, every caller of the batch must be answered
                self._spawn(self._recover(appends, session, problem), done)

        try:
            sql, parameters = batch.statement(self._statements)
            faults.at("postgres.append.before_send")
        except Exception:  # noqa: BLE001  # nothing is sent yet; the coroutine meets it again and deals with it
            return False
        try:
            session.send(sql, parameters, answered)
            faults.at("postgres.append.after_send")
        except Exception as problem:  # noqa: BLE001  # it may have been sent, or not
            if not isinstance(problem, ConnectionLost):
                session.drop(str(problem))  # which answers it
            else:
                self._spawn(self._recover(appends, session, problem), done)
        return True

    async def commit(self, appends: Sequence[Append]) -> list[Outcome]:
        """The outcome of each append, whatever happens on the way. Batches are begun in the order of the calls."""
        return await self._resolve(appends, await self._store(appends))

    def close(self) -> None:
        """Lets go of the connection."""
        if self._session is not None:
            self._session.drop("the store was closed")

    def _spawn(self, work: Coroutine[Any, Any, list[Outcome]], done: Callable[[Sequence[Outcome]], None]) -> None:
        async def run() -> None:
            done(await work)

        task = self._loop.create_task(run(), name="refold-recovery")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _recover(self, appends: Sequence[Append], session: Session, problem: Exception) -> list[Outcome]:
        if isinstance(problem, ServerProblem):
            return await self._resolve(appends, await self._refused(appends, problem))
        self._lost(session, problem)
        return await self._resolve(appends, await self._store(appends, sent=True))

    async def _resolve(self, appends: Sequence[Append], verdicts: Sequence[Verdict | RefoldError]) -> list[Outcome]:
        """Reads the first results of those that the log had already."""
        return [
            await self._first_result(append) if isinstance(verdict, Repeated) else verdict
            for append, verdict in zip(appends, verdicts, strict=True)
        ]

    async def _first_result(self, append: Append) -> Outcome:
        try:
            found = await self._find(append.id.bytes)
        except RefoldError as problem:
            return OutcomeUnknown(append.id, str(problem))
        return found or OutcomeUnknown(append.id, "the log said that it has the append, and then it had not")

    async def _store(self, appends: Sequence[Append], *, sent: bool = False) -> list[Verdict | RefoldError]:
        batch = Batch(appends)
        try:
            sql, parameters = batch.statement(self._statements)
        except (struct.error, OverflowError, UnicodeEncodeError) as problem:
            return await self._apart(appends, InvalidAppend(f"the append cannot be written to the database: {problem}"))
        deadline = self._loop.time() + self._patience if sent else 0.0
        unsure = sent
        while True:
            session: Session | None = None
            try:
                async with self._turn:
                    session = self._session
                    if session is None or session.lost or deadline:
                        deadline = deadline or self._loop.time() + self._patience
                        session = await self._connected(deadline)
                    faults.at("postgres.append.before_send")
                    sent = True
                    if self._framed or self._inline is not None:
                        verdicts = await self._in_a_frame(session, batch, sql, parameters)
                    else:
                        verdicts = batch.verdicts(await session.query(sql, parameters))
                    faults.at("postgres.append.after_result")
                    return list(verdicts)
            except ServerProblem as problem:
                return await self._refused(appends, problem, unsure=unsure)
            except _Hooked as failed:
                return await self._one_by_one(appends, failed)
            except _NotConnected as problem:
                if sent:
                    return [OutcomeUnknown(append.id, str(problem.cause)) for append in appends]
                return [problem.cause] * len(appends)
            except Exception as problem:  # noqa: BLE001  # whatever it was, the batch is out: find out what became of it
                self._lost(session, problem)
                deadline = deadline or self._loop.time() + self._patience
                unsure = True

    async def _refused(
        self, appends: Sequence[Append], problem: ServerProblem, *, unsure: bool = False
    ) -> list[Verdict | RefoldError]:
        """What becomes of a batch that the server refuses. `unsure`: it was sent before, and not answered."""
        if problem.sqlstate == UNKNOWN_NAME:
            # The session knows by now that it must do without names.
            return await self._store(appends, sent=unsure)
        explained = explain(problem, self._address.name)
        if not concerns_everything(problem) and len(appends) > 1:
            return await self._apart(appends, explained, unsure=unsure)
        if not unsure:
            return [explained] * len(appends)
        return [await self._stored_before(append, explained) for append in appends]

    async def _stored_before(self, append: Append, problem: RefoldError) -> AppendResult | RefoldError:
        """What became of an append when it was sent first, on a session that is over; now it is refused."""
        try:
            found = await self._find(append.id.bytes)
        except RefoldError as unsettled:
            return OutcomeUnknown(append.id, f"{problem}; what became of it before is not known: {unsettled}")
        return found or problem

    async def _apart(
        self, appends: Sequence[Append], problem: RefoldError, *, unsure: bool = False
    ) -> list[Verdict | RefoldError]:
        """Tries halves, until the append that cannot be stored is alone: it must not fail its neighbours."""
        if len(appends) == 1:
            return [problem]
        middle = len(appends) // 2
        return [
            *await self._store(appends[:middle], sent=unsure),
            *await self._store(appends[middle:], sent=unsure),
        ]

    async def _one_by_one(self, appends: Sequence[Append], failed: _Hooked) -> list[Verdict | RefoldError]:
        if len(appends) == 1:
            cause = failed.__cause__
            if isinstance(cause, RefoldError):
                return [cause]
            error = StoreError(f"{self._address.name}: the inline projection failed: {cause!r}; nothing was stored")
            error.__cause__ = cause
            return [error]
        verdicts: list[Verdict | RefoldError] = []
        for append in appends:
            verdicts += await self._store([append])
        return verdicts

    async def _in_a_frame(self, session: Session, batch: Batch, sql: bytes, parameters: Sequence[Any]) -> list[Verdict]:
        await session.leave_pipeline()
        await session.query(_BEGIN)
        try:
            verdicts = batch.verdicts(await session.query(sql, parameters))
            if self._inline is not None:
                events: list[StoredEvent] = []
                for append, verdict in zip(batch.appends, verdicts, strict=True):
                    if isinstance(verdict, AppendResult):
                        events += stored_events(append, verdict)
                if events:
                    await self._hook(session, events)
            faults.at("postgres.append.before_commit")
            await session.query(b"commit")
        except (ServerProblem, _Hooked):
            await session.query(b"rollback")
            raise
        return verdicts

    async def _hook(self, session: Session, events: list[StoredEvent]) -> None:
        assert self._inline is not None
        try:
            await self._inline(session.release(), events)
        except Exception as problem:
            if session.lost:
                raise ConnectionLost(str(problem)) from problem
            raise _Hooked from problem

    def _lost(self, session: Session | None, problem: Exception) -> None:
        if session is None or session is not self._session:
            return  # another batch that was under way has noticed already
        _log.warning(
            "%s: lost while a batch was committed (%s); its outcome is settled now", self._address.name, problem
        )
        session.drop(str(problem))
        self._session = None
        self._unsettled = session.application_name

    async def _connected(self, deadline: float) -> Session:
        """The session, or a new one, tried for until the deadline; what the lost one did is over then."""
        if self._loop.time() > deadline:
            raise _NotConnected(StoreUnavailable(f"{self._address.name}: it was lost again and again"))
        if self._session is not None and not self._session.lost:
            return self._session
        try:
            session = await reconnected(self._address, "writer", self._unsettled, deadline)
        except RefoldError as problem:
            raise _NotConnected(problem) from problem
        self._unsettled = ""
        await prepare_appending(session, self._address)
        self._session = session
        return session
