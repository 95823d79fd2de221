"""A Neo4j server of our own, on the loopback, which tests may start, stop, kill and start again."""

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from neo4j import Driver, GraphDatabase

from tests.servers.account import write_file
from tests.servers.jars import find_jars, find_java
from tests.servers.ports import free_port
from tests.servers.postgres import session_folder
from tests.servers.processes import alive, wait_until
from tests.servers.server import Server

_MAIN = "Neo4jMain"
_HEAP = ("-Xms128m", "-Xmx512m")
_OPENED = (
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "-Dio.netty.tryReflectionSetAccessible=true",
)


def find_neo4j() -> Path:
    """The folder of its jars; raises Unavailable when it was not installed."""
    find_java()
    return find_jars("neo4j", _MAIN)


class Neo4jServer(Server):
    """One community server with a password and a data folder of its own; the port stays the same over restarts.
    `remove` it at the end (or use it in a `with`).
    """

    title, pid_file = "Neo4j", "neo4j.pid"

    def __init__(self, folder: Path, port: int, password: str) -> None:
        """Attach to the server in `folder`, running or not; use `create` for a new one."""
        super().__init__(folder, port)
        self.password = password
        self._driver: Driver | None = None

    @classmethod
    def create(cls, *, folder: Path | None = None) -> Self:
        """A new server, not started yet. Raises Unavailable without the programs."""
        find_neo4j()
        folder = folder or session_folder("neo4j")
        password = secrets.token_hex(8)
        write_file(folder / "password", password)
        return cls(folder, free_port(), password)

    @property
    def data(self) -> Path:
        """The folder of its data; to be copied only while it is stopped."""
        return self.folder / "home"

    @property
    def log(self) -> Path:
        """The server's output."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start, and return when it answers. Raises TimeoutError when it does not come up."""
        if self.running:
            return
        jars, ready = find_neo4j(), self.data / "ready"
        ready.unlink(missing_ok=True)
        command: list[str | Path | int] = [
            find_java(),
            *_HEAP,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            *_OPENED,
            "-cp",
            f"{jars}:{jars}/*",
            _MAIN,
            self.data,
            self.port,
            self.folder / "password",
        ]
        pid = self.begin(command, self.log)
        wait_until(
            lambda: (ready.exists() and self._listens()) or not alive(pid),
            f"Neo4j to answer (its log is {self.log})",
            timeout=120,
        )
        if not alive(pid):
            end = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"Neo4j did not start:\n{end}")

    def stop(self) -> None:
        """Stop it in order, and wait for the end. No-op when stopped."""
        self._hang_up()
        super().stop()

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone. `start` recovers."""
        self._hang_up()
        super().kill()

    def url(self, prefix: str = "", *, password: str | None = None) -> str:
        """The URL for read models, with the prefix of their names."""
        option = f"?prefix={prefix}" if prefix else ""
        return f"bolt://neo4j:{password or self.password}@127.0.0.1:{self.port}/neo4j{option}"

    def ask(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The answer to a statement of plain Cypher, as anybody could send it."""
        if self._driver is None:
            self._driver = GraphDatabase.driver(f"bolt://127.0.0.1:{self.port}", auth=("neo4j", self.password))
        with self._driver.session(database="neo4j") as session:
            return session.run(statement, dict(parameters or {})).data()

    def _hang_up(self) -> None:
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return True
        except OSError:
            return False
