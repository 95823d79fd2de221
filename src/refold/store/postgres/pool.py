"""The sessions that reads and transactions share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from psycopg import pq

from refold.errors import StoreUnavailable
from refold.store.postgres.address import Address
from refold.store.postgres.connection import ConnectionLost, Session
from refold.store.postgres.problems import ServerProblem, explain, explain_query
from refold.store.postgres.wire import Parameter

__all__ = ["SessionPool"]


class SessionPool:
    """At most `most` sessions at a time. Those not in use are kept, and the last used is taken first."""

    def __init__(self, address: Address, role: str, most: int) -> None:
        self._address = address
        self._role = role
        self._idle: list[Session] = []
        self._free = asyncio.Semaphore(most)
        self._closed = False

    @asynccontextmanager
    async def lease(self, begin: bytes) -> AsyncIterator[Session]:
        """A session for the time of the block, on which the statement `begin` was run."""
        async with self._free:
            session = await self._begun(begin)
            try:
                yield session
            finally:
                self._give_back(session)

    async def _begun(self, begin: bytes) -> Session:
        session = self._take()
        if session is not None:
            try:
                await session.query(begin)
            except ConnectionLost:
                self._drop_idle()
            else:
                return session
        session = await self._connect()
        try:
            await session.query(begin)
        except ConnectionLost as lost:
            raise StoreUnavailable(f"{self._address.name}: the connection was lost ({lost})") from lost
        except ServerProblem as problem:
            session.drop("refused")
            raise explain(problem, self._address.name) from problem
        return session

    async def query(self, sql: bytes, parameters: Sequence[Parameter] = ()) -> pq.abc.PGresult:
        """Runs a statement that may be run twice, and appends nothing. Raises `StoreUnavailable`, `InvalidQuery`, and
        what the server's refusal means.
        """
        async with self._free:
            session = self._take()
            fresh = session is None
            if session is None:
                session = await self._connect()
            try:
                try:
                    return await session.query(sql, parameters)
                except ConnectionLost as lost:
                    if fresh:
                        raise StoreUnavailable(f"{self._address.name}: the connection was lost ({lost})") from lost
                # A kept connection may have died while nobody looked, and then so have the others.
                self._drop_idle()
                session = await self._connect()
                return await session.query(sql, parameters)
            except ConnectionLost as lost:
                raise StoreUnavailable(f"{self._address.name}: the connection was lost ({lost})") from lost
            except ServerProblem as problem:
                raise explain_query(problem, self._address.name) from problem
            finally:
                self._give_back(session)

    def close(self) -> None:
        """Closes what is not in use, and the rest as it comes back."""
        self._closed = True
        self._drop_idle()

    async def _connect(self) -> Session:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return await Session.connect(self._address, self._role)

    def _take(self) -> Session | None:
        while self._idle:
            session = self._idle.pop()
            if not session.lost:
                return session
        return None

    def _give_back(self, session: Session) -> None:
        if self._closed or session.lost or session.in_transaction:
            session.drop("not needed any more")
        else:
            session.watch()
            self._idle.append(session)

    def _drop_idle(self) -> None:
        for session in self._idle:
            session.drop("not needed any more")
        self._idle.clear()
