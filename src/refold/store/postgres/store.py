"""The event store on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from refold.errors import StoreUnavailable
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendResult
from refold.store.counts import CommitCounts
from refold.store.doorbell import Doorbell
from refold.store.event_store import (
    EventFilter,
    Head,
    LogPage,
    LogReader,
    Snapshot,
    StoreTransaction,
    StreamInfo,
    validate_page,
)
from refold.store.group_commit import GroupCommit, Limits
from refold.store.integrity import Flaws
from refold.store.postgres import wire
from refold.store.postgres.address import Address
from refold.store.postgres.connection import Session
from refold.store.postgres.doorbell import Listener, Notifier
from refold.store.postgres.inline import Inline
from refold.store.postgres.integrity import flaws_of
from refold.store.postgres.pool import SessionPool
from refold.store.postgres.queries import LogQueries
from refold.store.postgres.reader import PostgresLogReader
from refold.store.postgres.restore import restore_events
from refold.store.postgres.rows import COLUMNS, Rows
from refold.store.postgres.shares import ShareQueries
from refold.store.postgres.snapshots import Snapshots
from refold.store.postgres.streams import StreamQueries
from refold.store.postgres.transaction import Transactions
from refold.store.postgres.writer import Writer

__all__ = ["PostgresStore"]

_EVERYTHING = EventFilter()
_TOGETHER = 64
"""Events of one append that are read at a time."""
_FROM_THE_END = 2**31 - 1

_STREAM = f"select {COLUMNS} from @schema@.events e where e.stream = $1 and e.version > $2 order by e.version limit $3"
_STREAM_BACKWARD = (
    f"select {COLUMNS} from @schema@.events e where e.stream = $1 and e.version < $2 order by e.version desc limit $3"
)
_APPEND = f"""
select {COLUMNS} from @schema@.events e
where e.position >= (select f.position + $2 from @schema@.events f where f.append_id = $1 and f.append_index = 0)
order by e.position limit $3"""
_HEAD = "select e.position, e.recorded_at from @schema@.events e order by e.position desc limit 1"
_POSITION_AT = "select @schema@.position_at($1)"
_VERSION = "select e.version from @schema@.events e where e.stream = $1 order by e.version desc limit 1"


class PostgresStore:
    """One log in one Postgres database. Made by `open_postgres`."""

    def __init__(
        self,
        address: Address,
        listen: Address,
        session: Session,
        *,
        limits: Limits,
        readers: int,
        patience: float,
        framed: bool,
        surely_direct: bool,
    ) -> None:
        self._address = address
        self._pool = SessionPool(address, "reads", readers)
        self._units = SessionPool(address, "transactions", readers)
        self._rows = Rows()
        self._queries = LogQueries(address)
        self._streams = StreamQueries(address, self._pool)
        self._snapshots = Snapshots(address, self._pool)
        self._transactions = Transactions(
            address, self._units, payload_limit=limits.payload, patience=patience, committed=self._committed
        )
        self._writer = Writer(address, session, patience=patience, framed=framed, find=self.find_append)
        self.counts = CommitCounts()
        self._group = GroupCommit(
            self._writer.commit, limits, self._committed, begin=self._writer.begin, pipelined=True, counts=self.counts
        )
        self._doorbell = Doorbell()
        self._notifier = Notifier(address)
        self._listener = Listener(listen, self._doorbell, surely_direct=surely_direct)
        self._closed = False
        self._stream = address.of(_STREAM).encode()
        self._stream_backward = address.of(_STREAM_BACKWARD).encode()
        self._append = address.of(_APPEND).encode()
        self._head = address.of(_HEAD).encode()
        self._position_at = address.of(_POSITION_AT).encode()
        self._version = address.of(_VERSION).encode()

    @property
    def name(self) -> str:
        """The store's URL without secrets."""
        return self._address.name

    @property
    def inline(self) -> Inline | None:
        """What is called inside every appending transaction, with its connection and its events."""
        return self._writer.inline

    @inline.setter
    def inline(self, hook: Inline | None) -> None:
        self._writer.inline = hook
        self._transactions.inline = hook

    @property
    def schema(self) -> str:
        """The schema of the log, quoted for use in SQL."""
        return self._address.quoted_schema

    async def run(self, sql: str, parameters: Sequence[str | int | None] = ()) -> list[tuple[Any, ...]]:
        """Runs one statement on its own, with parameters $1, $2 … that are texts or bigints, and gives its rows.

        After a lost connection it is sent a second time, so it must be one that may run twice. Values of type varchar
        come as bytes.
        """
        bound = [wire.bigint(value) if isinstance(value, int) else wire.text(value) for value in parameters]
        result = await self._pool.query(sql.encode(), bound)
        return self._rows.of(result) if result.ntuples else []

    async def append(self, append: Append) -> AppendResult:
        """See `EventStore.append`."""
        return await self._group.append(append)

    async def restore(self, events: Sequence[StoredEvent]) -> None:
        """See `EventStore.restore`."""
        async with self._transactions.begin() as transaction:
            await restore_events(transaction.connection, self._address, events, self.inline)
        self._committed(events[-1].position)

    async def find_append(self, append_id: bytes) -> AppendResult | None:
        """See `EventStore.find_append`."""
        events = await self.read_append(append_id)
        return _result_of(events) if events else None

    async def read_append(self, append_id: bytes) -> list[StoredEvent]:
        """See `EventStore.read_append`."""
        events: list[StoredEvent] = []
        size = _TOGETHER
        while True:
            parameters = (wire.uuid(append_id), wire.bigint(len(events)), wire.bigint(size))
            page = self._rows.events(await self._pool.query(self._append, parameters))
            # An append's events stand side by side in the log.
            mine = [event for event in page if event.append_id == append_id]
            events += mine
            if len(mine) < size:
                return events
            size = 1000

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1000, backward: bool = False
    ) -> list[StoredEvent]:
        """See `EventStore.read_stream`."""
        validate_page(after, limit)
        sql = self._stream_backward if backward else self._stream
        start = (after or _FROM_THE_END) if backward else after
        parameters = (wire.text(stream), wire.bigint(start), wire.bigint(limit))
        return self._rows.events(await self._pool.query(sql, parameters))

    async def read_log(
        self, *, after: int = 0, limit: int = 1000, where: EventFilter = _EVERYTHING, backward: bool = False
    ) -> LogPage:
        """See `EventStore.read_log`."""
        sql, parameters = self._queries.statement(after, limit, where, backward)
        result = await self._pool.query(sql, parameters)
        return self._queries.page(result, self._rows, after, limit, where, backward)

    async def head(self) -> Head:
        """See `EventStore.head`."""
        rows = self._rows.of(await self._pool.query(self._head))
        return Head(*rows[0]) if rows else Head(0, 0)

    async def position_at(self, recorded_at: int) -> int:
        """See `EventStore.position_at`."""
        rows = self._rows.of(await self._pool.query(self._position_at, (wire.bigint(recorded_at),)))
        return int(rows[0][0])

    async def stream_version(self, stream: str) -> int:
        """See `EventStore.stream_version`."""
        rows = self._rows.of(await self._pool.query(self._version, (wire.text(stream),)))
        return int(rows[0][0]) if rows else 0

    async def streams(self, *, category: str | None = None, after: str = "", limit: int = 100) -> list[StreamInfo]:
        """See `EventStore.streams`."""
        return await self._streams.page(category, after, limit)

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """See `EventStore.wait_beyond`."""
        self._listener.start()
        return await self._doorbell.wait_beyond(position, timeout)

    async def open_reader(self) -> LogReader:
        """See `EventStore.open_reader`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return PostgresLogReader(self._address, self._queries)

    async def open_share(self, number: int, of: int) -> LogReader:
        """See `SharedLog.open_share`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return PostgresLogReader(self._address, ShareQueries(self._address, number, of))

    def transaction(self) -> AbstractAsyncContextManager[StoreTransaction]:
        """See `EventStore.transaction`."""
        return self._transactions.begin()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `EventStore.save_snapshot`."""
        await self._snapshots.save(snapshot)

    async def load_snapshot(self, stream: str) -> Snapshot | None:
        """See `EventStore.load_snapshot`."""
        return await self._snapshots.load(stream)

    async def snapshots(self, *, after: str = "", limit: int = 100) -> list[Snapshot]:
        """See `EventStore.snapshots`."""
        return await self._snapshots.page(after, limit)

    async def drop_snapshot(self, stream: str) -> None:
        """See `EventStore.drop_snapshot`."""
        await self._snapshots.drop(stream)

    async def flaws(self) -> Flaws:
        """See `EventStore.flaws`."""
        return await flaws_of(self._pool, self._address)

    async def close(self) -> None:
        """See `EventStore.close`."""
        if self._closed:
            return
        self._closed = True
        await self._group.close()
        await asyncio.gather(self._notifier.close(), self._listener.close())
        self._writer.close()
        self._pool.close()
        self._units.close()

    def _committed(self, head: int) -> None:
        self._doorbell.ring(head)
        self._notifier.say(head)


def _result_of(events: list[StoredEvent]) -> AppendResult:
    first, last = events[0], events[-1]
    versions = {event.stream: event.version for event in events}
    return AppendResult(
        UUID(bytes=first.append_id), first.position, last.position, versions, first.recorded_at, repeated=True
    )
