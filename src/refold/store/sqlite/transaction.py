"""A transaction of the user's on the writing connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from refold.errors import ConfigurationError
from refold.store.append import Append, validate_append
from refold.store.sqlite.problems import said_in_words
from refold.store.sqlite.threads import Thread

__all__ = ["SqliteTransaction"]


class SqliteTransaction:
    """The user's own tables and appends, all or nothing. See `StoreTransaction`."""

    def __init__(self, connection: sqlite3.Connection, thread: Thread, where: str, payload_limit: int) -> None:
        self._connection = connection
        self._thread = thread
        self._where = where
        self._payload_limit = payload_limit
        self.staged: list[Append] = []

    @property
    def connection(self) -> sqlite3.Connection:
        """The writing connection, in a transaction. Use it from its own thread only: through `execute`."""
        return self._connection

    async def execute(
        self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Runs one SQL statement and gives its rows. Raises `ConfigurationError` for a wrong one."""
        text, bound = (statement, parameters) if isinstance(statement, str) else _compiled(statement, parameters)
        return await self._thread.run(self._execute, text, bound)

    def _execute(self, text: str, parameters: Any) -> list[tuple[Any, ...]]:
        try:
            with said_in_words(self._where):
                return self._connection.execute(text, parameters).fetchall()
        except sqlite3.Warning as problem:  # two statements in one, in older Pythons
            raise ConfigurationError(f"one statement at a time: {problem}") from problem

    def append(self, append: Append) -> None:
        """Stages an append; it is done at the commit."""
        validate_append(append, payload_limit=self._payload_limit)
        self.staged.append(append)


def _compiled(statement: Any, parameters: Sequence[Any] | Mapping[str, Any]) -> tuple[str, Any]:
    from sqlalchemy.dialects import sqlite

    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    values = compiled.construct_params(parameters or None)
    processors: Mapping[str, Callable[[Any], Any]] = compiled._bind_processors
    return str(compiled), tuple(
        processors[name](values[name]) if name in processors else values[name] for name in compiled.positiontup or ()
    )
