"""A Postgres server of our own, on the loopback, which tests may start, stop, crash and start again."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psycopg
from psycopg import sql

from tests.servers.account import base_folder, new_folder, remove, run_as_server, write_file
from tests.servers.installations import Installation, find_postgres
from tests.servers.ports import free_port
from tests.servers.processes import kill_tree, pid_in, started_by_living_process

StopMode = Literal["smart", "fast", "immediate"]

SUPERUSER = "postgres"
FAST_AND_UNSAFE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
"""Settings for tests that do not care about power cuts. Not for durability tests, never for benchmarks."""

_ALWAYS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "300"}


class PostgresServer:
    """One server with a data folder of its own; the port stays the same over restarts.

    Passwords are checked as in production: `url()` carries the superuser's. Settings are Postgres' own defaults (fsync
    on), but for the given ones. Make one with `create`, and `remove` it at the end (or use it in a `with`).
    """

    def __init__(self, installation: Installation, folder: Path, port: int) -> None:
        """Attach to the server in `folder`, running or not; use `create` for a new one."""
        self.installation = installation
        self.folder = folder
        self.port = port
        self.password = (folder / "password").read_text(encoding="utf-8")

    @classmethod
    def create(cls, name: str, *, settings: Mapping[str, str] | None = None, folder: Path | None = None) -> Self:
        """A new server, not started yet; `name` is `postgres15` or `postgres18`.

        Its data is a copy of a folder that was initialised once for this version.
        Raises Unavailable when the programs are not on this machine.
        """
        installation = find_postgres(name)
        folder = folder or session_folder(name)
        template = _initialised(installation)
        run_as_server(["cp", "-a", template / "data", template / "password", folder], cwd=folder)
        server = cls(installation, folder, free_port())
        server.configure(_ALWAYS | dict(settings or {}))
        return server

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add settings; they hold from the next start on (some of them from `SELECT pg_reload_conf()` on)."""
        lines = "".join("{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in settings.items())
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.write(lines)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None when the server is not running."""
        return pid_in(self.data / "postmaster.pid")

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self.pid is not None

    def start(self) -> None:
        """Start, and return when connections are taken; raises RuntimeError with the log's end when it fails."""
        for attempt in range(5):
            try:
                self._pg_ctl("start", "-l", self.log, "-o", f"-p {self.port}")
            except RuntimeError as failure:
                reason = self.log.read_text(encoding="utf-8", errors="replace")[-2000:] if self.log.exists() else ""
                taken = "Address already in use" in reason and attempt < 4 and not self._was_started
                if not taken:
                    raise RuntimeError(f"{self.installation} did not start: {failure}\n{reason}") from failure
                self.port = free_port()  # somebody else took it since we looked; nobody knows our port yet
            else:
                self._was_started = True
                return

    _was_started = False

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop and wait for the end; no-op when stopped.

        `immediate` ends it without a checkpoint, as a crash would: the next start runs recovery.
        """
        if self.running:
            self._pg_ctl("stop", "-m", mode)

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop in the given mode and start again on the same port."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL the postmaster and every backend at once, and return when all are gone. `start` recovers."""
        pid = self.pid
        if pid is not None:
            kill_tree(pid)
            # An uncollected zombie keeps its pid, and the next start would take the dead postmaster for a living one.
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop at once and delete the data."""
        if self.running:
            try:
                self.stop("immediate")
            except RuntimeError:
                self.kill()
        remove(self.folder)

    def url(self, database: str = "postgres") -> str:
        """The URL of one database, with user and password."""
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A plain connection in autocommit mode, as superuser."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=10)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, from `template` where given (nobody may be connected to that one), and return its URL."""
        source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), source))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database together with its connections; no-op when it does not exist."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def backend_pids(self, database: str | None = None, application_name: str | None = None) -> list[int]:
        """Process ids of the clients' backends (not of this question's own), oldest first."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                " AND datname = coalesce(%s, datname) AND application_name = coalesce(%s, application_name)"
                " ORDER BY backend_start, pid",
                (database, application_name),
            ).fetchall()
        return [row[0] for row in rows]

    def terminate_backends(self, database: str | None = None, application_name: str | None = None) -> int:
        """Cut the clients' connections from the server's side, and return how many there were."""
        pids = self.backend_pids(database, application_name)
        with self.connect() as connection:
            for pid in pids:
                connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        return len(pids)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.remove()

    def _pg_ctl(self, action: str, *arguments: str | Path) -> None:
        run_as_server(
            [self.installation.program("pg_ctl"), action, "-D", self.data, "-w", "-t", "60", *arguments],
            cwd=self.folder,
        )


def session_folder(name: str) -> Path:
    """A folder named by the process that made it, so that a later session can clear up behind one that was killed."""
    runs = base_folder() / "runs"
    clear_abandoned(runs)
    return new_folder(runs, f"{os.getpid()}-{name}-")


def clear_abandoned(runs: Path) -> None:
    """Stop and delete servers whose session is gone without having done so."""
    for folder in runs.glob("*-*"):
        if started_by_living_process(folder.name):
            continue
        for pid_file in (folder / "data" / "postmaster.pid", *folder.glob("*.pid")):
            pid = pid_in(pid_file)
            if pid is not None:
                kill_tree(pid)
        remove(folder)


def _initialised(installation: Installation) -> Path:
    """The folder with a fresh cluster of this version, made by `initdb` once and copied ever after."""
    template = base_folder() / f"initialised-{installation.version}"
    if template.exists():
        return template
    folder = new_folder(base_folder(), "initialising-")
    write_file(folder / "password", secrets.token_urlsafe(18))
    program = installation.program("initdb")
    options = ["-U", SUPERUSER, "--auth=scram-sha-256", "--pwfile=password", "-E", "UTF8", "--no-locale", "--no-sync"]
    run_as_server([program, "-D", folder / "data", *options], cwd=folder)
    try:
        folder.rename(template)
    except OSError:  # another session was faster
        remove(folder)
    return template
