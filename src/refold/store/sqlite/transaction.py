"""A transaction of the user's on the writing connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from refold import faults
from refold.errors import ConfigurationError, StoreError
from refold.store.append import Append, AppendResult, validate_append
from refold.store.sqlite.committing import Inline, append_all, overwritten, unflushed
from refold.store.sqlite.problems import in_words, is_flush
from refold.store.sqlite.writer import Run

__all__ = ["SqliteTransaction"]


class SqliteTransaction:
    """The user's own tables and appends, all or nothing. See `StoreTransaction`."""

    def __init__(self, connection: sqlite3.Connection, run: Run, where: str, payload_limit: int) -> None:
        self._connection = connection
        self._run = run
        self._where = where
        self._payload_limit = payload_limit
        self._staged: list[Append] = []
        self.results: Sequence[AppendResult] = ()
        self.over = False

    @property
    def connection(self) -> sqlite3.Connection:
        """The writing connection, in a transaction. Use it from its own thread only: through `execute`."""
        return self._connection

    async def execute(
        self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Runs one SQL statement and gives its rows. Raises `ConfigurationError` for a wrong one."""
        self._refuse_when_over()
        text, bound = (statement, parameters) if isinstance(statement, str) else _compiled(statement, parameters)
        rows: list[tuple[Any, ...]] = await self._run(partial(self._execute, text, bound))
        return rows

    def _execute(self, text: str, parameters: Any, connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        self._refuse_when_lost(connection)
        try:
            rows = connection.execute(text, parameters).fetchall()
        except sqlite3.Warning as problem:  # two statements in one, in older Pythons
            raise ConfigurationError(f"one statement at a time: {problem}") from problem
        self._refuse_when_lost(connection)
        return rows

    def append(self, append: Append) -> None:
        """Stages an append; it is done at the commit."""
        self._refuse_when_over()
        validate_append(append, payload_limit=self._payload_limit)
        self._staged.append(append)

    def end(self) -> None:
        """Nothing more may be done with it."""
        self.over = True

    def finish(self, inline: Inline | None) -> asyncio.Future[list[AppendResult]]:
        """Begins to do the staged appends, and to commit: that goes to its end, also when nobody waits for it."""
        return self._run(partial(self._finish, inline))

    def _finish(self, inline: Inline | None, connection: sqlite3.Connection) -> list[AppendResult]:
        self._refuse_when_lost(connection)
        faults.at("sqlite.transaction.append")
        results = append_all(connection, self._staged, inline)
        try:
            faults.at("sqlite.transaction.before_commit")
            connection.execute("commit")
        except sqlite3.Error as problem:
            if not (self._staged and is_flush(problem)):
                raise
            if overwritten(connection):
                raise in_words(problem, self._where) from problem
            raise unflushed(self._staged[0], problem, self._where) from problem
        faults.at("sqlite.transaction.committed")
        return results

    def _refuse_when_over(self) -> None:
        if self.over:
            raise StoreError(f"{self._where}: this transaction is over; do everything inside its block")

    def _refuse_when_lost(self, connection: sqlite3.Connection) -> None:
        """Outside a transaction each statement would be one of its own, and half of the block could be stored."""
        if not connection.in_transaction:
            raise StoreError(
                f"{self._where}: the transaction was ended inside its block, by a statement (commit, rollback) or by "
                "SQLite (a full disk); nothing more is done in it, and none of its events are stored"
            )


def _compiled(statement: Any, parameters: Sequence[Any] | Mapping[str, Any]) -> tuple[str, Any]:
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.sql.compiler import SQLCompiler

    given = dict(parameters) if parameters else {}
    compiled = statement.compile(
        dialect=sqlite.dialect(paramstyle="qmark"),
        column_keys=list(given) or None,
        compile_kwargs={"render_postcompile": True},
    )
    if not isinstance(compiled, SQLCompiler):  # DDL: it has no parameters
        return str(compiled), ()
    values = compiled.construct_params(given)
    processors: Mapping[str, Any] = compiled._bind_processors  # how SQLAlchemy itself turns values into the driver's
    return str(compiled), tuple(
        processors[name](values[name]) if name in processors else values[name] for name in compiled.positiontup or ()
    )
