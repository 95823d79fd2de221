"""A pgbouncer in transaction mode in front of one of our Postgres servers."""

import contextlib
import os
from pathlib import Path
from typing import Self

import psycopg

from tests.servers.account import base_folder, new_folder, run_as_server, write_file
from tests.servers.installations import find_pgbouncer
from tests.servers.ports import free_port
from tests.servers.postgres import SUPERUSER, PostgresServer
from tests.servers.processes import wait_until
from tests.servers.server import Server

# What is not written here is pgbouncer's own default, as its users have it (it refuses unknown startup parameters).
_CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
admin_users = {user}
pool_mode = transaction
max_client_conn = 500
default_pool_size = {pool_size}
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
"""


class PgBouncer(Server):
    """One pgbouncer; the port stays the same over restarts. `remove` it at the end (or use it in a `with`)."""

    title, pid_file = "pgbouncer", "pgbouncer.pid"

    def __init__(self, server: PostgresServer, folder: Path, port: int) -> None:
        """Attach to the pgbouncer in `folder`, running or not; use `create` for a new one."""
        super().__init__(folder, port)
        self.server = server

    @classmethod
    def create(cls, server: PostgresServer, *, pool_size: int = 4, folder: Path | None = None) -> Self:
        """A new pgbouncer for this server, not started yet.

        The pool is small on purpose: clients change their server connection all the time, as in a busy production.
        Raises Unavailable without the program.
        """
        find_pgbouncer()
        folder = folder or new_folder(base_folder() / "runs", f"{os.getpid()}-pgbouncer-")
        port = free_port()
        write_file(folder / "users.txt", f'"{SUPERUSER}" "{server.password}"\n')
        text = _CONFIGURATION.format(
            server_port=server.port, port=port, folder=folder, user=SUPERUSER, pool_size=pool_size
        )
        write_file(folder / "pgbouncer.ini", text)
        return cls(server, folder, port)

    def start(self) -> None:
        """Start, and return when it answers. Raises RuntimeError or TimeoutError when it does not come up."""
        run_as_server([find_pgbouncer(), "-d", self.folder / "pgbouncer.ini"], cwd=self.folder)
        wait_until(
            self._answers, f"pgbouncer to answer on port {self.port} (log: {self.folder / 'pgbouncer.log'})", timeout=10
        )

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone. `start` starts it again."""
        super().kill()
        (self.folder / self.pid_file).unlink(missing_ok=True)  # it would not start beside one

    def url(self, database: str = "postgres") -> str:
        """The URL of one of the server's databases, through pgbouncer."""
        return f"postgresql://{SUPERUSER}:{self.server.password}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(self.url("pgbouncer"), autocommit=True, connect_timeout=5),
        ):
            return True
        return False
