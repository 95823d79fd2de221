"""A server in a process of its own, that can be killed and begun anew at the same address."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.ports import free_port

PROJECT = Path(__file__).parents[2]


class ServerProcess:
    """`refold serve` of the domain of these tests, or of another."""

    def __init__(self, store: str, folder: Path, *options: str, app: str = "tests.server.domain:app") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [
            sys.executable, "-m", "refold.cli", "serve", "--app", app, "--url", store,
            "--address", f"127.0.0.1:{self.port}", *options,
        ]  # fmt: skip
        self._log = folder / f"server-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Begins, and comes back when it serves."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it in order."""
        if self._process is not None and self._process.poll() is None:
            self.end()

    def start(self) -> None:
        """Begins, and comes back when it serves."""
        paths = os.pathsep.join([str(PROJECT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=PROJECT, env={**os.environ, "PYTHONPATH": paths}
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"it does not serve: {self._log.read_text()}")

    def kill(self) -> None:
        """Kills it where it is."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Asks it to end; gives its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    @property
    def log(self) -> str:
        """What it printed."""
        return self._log.read_text()
