"""Fresh databases for runs: one Postgres server with its default, durable settings, and SQLite files."""

import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from benchmarks.environments import SCRATCH
from benchmarks.plan import Seed, Store
from tests.servers import PostgresServer

SERVER = "postgres15"
FREE_COPY_SINCE = 150000


class Databases:
    """Makes a database for each run and drops it afterwards; seeded logs are written once and copied.

    Use it in a `with`.
    """

    def __init__(self) -> None:
        self._server: PostgresServer | None = None
        self._numbers = itertools.count(1)
        self._seeded: dict[str, str] = {}
        SCRATCH.mkdir(exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="run-", dir=SCRATCH)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.remove()
        self._folder.cleanup()

    @property
    def server(self) -> PostgresServer:
        """The Postgres server, started when it is first asked for.

        Raises RuntimeError when its settings are not durable.
        """
        if self._server is None:
            self._server = PostgresServer.create(SERVER)
            self._server.start()
            _refuse_unsafe(self._server)
        return self._server

    @contextmanager
    def fresh(self, store: Store, seed: Seed | None, write_seed: Callable[[Seed, str], None]) -> Iterator[str]:
        """The URL (for SQLite: the path) of a new database, empty or a copy of the seed's."""
        if store == "sqlite":
            path = Path(self._folder.name) / f"{next(self._numbers)}.db"
            yield str(path)
            for part in path.parent.glob(f"{path.name}*"):
                part.unlink()
            return
        template = self._template(seed, write_seed) if seed is not None else None
        name = f"bench_{next(self._numbers)}"
        self._create(name, template)
        try:
            yield self.server.url(name)
        finally:
            self.server.drop_database(name)

    def _template(self, seed: Seed, write_seed: Callable[[Seed, str], None]) -> str:
        if seed.key not in self._seeded:
            name = f"seed_{next(self._numbers)}"
            write_seed(seed, self.server.create_database(name))
            with self.server.connect(name) as connection:
                # So that no run pays for hint bits and statistics that another one does not.
                connection.execute("VACUUM (ANALYZE)")
            self._seeded[seed.key] = name
        return self._seeded[seed.key]

    def _create(self, name: str, template: str | None) -> None:
        source = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            source += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with self.server.connect() as connection:
            if template is not None and connection.info.server_version >= FREE_COPY_SINCE:
                source += sql.SQL(" STRATEGY file_copy")
            connection.execute(source)
            # The checkpoint that the last run has made due must not fall into this one.
            connection.execute("CHECKPOINT")


def _refuse_unsafe(server: PostgresServer) -> None:
    with server.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            row = connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(setting))).fetchone()
            if row != ("on",):
                raise RuntimeError(f"{setting} is {row}: rates without durability are not worth measuring")


def ask(store: Store, url: str, question: str) -> object:
    """The first value that a query gives, asked on a connection of our own. Raises psycopg.Error or sqlite3.Error."""
    if store == "sqlite":
        with closing(sqlite3.connect(url)) as file:
            answer = file.execute(question).fetchone()
    else:
        with psycopg.connect(url) as connection:
            answer = connection.execute(sql.SQL(question)).fetchone()
    return None if answer is None else answer[0]
