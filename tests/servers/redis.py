"""A Redis server of our own, on the loopback, which tests may start, stop, kill and start again."""

import secrets
import shutil
import socket
from pathlib import Path
from typing import Self

from tests.servers.account import write_file
from tests.servers.installations import INSTALL_HINT, Unavailable, search_path
from tests.servers.ports import free_port
from tests.servers.postgres import session_folder
from tests.servers.processes import alive, wait_until
from tests.servers.server import Server

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


class RedisServer(Server):
    """One Redis with a password and an append-only file; the port stays the same over restarts. `remove` it at the end
    (or use it in a `with`).
    """

    title, pid_file = "Redis", "own.pid"

    def __init__(self, folder: Path, port: int, password: str) -> None:
        """Attach to the server in `folder`, running or not; use `create` for a new one."""
        super().__init__(folder, port)
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

    def start(self) -> None:
        """Start, and return when it answers. Raises TimeoutError when it does not come up."""
        if self.running:
            return
        command: list[str | Path | int] = [find_redis(), self.folder / "redis.conf"]
        pid = self.begin(command, self.folder / "output.log")
        wait_until(
            lambda: self.ask("PING") == "+PONG" or not alive(pid),
            f"Redis to answer (its log is {self.folder / 'redis.log'})",
            timeout=30,
        )

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
