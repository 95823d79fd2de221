"""What is kept of failing projections, in the Postgres database of the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import psycopg
from psycopg import AsyncRawCursor

from refold import faults
from refold.projections.parking import statements
from refold.projections.parking.records import Attempt, Change, Dropped, Operation, Orders, ParkedKey, Pause

__all__ = ["DoesNotHold", "PostgresRecords"]

_NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"


Run = Callable[[str, Sequence[str | int]], Awaitable[list[tuple[Any, ...]]]]


class DoesNotHold(Exception):
    """A change does not hold: the transaction is rolled back."""


class PostgresAccess(Protocol):
    """What is needed of the store."""

    @property
    def schema(self) -> str:
        """The schema of the log, quoted."""
        ...

    async def run(self, sql: str, parameters: Sequence[str | int | None] = ()) -> list[tuple[Any, ...]]:
        """Runs one statement on its own and gives its rows."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction, on its `connection`."""
        ...


class PostgresRecords:
    """See `ProjectionRecords`."""

    def __init__(self, store: PostgresAccess) -> None:
        self._store = store
        self._names = {table: f"{store.schema}.{table}" for table in (*statements.TABLES, "checkpoints")}

    async def apply(self, changes: Sequence[Change]) -> bool:
        """See `ProjectionRecords.apply`."""
        try:
            async with self._store.transaction() as transaction:
                await self.apply_by(_on(transaction.connection), changes)
        except DoesNotHold:
            return False
        return True

    async def apply_by(self, run: Run, changes: Sequence[Change]) -> None:
        """Makes changes inside a transaction, in which `run` runs statements. Raises `DoesNotHold`."""
        for change in changes:
            for sql, parameters, holds_by_row in statements.statements_of(change):
                if not await run(self._sql(sql), parameters) and holds_by_row:
                    raise DoesNotHold
            faults.at("parking.changed")

    def forgetting(self, name: str) -> str:
        """What `Dropped` does, as the text of statements, for a read model's table, whose name needs no quoting."""
        dropped = statements.statements_of(Dropped(name))
        return "; ".join(self._sql(sql).replace("$1", f"'{name}'") for sql, _, _ in dropped)

    def _sql(self, sql: str) -> str:
        return sql.format(now=_NOW, **self._names)

    async def parked(self, name: str = "") -> list[ParkedKey]:
        """See `ProjectionRecords.parked`."""
        return [statements.parked_of(row) for row in await self._ask(statements.PARKED, name)]

    async def skipped(self, read_model: str, fingerprint: str) -> list[tuple[str, int]]:
        """See `ProjectionRecords.skipped`."""
        return [(key, position) for key, position in await self._ask(statements.SKIPPED, read_model, fingerprint)]

    async def attempt(self, name: str) -> Attempt | None:
        """See `ProjectionRecords.attempt`."""
        rows = await self._ask(statements.ATTEMPTS, name)
        return statements.attempt_of(rows[0]) if rows else None

    async def attempts(self) -> list[Attempt]:
        """See `ProjectionRecords.attempts`."""
        return [statements.attempt_of(row) for row in await self._ask(statements.ATTEMPTS, "")]

    async def note(self, attempt: Attempt, epoch: int, next_in: float = 0.0) -> bool:
        """See `ProjectionRecords.note`."""
        a = attempt
        parameters = (a.name, a.first, a.last, a.begun, a.failed, a.error, int(next_in * 1_000_000), epoch)
        return bool(await self._ask(statements.NOTE, *parameters))

    async def pauses(self) -> list[Pause]:
        """See `ProjectionRecords.pauses`."""
        return [statements.pause_of(row) for row in await self._ask(statements.PAUSES)]

    async def orders(self) -> Orders:
        """See `ProjectionRecords.orders`."""
        rows = await self._ask(statements.ORDERS)
        paused = frozenset(name for what, name in rows if what == "paused")
        return Orders(paused, frozenset(name for what, name in rows if what == "requested"))

    async def operations(self, *, before: int = 0, limit: int = 100, request: str = "") -> list[Operation]:
        """See `ProjectionRecords.operations`."""
        rows = await self._ask(statements.OPERATIONS, before, limit, request)
        return [statements.operation_of(row) for row in rows]

    async def _ask(self, sql: str, *parameters: str | int) -> list[tuple[Any, ...]]:
        return await self._store.run(self._sql(sql), parameters)


def _on(connection: psycopg.AsyncConnection[Any]) -> Run:
    async def run(sql: str, parameters: Sequence[str | int]) -> list[tuple[Any, ...]]:
        async with AsyncRawCursor(connection) as cursor:
            await cursor.execute(sql, list(parameters))
            return await cursor.fetchall() if cursor.description is not None else []

    return run
