"""A Redis server of our own, on the loopback, which tests may start, stop, kill and start again."""

import os
import secrets
import shutil
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.account import remove, start_as_server, write_file
from tests.servers.installations import INSTALL_HINT, Unavailable, search_path
from tests.servers.ports import free_port
from tests.servers.postgres import session_folder
from tests.servers.processes import alive, kill_tree, pid_in, wait_until

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
pidfile {folder}/redis.pid
logfile {folder}/redis.log
daemonize no
set-proc-title no
appendonly yes
appendfsync {fsync}
save ""
"""


def find_redis() -> Path:
    """The redis-server program; raises Unavailable when there is none."""
    found = shutil.which("redis-server", path=search_path())
    if found is None:
        raise Unavailable(f"redis-server was not found; {INSTALL_HINT}")
    return Path(found)


class RedisServer:
    """One Redis with a password and an append-only file; the port stays the same over restarts. `remove` it at the end
    (or use it in a `with`).
    """

    def __init__(self, folder: Path, port: int, password: str) -> None:
        """Attach to the server in `folder`, running or not; use `create` for a new one."""
        self.folder = folder
        self.port = port
        self.password = password

    @classmethod
    def create(cls, *, fsync: str = "everysec", more: str = "", folder: Path | None = None) -> Self:
        """A new server, not started yet. `more` is further configuration. Raises Unavailable without the program."""
        find_redis()
        folder = folder or session_folder("redis")
        port, password = free_port(), secrets.token_hex(8)
        text = _CONFIGURATION.format(port=port, password=password, folder=folder, fsync=fsync)
        write_file(folder / "redis.conf", text + more)
        return cls(folder, port, password)

    @property
    def pid(self) -> int | None:
        """The process id, or None when it is not running."""
        return pid_in(self.folder / "own.pid")

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

    def start(self) -> None:
        """Start, and return when it answers. Raises TimeoutError when it does not come up."""
        if self.running:
            return
        command: list[str | Path | int] = [find_redis(), self.folder / "redis.conf"]
        pid = start_as_server(command, cwd=self.folder, output=self.folder / "output.log")
        (self.folder / "own.pid").write_text(str(pid), encoding="utf-8")
        wait_until(
            lambda: self.ask("PING") == "+PONG" or not alive(pid),
            f"Redis to answer (its log is {self.folder / 'redis.log'})",
            timeout=30,
        )

    def stop(self) -> None:
        """Stop it in order, and wait for the end. No-op when stopped."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not alive(pid), "Redis to stop", timeout=30)

    def restart(self) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone. `start` recovers what its file has."""
        pid = self.pid
        if pid is not None:
            kill_tree(pid)

    def remove(self) -> None:
        """Stop it at once and delete its data."""
        self.kill()
        remove(self.folder)

    def url(self, prefix: str = "refold", *, password: str | None = None) -> str:
        """The URL for read models, with the prefix of their keys."""
        return f"redis://:{password or self.password}@127.0.0.1:{self.port}/0?prefix={prefix}"

    def ask(self, command: str) -> str:
        """The first line of the answer to a plain command, as anybody could send it; "" when it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                line.sendall(f"AUTH {self.password}\r\n{command}\r\n".encode())
                stream = line.makefile("rb")
                stream.readline()
                return stream.readline().decode().strip()
        except OSError:
            return ""

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.remove()
