"""The SQLite event store: one file, one writing process, nothing to install."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TypeVar

from refold.errors import OutcomeUnknown, StoreError, StoreReadOnly, StoreUnavailable
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendResult
from refold.store.counts import CommitCounts
from refold.store.doorbell import Doorbell
from refold.store.event_store import EventFilter, Head, LogPage, Snapshot, StreamInfo, validate_page
from refold.store.group_commit import GroupCommit, Limits, Outcome
from refold.store.integrity import Flaws
from refold.store.sqlite import committing, reading
from refold.store.sqlite.address import Address
from refold.store.sqlite.connection import connect_reader
from refold.store.sqlite.integrity import flaws_of
from refold.store.sqlite.lock import FileLock
from refold.store.sqlite.problems import said_in_words
from refold.store.sqlite.restore import restore_events
from refold.store.sqlite.threads import Thread
from refold.store.sqlite.transaction import SqliteTransaction
from refold.store.sqlite.writer import Writer

__all__ = ["SqliteReader", "SqliteStore"]

T = TypeVar("T")

_EVERYTHING = EventFilter()
_READERS = 4
_WINDOW = 100_000
"""Positions that one filtered read scans at most, so that it returns soon whatever matches."""


class SqliteStore:
    """An `EventStore` in one SQLite file, or in memory. Open it with `open_sqlite`.

    `inline`, when set, changes inline read models inside the appending transaction.
    """

    def __init__(
        self,
        address: Address,
        writer: sqlite3.Connection | None,
        lock: FileLock | None,
        limits: Limits,
        *,
        window: int = _WINDOW,
        transaction_wait: float = 30.0,
    ) -> None:
        self.address = address
        self.inline: committing.Inline | None = None
        self._lock = lock
        self._limits = limits
        self._window = window
        self._writer = None if writer is None else Writer(writer, address, patience=transaction_wait)
        self.counts = CommitCounts()
        self._doorbell = Doorbell()
        self._readers: asyncio.Queue[SqliteReader] = asyncio.Queue()
        self._open_readers: list[SqliteReader] = []
        self._closed = False
        self._inside: ContextVar[SqliteTransaction | None] = ContextVar("refold-inside", default=None)
        self._group_commit = (
            GroupCommit(self._commit, limits, self._doorbell.ring, begin=self._begin, counts=self.counts)
            if writer is not None
            else None
        )

    @property
    def name(self) -> str:
        """The store as it may be shown."""
        return self.address.name

    # --- appending ----------------------------------------------------------------------------------------------------

    async def append(self, append: Append) -> AppendResult:
        """Appends all or nothing, durably; see `EventStore.append`."""
        if self._group_commit is None:
            raise StoreReadOnly(f"{self.name} is open read-only; nothing was stored")
        self._refuse_inside_a_transaction()
        return await self._group_commit.append(append)

    def _begin(self, batch: Sequence[Append], done: Callable[[Sequence[Outcome]], None]) -> bool:
        def answered(outcomes: list[Outcome] | None, problem: BaseException | None) -> None:
            if outcomes is None:
                outcomes = [OutcomeUnknown(append.id, f"the commit failed: {problem!r}") for append in batch]
            done(outcomes)

        return self._writing().begin(self._committing(batch), answered)

    async def _commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        return await self._writing().run(self._committing(batch))

    def _committing(self, batch: Sequence[Append]) -> Callable[[sqlite3.Connection], list[Outcome]]:
        return lambda connection: self._commit_now(connection, batch)

    def _commit_now(self, connection: sqlite3.Connection, batch: Sequence[Append]) -> list[Outcome]:
        try:
            self._writing().refuse_when_gone()
        except StoreUnavailable as gone:
            return [gone] * len(batch)
        return committing.commit_batch(connection, batch, self.inline, self.name)

    async def restore(self, events: Sequence[StoredEvent]) -> None:
        """Puts events of another log at the end of this one; see `EventStore.restore`."""
        await self.transact(lambda connection: restore_events(connection, events, self.inline))
        if events:
            self._doorbell.ring(events[-1].position)

    def _refuse_inside_a_transaction(self) -> None:
        """Whoever appends on the side inside a transaction would wait for the only writing connection, which it has."""
        inside = self._inside.get()
        if inside is not None and not inside.over:
            raise StoreError(
                f"{self.name}: this is inside a transaction, which has the only writing connection; do it through the "
                "transaction (unit.command, unit.append), or after it"
            )

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreReadOnly(f"{self.name} is open read-only")
        return self._writer

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        """A transaction of the user's; see `EventStore.transaction`. Other appends of this process wait meanwhile."""
        self._refuse_inside_a_transaction()
        async with self._writing().alone() as run:
            transaction = SqliteTransaction(self._writing().connection, run, self.name, self._limits.payload)
            self._inside.set(transaction)
            try:
                yield transaction
            finally:
                transaction.end()
            finishing = transaction.finish(self.inline)
            # Rung by what is done in the thread, which nobody stops: not even who cancels the waiting for it.
            finishing.add_done_callback(self._rung)
            transaction.results = await asyncio.shield(finishing)

    def _rung(self, finishing: asyncio.Future[list[AppendResult]]) -> None:
        if not finishing.cancelled() and finishing.exception() is None and (results := finishing.result()):
            self._doorbell.ring(results[-1].last)

    async def transact(self, function: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """Runs a function in the writer's thread, inside one transaction: rows of read models and their checkpoint.

        `durable=False` for what can be made again from the log: a power cut may take it back, whole, together with all
        that was written after it and is not durable either. A killed process takes back nothing.
        """
        return await self._writing().transact(function, durable=durable)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def query(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a function with a connection that only reads (in memory: with the only one there is)."""
        if self._closed:
            raise StoreUnavailable(f"{self.name} is closed")
        if self.address.path is None:
            # Between the steps of a transaction, not after it: it reads too, and would wait for itself. Events are
            # appended in one step with their commit, so no read sees any that are not committed.
            return await self._writing().run_between(function)
        reader = await self._take_reader()
        try:
            return await reader.run(function)
        finally:
            self._readers.put_nowait(reader)

    async def _take_reader(self) -> SqliteReader:
        if self._readers.empty() and len(self._open_readers) < _READERS:
            reader = SqliteReader(self)
            self._open_readers.append(reader)
            return reader
        return await self._readers.get()

    async def open_reader(self) -> SqliteReader:
        """A reader with a connection and a thread of its own. Raises `StoreUnavailable` when the store is closed."""
        if self._closed:
            raise StoreUnavailable(f"{self.name} is closed")
        return SqliteReader(self)

    async def find_append(self, append_id: bytes) -> AppendResult | None:
        """The result of an earlier append with this id."""
        return await self.query(lambda connection: committing.find_append(connection, append_id))

    async def read_append(self, append_id: bytes) -> list[StoredEvent]:
        """The events of one append, in order."""
        return await self.query(lambda connection: reading.read_append(connection, append_id))

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1000, backward: bool = False
    ) -> list[StoredEvent]:
        """Events of a stream; see `EventStore.read_stream`."""
        validate_page(after, limit)
        return await self.query(lambda connection: reading.read_stream(connection, stream, after, limit, backward))

    async def read_log(
        self, *, after: int = 0, limit: int = 1000, where: EventFilter = _EVERYTHING, backward: bool = False
    ) -> LogPage:
        """Events of the log; see `EventStore.read_log`."""
        return await self.query(self.page(after, limit, where, backward))

    def page(
        self, after: int, limit: int, where: EventFilter, backward: bool = False
    ) -> Callable[[sqlite3.Connection], LogPage]:
        """The function that reads a page of the log. Raises `InvalidQuery`."""
        validate_page(after, limit)
        return lambda connection: reading.read_log(connection, after, limit, where, backward, self._window)

    async def head(self) -> Head:
        """The end of the log."""
        return await self.query(reading.head)

    async def position_at(self, recorded_at: int) -> int:
        """The last position recorded at or before a moment."""
        return await self.query(lambda connection: reading.position_at(connection, recorded_at))

    async def stream_version(self, stream: str) -> int:
        """The stream's version."""
        return await self.query(lambda connection: reading.stream_version(connection, stream))

    async def streams(self, *, category: str | None = None, after: str = "", limit: int = 100) -> list[StreamInfo]:
        """Streams in order of their ids."""
        return await self.query(lambda connection: reading.streams(connection, category, after, limit))

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """Waits until the log may have grown; see `EventStore.wait_beyond`."""
        return await self._doorbell.wait_beyond(position, timeout)

    # --- snapshots ----------------------------------------------------------------------------------------------------

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot, unless a newer one of the same fingerprint is there."""
        await self.transact(
            lambda connection: connection.execute(
                "insert into snapshots (stream, version, position, append_id, fingerprint, data) "
                "values (?, ?, ?, ?, ?, ?) on conflict (stream) do update set version = excluded.version, "
                "position = excluded.position, append_id = excluded.append_id, fingerprint = excluded.fingerprint, "
                "data = excluded.data where snapshots.fingerprint <> excluded.fingerprint "
                "or snapshots.version < excluded.version",
                (
                    snapshot.stream,
                    snapshot.version,
                    snapshot.position,
                    snapshot.append_id,
                    snapshot.fingerprint,
                    snapshot.data,
                ),
            ),
            durable=False,
        )

    async def load_snapshot(self, stream: str) -> Snapshot | None:
        """The stream's snapshot."""
        return await self.query(lambda connection: reading.load_snapshot(connection, stream))

    async def snapshots(self, *, after: str = "", limit: int = 100) -> list[Snapshot]:
        """Snapshots in order of their streams' ids."""
        return await self.query(lambda connection: reading.snapshots(connection, after, limit))

    async def drop_snapshot(self, stream: str) -> None:
        """Forgets a stream's snapshot."""
        await self.transact(
            lambda connection: connection.execute("delete from snapshots where stream = ?", (stream,)), durable=False
        )

    async def flaws(self) -> Flaws:
        """What is wrong inside the file; see `EventStore.flaws`."""
        return await self.query(flaws_of)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Finishes what is queued, folds the write-ahead log into the file, and lets go of it."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._group_commit is not None:
                await self._group_commit.close()
            for reader in self._open_readers:
                await reader.close()
            if self._writer is not None:
                await self._writer.close()
        finally:
            if self._lock is not None:
                self._lock.release()


class SqliteReader:
    """Reads with a connection and a thread of its own. In memory it shares the only connection."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._thread = Thread("refold-sqlite-reader")
        self._connection: sqlite3.Connection | None = None

    async def read(self, after: int, limit: int, where: EventFilter = _EVERYTHING) -> LogPage:
        """The next events after a position; see `LogReader.read`."""
        page = self._store.page(after, limit, where)
        return await (self._store.query(page) if self._store.address.path is None else self.run(page))

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a function with the connection, in its thread."""
        return await self._thread.run(self._run, function)

    def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = connect_reader(self._store.address)
        with said_in_words(self._store.name):
            return function(self._connection)

    async def close(self) -> None:
        """Closes the connection and ends the thread."""
        if self._connection is not None:
            await self._thread.run(self._connection.close)
            self._connection = None
        self._thread.close()
