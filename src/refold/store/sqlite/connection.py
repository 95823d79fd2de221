"""SQLite connections: the one that writes, and those that only read."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from refold.errors import StoreLocked, StoreReadOnly, StoreUnavailable
from refold.store.sqlite.address import Address
from refold.store.sqlite.problems import said_in_words

__all__ = ["FileLock", "connect_reader", "connect_writer"]

_log = logging.getLogger("refold.sqlite")
_SAFE_SINCE = (3, 51, 3)
_BUSY_MILLISECONDS = 5_000
_CACHE_KIBIBYTES = 65_536


class FileLock:
    """The lock beside a database: held by the one process that writes it, and let go by the system when that process
    ends.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            raise StoreUnavailable(f"the folder {path.parent} does not exist; create it first") from None
        except (PermissionError, OSError) as problem:
            raise StoreReadOnly(f"{path} cannot be created ({problem.strerror}); the folder must be writable") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "?"
            os.close(self._descriptor)
            database = str(path).removesuffix(".lock")
            raise StoreLocked(
                f"{database} is open for writing in another process (pid {holder}); a SQLite store has one writing "
                "process: stop that one, open this one read-only, or use Postgres"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Lets another process write."""
        os.close(self._descriptor)


def connect_writer(address: Address) -> sqlite3.Connection:
    """The one connection that writes, and does the checkpoints of the write-ahead log. Each commit survives a power
    cut.
    """
    if sqlite3.sqlite_version_info < _SAFE_SINCE:
        # Two connections that write and checkpoint one WAL could corrupt it; see https://sqlite.org/wal.html#walresetbug.
        _log.info(
            "SQLite %s has the WAL-reset bug; Refold is not affected: one connection does all writing and checkpoints",
            sqlite3.sqlite_version,
        )
    where = address.name
    if address.path is not None and address.path.is_dir():
        raise StoreUnavailable(f"{where} is a folder; name a file in it")
    with said_in_words(where):
        connection = sqlite3.connect(
            ":memory:" if address.path is None else address.path, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"pragma busy_timeout = {_BUSY_MILLISECONDS}")
            if address.path is not None:
                connection.execute("pragma journal_mode = wal").fetchall()
                connection.execute("pragma synchronous = full")
            connection.execute("pragma recursive_triggers = on")
            connection.execute(f"pragma cache_size = -{_CACHE_KIBIBYTES}")
            connection.execute("pragma temp_store = memory")
        except BaseException:
            connection.close()
            raise
    return connection


def connect_reader(address: Address) -> sqlite3.Connection:
    """A connection that only reads, from any process."""
    assert address.path is not None
    with said_in_words(address.name):
        connection = sqlite3.connect(
            f"file:{quote(str(address.path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"pragma busy_timeout = {_BUSY_MILLISECONDS}")
        connection.execute("pragma query_only = on")
    return connection
