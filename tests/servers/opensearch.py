"""An OpenSearch server of our own, on the loopback, which tests may start, stop, kill and start again."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.account import remove, start_as_server, write_file
from tests.servers.jars import find_jars, find_java
from tests.servers.ports import free_port
from tests.servers.postgres import session_folder
from tests.servers.processes import alive, kill_tree, pid_in, wait_until

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


class OpenSearchServer:
    """One node with a data folder of its own; the port stays the same over restarts. It has no passwords: its security
    is a plugin, which is not published for tests. `remove` it at the end (or use it in a `with`).
    """

    def __init__(self, folder: Path, port: int) -> None:
        """Attach to the server in `folder`, running or not; use `create` for a new one."""
        self.folder = folder
        self.port = port

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

    @property
    def pid(self) -> int | None:
        """The process id, or None when it is not running."""
        return pid_in(self.folder / "opensearch.pid")

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

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
        pid = start_as_server(command, cwd=self.folder, output=self.log)
        (self.folder / "opensearch.pid").write_text(str(pid), encoding="utf-8")
        wait_until(
            lambda: self._answers() or not alive(pid), f"OpenSearch to answer (its log is {self.log})", timeout=120
        )
        if not alive(pid):
            end = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"OpenSearch did not start:\n{end}")

    def stop(self) -> None:
        """Stop it in order, and wait for the end. No-op when stopped."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not alive(pid), "OpenSearch to stop", timeout=60)

    def restart(self) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone. `start` recovers."""
        pid = self.pid
        if pid is not None:
            kill_tree(pid)

    def remove(self) -> None:
        """Stop it at once and delete its data."""
        self.kill()
        remove(self.folder)

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

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.remove()

    def _answers(self) -> bool:
        """Whether all that it has is there to be read and written, not only itself."""
        try:
            health = self.ask("GET", "/_cluster/health")
        except (OSError, urllib.error.URLError, ValueError):
            return False
        return health["status"] in ("green", "yellow") and not health["initializing_shards"]
