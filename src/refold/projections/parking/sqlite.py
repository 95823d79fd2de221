"""What is kept of failing projections, in the SQLite file of the log."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

from refold import faults
from refold.projections.parking import statements
from refold.projections.parking.records import Attempt, Change, Dropped, Operation, Orders, ParkedKey, Pause, Renamed

__all__ = ["SqliteRecords", "apply_changes", "forget_table", "rename_table"]

T = TypeVar("T")
_NAMES = {table: f"refold_{table}" for table in (*statements.TABLES, "checkpoints")}


class _DoesNotHold(Exception):
    """A change does not hold: what was changed before it is rolled back."""


class SqliteAccess(Protocol):
    """What is needed of the store."""

    async def transact(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a function inside one transaction of the writing connection."""
        ...

    async def query(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a function with a connection that reads."""
        ...


@cache
def _prepared(sql: str) -> str:
    text = sql.format(now="\0", **_NAMES)
    return re.sub(r"\$(\d+)", r"?\1", text)


def _run(connection: sqlite3.Connection, sql: str, parameters: Sequence[str | int] = ()) -> list[tuple[Any, ...]]:
    text = _prepared(sql).replace("\0", str(time.time_ns() // 1000))
    return connection.execute(text, tuple(parameters)).fetchall()


def apply_changes(connection: sqlite3.Connection, changes: Sequence[Change]) -> bool:
    """Makes changes inside a transaction. False: one does not hold; then the transaction is to be rolled back."""
    for change in changes:
        for sql, parameters, holds_by_row in statements.statements_of(change):
            if not _run(connection, sql, parameters) and holds_by_row:
                return False
        faults.at("parking.changed")
    return True


def rename_table(connection: sqlite3.Connection, name: str, new_name: str) -> None:
    """What goes with a checkpoint that is given another name."""
    apply_changes(connection, [Renamed(name, new_name)])


def forget_table(connection: sqlite3.Connection, name: str) -> None:
    """What goes with a checkpoint that is dropped, or begins anew."""
    apply_changes(connection, [Dropped(name)])


class SqliteRecords:
    """See `ProjectionRecords`."""

    def __init__(self, store: SqliteAccess) -> None:
        self._store = store

    async def apply(self, changes: Sequence[Change]) -> bool:
        """See `ProjectionRecords.apply`."""

        def run(connection: sqlite3.Connection) -> None:
            if not apply_changes(connection, changes):
                raise _DoesNotHold

        try:
            await self._store.transact(run)
        except _DoesNotHold:
            return False
        return True

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
        return bool(await self._store.transact(lambda connection: _run(connection, statements.NOTE, parameters)))

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
        return await self._store.query(lambda connection: _run(connection, sql, parameters))
