"""The SQLite event store: embedded, one writing process, any number of readers."""

from __future__ import annotations

import asyncio

from refold.errors import StoreUnavailable
from refold.store.group_commit import Limits
from refold.store.health import Check
from refold.store.sqlite import schema
from refold.store.sqlite.address import Address, read_address
from refold.store.sqlite.connection import FileLock, connect_reader, connect_writer
from refold.store.sqlite.doctor import examine
from refold.store.sqlite.problems import said_in_words
from refold.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "examine_sqlite", "migrate_sqlite", "open_sqlite"]


async def open_sqlite(
    url: str,
    *,
    limits: Limits | None = None,
    read_only: bool = False,
    window: int = 100_000,
    transaction_wait: float = 30.0,
) -> SqliteStore:
    """Opens the store of a URL; an empty or absent file gets its schema. `read_only` opens it beside its writer.

    `window` is the number of positions that one filtered read scans, `transaction_wait` how many seconds a transaction
    waits for another. Raises `ConfigurationError`, `StoreLocked`, `StoreReadOnly`, `StoreCorrupt`, `SchemaMismatch`,
    `StoreUnavailable`.
    """
    address = read_address(url)
    bounds = limits or Limits()
    if read_only:
        await asyncio.to_thread(_check_read_only, address)
        return SqliteStore(address, None, None, bounds, window=window)
    lock = None if address.path is None else FileLock(address.lock_file)
    try:
        writer = await asyncio.to_thread(connect_writer, address)
        try:
            with said_in_words(address.name):
                await asyncio.to_thread(schema.create_or_check, writer, address.name)
        except BaseException:
            writer.close()
            raise
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    return SqliteStore(address, writer, lock, bounds, window=window, transaction_wait=transaction_wait)


def _check_read_only(address: Address) -> None:
    if address.path is None:
        raise StoreUnavailable("a store in memory cannot be opened read-only: nobody else writes it")
    if not address.path.exists():
        raise StoreUnavailable(f"{address.name} does not exist; open it for writing first, that creates it")
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
    lock = FileLock(address.lock_file)
    try:
        connection = await asyncio.to_thread(connect_writer, address)
        try:
            with said_in_words(address.name):
                return await asyncio.to_thread(schema.migrate, connection, address.name)
        finally:
            connection.close()
    finally:
        lock.release()


async def examine_sqlite(url: str) -> list[Check]:
    """Looks at a file, its folder, its writer and its schema. Raises `ConfigurationError` for a bad address."""
    return await asyncio.to_thread(examine, read_address(url))
