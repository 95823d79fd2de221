"""The writer: a connection on which batches are committed, and whose loss is settled before anyone is answered."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from refold import faults
from refold.errors import InvalidAppend, OutcomeUnknown, RefoldError, StoreError
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendResult
from refold.store.group_commit import Outcome
from refold.store.postgres.address import Address
from refold.store.postgres.batch import REPEATED, AppendStatements, Batch, Repeated, Verdict, stored_events
from refold.store.postgres.connection import ConnectionLost, Session
from refold.store.postgres.inline import Inline
from refold.store.postgres.problems import ServerProblem, concerns_everything, explain
from refold.store.postgres.settle import reconnected

__all__ = ["Writer"]

_log = logging.getLogger("refold.store.postgres")
_BEGIN = b"begin isolation level read committed"


class _Hooked(Exception):
    """The inline hook failed; nothing of the batch is stored."""


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
        self.inline: Inline | None = None
        self._address = address
        self._session: Session | None = session
        self._patience = patience
        # Where another isolation level is the default, a transaction of our own says that ours is READ COMMITTED.
        self._framed = framed
        self._find = find
        self._statements = AppendStatements(address)
        self._unsettled = ""

    async def commit(self, appends: Sequence[Append]) -> list[Outcome]:
        """The outcome of each append."""
        verdicts = await self._store(appends)
        if REPEATED not in verdicts:
            return verdicts  # type: ignore[return-value]  # no other verdict but outcomes is left
        return [
            await self._first_result(append) if isinstance(verdict, Repeated) else verdict
            for append, verdict in zip(appends, verdicts, strict=True)
        ]

    def close(self) -> None:
        """Lets go of the connection."""
        if self._session is not None:
            self._session.drop("the store was closed")

    async def _first_result(self, append: Append) -> Outcome:
        try:
            found = await self._find(append.id.bytes)
        except RefoldError as problem:
            return OutcomeUnknown(append.id, str(problem))
        return found or OutcomeUnknown(append.id, "the log said that it has the append, and then it had not")

    async def _store(self, appends: Sequence[Append]) -> list[Verdict | RefoldError]:
        batch = Batch(appends)
        try:
            sql, parameters = batch.statement(self._statements)
        except (struct.error, OverflowError, UnicodeEncodeError) as problem:
            return await self._apart(appends, InvalidAppend(f"the append cannot be written to the database: {problem}"))
        deadline = asyncio.get_running_loop().time() + self._patience
        sent = False
        while True:
            try:
                session = await self._connected(deadline)
            except RefoldError as problem:
                if sent:
                    return [OutcomeUnknown(append.id, str(problem)) for append in appends]
                return [problem] * len(appends)
            faults.at("postgres.append.before_send")
            sent = True
            try:
                if self._framed or self.inline is not None:
                    return await self._in_a_frame(session, batch, sql, parameters)
                result = await session.query(sql, parameters)
                faults.at("postgres.append.after_result")
                return list(batch.verdicts(result))
            except ServerProblem as problem:
                explained = explain(problem, self._address.name)
                if concerns_everything(problem):
                    return [explained] * len(appends)
                return await self._apart(appends, explained)
            except _Hooked as failed:
                return await self._one_by_one(appends, failed)
            except Exception as problem:  # noqa: BLE001  # whatever it was, the batch is out, and what became of it must be found out
                self._lost(session, problem)

    async def _apart(self, appends: Sequence[Append], problem: RefoldError) -> list[Verdict | RefoldError]:
        """Tries halves, until the append that cannot be stored is alone: it must not fail its neighbours."""
        if len(appends) == 1:
            return [problem]
        middle = len(appends) // 2
        return [*await self._store(appends[:middle]), *await self._store(appends[middle:])]

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

    async def _in_a_frame(
        self, session: Session, batch: Batch, sql: bytes, parameters: Sequence[Any]
    ) -> list[Verdict | RefoldError]:
        await session.query(_BEGIN)
        try:
            verdicts = batch.verdicts(await session.query(sql, parameters))
            if self.inline is not None:
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
        faults.at("postgres.append.after_result")
        return list(verdicts)

    async def _hook(self, session: Session, events: list[StoredEvent]) -> None:
        assert self.inline is not None
        try:
            await self.inline(session.release(), events)
        except Exception as problem:
            if session.lost:
                raise ConnectionLost(str(problem)) from problem
            raise _Hooked from problem

    def _lost(self, session: Session, problem: Exception) -> None:
        _log.warning(
            "%s: the connection was lost while a batch was committed (%s); it is settled now",
            self._address.name,
            problem,
        )
        session.drop(str(problem))
        self._session = None
        self._unsettled = session.application_name

    async def _connected(self, deadline: float) -> Session:
        """The session; a new one when it is gone, tried for until the deadline. Raises `StoreUnavailable`."""
        if self._session is None or self._session.lost:
            self._session = await reconnected(self._address, "writer", self._unsettled, deadline)
            self._unsettled = ""
        return self._session
