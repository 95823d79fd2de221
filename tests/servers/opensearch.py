"""An OpenSearch server of our own, on the loopback, which tests may start, stop, kill and start again."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.servers.account import write_file
from tests.servers.jars import find_jars, find_java
from tests.servers.ports import free_port
from tests.servers.postgres import session_folder
from tests.servers.processes import alive, wait_until
from tests.servers.server import Server

_MAIN = "OpenSearchMain"
_HEAP = ("-Xms128m", "-Xmx512m")
_LOGGING = """\
status=error
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1.} %m%n
"""


def find_opensearch() -> Path:
    """The folder of its jars; raises Unavailable when it was not installed."""
    find_java()
    return find_jars("opensearch", _MAIN)


class OpenSearchServer(Server):
    """One node with a data folder of its own; the port stays the same over restarts. It has no passwords: its security
    is a plugin, which is not published for tests. `remove` it at the end (or use it in a `with`).
    """

    title, pid_file = "OpenSearch", "opensearch.pid"

    @classmethod
    def create(cls, *, settings: Mapping[str, str] | None = None, folder: Path | None = None) -> Self:
        """A new server, with these settings, not started yet. Raises Unavailable without the programs."""
        find_opensearch()
        folder = folder or session_folder("opensearch")
        write_file(folder / "log4j2.properties", _LOGGING)
        write_file(folder / "settings", "".join(f"{name}={value}\n" for name, value in (settings or {}).items()))
        return cls(folder, free_port())

    @property
    def data(self) -> Path:
        """The folder of its data and of what it is told; to be copied only while it is stopped."""
        return self.folder / "home"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start, and return when it answers. Raises TimeoutError when it does not come up."""
        if self.running:
            return
        jars = find_opensearch()
        options = [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={self.folder}/log4j2.properties",
        ]
        command: list[str | Path | int] = [
            find_java(),
            *_HEAP,
            *options,
            "-cp",
            f"{jars}:{jars}/*",
            _MAIN,
            self.data,
            self.port,
            free_port(),
        ]
        command += (self.folder / "settings").read_text(encoding="utf-8").split()
        pid = self.begin(command, self.log)
        wait_until(
            lambda: self._answers() or not alive(pid), f"OpenSearch to answer (its log is {self.log})", timeout=120
        )
        if not alive(pid):
            end = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"OpenSearch did not start:\n{end}")

    def url(self, prefix: str = "") -> str:
        """The URL for read models, with the prefix of their names."""
        return f"opensearch://127.0.0.1:{self.port}/{prefix}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to a plain request, as anybody could send it. Raises `urllib.error.HTTPError`."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def _answers(self) -> bool:
        """Whether all that it has is there to be read and written, not only itself."""
        try:
            health = self.ask("GET", "/_cluster/health")
        except (OSError, urllib.error.URLError, ValueError):
            return False
        return health["status"] in ("green", "yellow") and not health["initializing_shards"]
