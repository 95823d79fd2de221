"""SQLite connections: the one that writes, and those that only read."""

from __future__ import annotations

import functools
import logging
import sqlite3
from urllib.parse import quote

from refold.errors import StoreError
from refold.store.sqlite import schema
from refold.store.sqlite.address import Address
from refold.store.sqlite.problems import said_in_words

__all__ = ["connect_reader", "connect_writer"]

_log = logging.getLogger("refold.sqlite")
_SAFE_SINCE = (3, 51, 3)
_BUSY_MILLISECONDS = 5_000
_CACHE_KIBIBYTES = 65_536
_CHECKPOINT_PAGES = 4_000
"""Pages of the log after which a commit folds them into the file; a page that changed often is written once."""


def connect_writer(address: Address) -> sqlite3.Connection:
    """The one connection that writes, and does the checkpoints of the write-ahead log. Each commit survives a power
    cut.

    Raises `StoreCorrupt` for what is not a database of Refold's, and leaves it as it is.
    """
    _say_why_the_old_bug_does_no_harm()
    where = address.name
    with said_in_words(where):
        connection = sqlite3.connect(
            ":memory:" if address.path is None else address.path, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"pragma busy_timeout = {_BUSY_MILLISECONDS}")
            schema.refuse_other(connection, where)
            if address.path is not None:
                (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
                if mode != "wal":
                    raise StoreError(
                        f"{where} cannot have a write-ahead log (its journal stays {mode!r}); a file system without "
                        "shared memory, such as a network drive, cannot hold a SQLite store"
                    )
                connection.execute("pragma synchronous = full")
                connection.execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute("pragma recursive_triggers = on")
            connection.execute(f"pragma cache_size = -{_CACHE_KIBIBYTES}")
            connection.execute("pragma temp_store = memory")
            # That it cannot be written, or that another program has locked it, is to be known now.
            connection.execute("begin immediate")
            connection.execute("rollback")
        except BaseException:
            connection.close()
            raise
    return connection


@functools.cache
def _say_why_the_old_bug_does_no_harm() -> None:
    if sqlite3.sqlite_version_info < _SAFE_SINCE:
        # Two connections that write and checkpoint one WAL could corrupt it; see https://sqlite.org/wal.html#walresetbug.
        _log.info(
            "SQLite %s has the WAL-reset bug; Refold is not affected: one connection does all writing and checkpoints",
            sqlite3.sqlite_version,
        )


def connect_reader(address: Address) -> sqlite3.Connection:
    """A connection that only reads, from any process."""
    assert address.path is not None
    with said_in_words(address.name):
        connection = sqlite3.connect(
            f"file:{quote(str(address.path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"pragma busy_timeout = {_BUSY_MILLISECONDS}")
            connection.execute("pragma query_only = on")
        except BaseException:
            connection.close()
            raise
    return connection
