"""The SQLite event store: embedded, one writing process, any number of readers."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from refold.errors import StoreUnavailable
from refold.store.group_commit import Limits
from refold.store.health import Check
from refold.store.sqlite import schema
from refold.store.sqlite.address import Address, read_address, refuse_second_name
from refold.store.sqlite.connection import connect_reader, connect_writer
from refold.store.sqlite.doctor import examine
from refold.store.sqlite.lock import FileLock
from refold.store.sqlite.problems import said_in_words
from refold.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "examine_sqlite", "migrate_sqlite", "open_sqlite"]

T = TypeVar("T")


async def open_sqlite(
    url: str,
    *,
    limits: Limits | None = None,
    read_only: bool = False,
    window: int = 100_000,
    transaction_wait: float = 30.0,
) -> SqliteStore:
    """Opens the store of a URL; an empty or absent file gets its schema. `read_only` opens it beside its writer.

    `window` is the number of positions that one filtered read scans, `transaction_wait` how many seconds others wait
    for a transaction. Raises `ConfigurationError`, `StoreLocked`, `StoreReadOnly`, `StoreCorrupt`, `SchemaMismatch`,
    `StoreUnavailable`.
    """
    address = read_address(url)
    bounds = limits or Limits()
    if read_only:
        await asyncio.to_thread(_check_read_only, address)
        return SqliteStore(address, None, None, bounds, window=window)
    opening = _Opening(address)
    try:
        lock, writer = await asyncio.to_thread(opening.run)
    except asyncio.CancelledError:
        opening.abandon()
        raise
    return SqliteStore(address, writer, lock, bounds, window=window, transaction_wait=transaction_wait)


class _Opening:
    """A file that is opened in a thread. Who waits for it may be cancelled, and the thread goes on: what it opens then
    is nobody's, and would keep its lock for as long as the process lives. So it is closed at once.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._guard = threading.Lock()
        self._abandoned = False
        self._opened: tuple[FileLock | None, sqlite3.Connection] | None = None

    def run(self) -> tuple[FileLock | None, sqlite3.Connection]:
        """Opens it, in the thread."""
        opened = _open(self._address, schema.create_or_check)
        with self._guard:
            self._opened = opened
            abandoned = self._abandoned
        if abandoned:
            self._close()
        return opened

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        with self._guard:
            self._abandoned = True
        self._close()

    def _close(self) -> None:
        with self._guard:
            opened, self._opened = self._opened, None
        if opened is not None:
            lock, writer = opened
            writer.close()
            if lock is not None:
                lock.release()


def _open(
    address: Address, prepare: Callable[[sqlite3.Connection, str], T]
) -> tuple[FileLock | None, sqlite3.Connection]:
    """The lock and the writing connection of a file that has this version's schema."""
    lock = _lock(address)
    try:
        writer = connect_writer(address)
        try:
            with said_in_words(address.name):
                prepare(writer, address.name)
        except BaseException:
            writer.close()
            raise
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    return lock, writer


def _lock(address: Address) -> FileLock | None:
    if address.path is None:
        return None
    if address.path.is_dir():
        raise StoreUnavailable(f"{address.name} is a folder; name a file in it")
    refuse_second_name(address)
    return FileLock(address.lock_file)


def _check_read_only(address: Address) -> None:
    if address.path is None:
        raise StoreUnavailable("a store in memory cannot be opened read-only: nobody else writes it")
    if not address.path.exists():
        raise StoreUnavailable(f"{address.name} does not exist; open it for writing first, that creates it")
    refuse_second_name(address)
    connection = connect_reader(address)
    try:
        with said_in_words(address.name):
            schema.check(connection, address.name)
    finally:
        connection.close()


async def migrate_sqlite(url: str) -> tuple[int, int]:
    """Brings a file's schema to this version; gives the versions before and after (0: it was empty)."""
    address = read_address(url)
    if address.path is None:
        return schema.SCHEMA_VERSION, schema.SCHEMA_VERSION
    return await asyncio.to_thread(_migrate, address)


def _migrate(address: Address) -> tuple[int, int]:
    versions: list[tuple[int, int]] = []
    lock, writer = _open(address, lambda connection, where: versions.append(schema.migrate(connection, where)))
    writer.close()
    if lock is not None:
        lock.release()
    return versions[0]


async def examine_sqlite(url: str) -> list[Check]:
    """Looks at a file, its folder, its writer and its schema. Raises `ConfigurationError` for a bad address."""
    return await asyncio.to_thread(examine, read_address(url))
