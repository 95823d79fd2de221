"""Real databases behind the addresses that pages show.

`postgresql://localhost/bank` on a page becomes a new database of a test server.
"""

import re
import secrets
from types import TracebackType
from typing import LiteralString, Self
from urllib.parse import urlsplit, urlunsplit

from tests.docs.graphs import Graphs
from tests.docs.indexes import Indexes
from tests.docs.keys import Keys

SHOWN_URL = re.compile(r"postgresql://localhost(?::5432)?/(?P<name>\w+)")


class NoServer(Exception):
    """A page shows a Postgres address, and no server was given."""


class Databases:
    """The databases of one page's run; dropped at its end."""

    def __init__(
        self,
        server_url: str | None,
        search_url: str | None = None,
        redis_url: str | None = None,
        graph_url: str | None = None,
    ) -> None:
        """Each may be None when the page shows no such address."""
        self._indexes = Indexes(search_url)
        self._keys = Keys(redis_url)
        self._graphs = Graphs(graph_url)
        self._server_url = server_url
        self._suffix = secrets.token_hex(4)
        self._real: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._real:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._real_name(name))
        self._indexes.close()

    def with_real_urls(self, text: str) -> str:
        """The text with each shown address replaced by a real one; the databases are created at their first sight."""
        text = self._graphs.with_real_urls(self._keys.with_real_urls(self._indexes.with_real_urls(text)))
        return SHOWN_URL.sub(lambda match: self._real_url(match["name"]), text)

    def with_shown_urls(self, text: str) -> str:
        """The text with each real address, however its password is shown, replaced by the one on the page."""
        text = self._graphs.with_shown_urls(self._keys.with_shown_urls(self._indexes.with_shown_urls(text)))
        for name in self._real:
            pattern = rf"postgresql://[^@\s]+@[\w.]+(?::\d+)?/{self._real_name(name)}\b"
            text = re.sub(pattern, f"postgresql://localhost/{name}", text)
        return SHOWN_URL.sub(r"postgresql://localhost/\g<name>", text)

    def _real_url(self, name: str) -> str:
        if self._server_url is None:
            raise NoServer(f"postgresql://localhost/{name} needs a server; give --postgres URL")
        if name not in self._real:
            self._execute("CREATE DATABASE {}", self._real_name(name))
            self._real[name] = urlunsplit(urlsplit(self._server_url)._replace(path=f"/{self._real_name(name)}"))
        return self._real[name]

    def _real_name(self, name: str) -> str:
        return f"docs_{name}_{self._suffix}"

    def _execute(self, statement: LiteralString, name: str) -> None:
        # Only here: most pages show no database, and each is run by a process of its own, which would load the driver.
        import psycopg
        from psycopg import sql

        assert self._server_url is not None
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
