"""The checkpoints in the SQLite file of their log: who moves which, and how far they are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from refold.projections.checkpoint import Checkpoint, Move
from refold.projections.definitions import KnownDefinition, known_definition
from refold.projections.parking.sqlite import SqliteRecords, forget_table, rename_table
from refold.projections.roster import Roster
from refold.projections.sink import Holder, Kept, previous
from refold.store.event_store import EventFilter, LogPage, StoreTransaction

__all__ = [
    "SqliteAccess",
    "SqliteCheckpoints",
    "checkpoint_of",
    "moved",
    "now_in_microseconds",
    "renamed",
    "seen_checkpoint_of",
]

T = TypeVar("T")
_CHECKPOINTS = """
create table if not exists refold_checkpoints (
    name        text primary key,
    position    integer not null,
    append_id   text not null,
    fingerprint text not null,
    owner       text not null,
    epoch       integer not null,
    lease_until integer not null,
    status      text not null,
    error       text not null,
    updated_at  integer not null
) strict"""
_DEFINITIONS = """
create table if not exists refold_definitions (
    name        text not null,
    fingerprint text not null,
    parts       text not null,
    seen_at     integer not null,
    retired_at  integer not null,
    primary key (name, fingerprint)
) strict"""
_FIELDS = ", ".join(Checkpoint.__struct_fields__)
_MOVE = (
    "update refold_checkpoints set position = ?, append_id = ?, status = 'running', error = '', updated_at = ? "
    "where name = ? and position = ? and epoch = ?"
)


class SqliteAccess(Protocol):
    """What the sink needs of its store."""

    inline: Any

    async def transact(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a function inside one transaction of the writing connection."""
        ...

    async def query(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a function with a connection that reads."""
        ...

    def page(self, after: int, limit: int, where: EventFilter) -> Callable[[sqlite3.Connection], LogPage]:
        """The function that reads a page of the log."""
        ...


class SqliteCheckpoints:
    """What `SqliteSink` has of `LogSink` that is not about rows."""

    def __init__(self, store: SqliteAccess) -> None:
        self._store = store
        self.roster: Roster | None = None
        self.records = SqliteRecords(store)

    def divides(self, name: str) -> bool:
        """See `Sink.divides`. There is one process, with one that writes."""
        return False

    async def prepare(self) -> None:
        """See `Sink.prepare`."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(_CHECKPOINTS)
            connection.execute(_DEFINITIONS)
            # One process writes the file, and this is it: whoever is named as an owner here is dead. The name stays,
            # and says that it ended without a word.
            connection.execute("update refold_checkpoints set lease_until = 0, epoch = epoch + 1 where owner <> ''")

        await self._store.transact(run)

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """See `Sink.checkpoint`."""
        return await self._store.query(lambda connection: seen_checkpoint_of(connection, name))

    async def checkpoints(self) -> list[Checkpoint]:
        """See `Sink.checkpoints`."""

        def run(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            # Whoever only looks does not prepare.
            if not connection.execute("select 1 from sqlite_master where name = 'refold_checkpoints'").fetchone():
                return []
            return connection.execute(f"select {_FIELDS} from refold_checkpoints order by name").fetchall()

        return [_from_row(row) for row in await self._store.query(run)]

    async def shards(self, table: str) -> list[Checkpoint]:
        """See `Sink.shards`."""
        found = await self.checkpoint(table)
        return [] if found is None else [found]

    async def reshard(self, table: str, of: int, epochs: Mapping[str, int]) -> bool:
        """See `Sink.reshard`: not divided here."""
        return False

    async def enroll(self, name: str, fingerprint: str) -> None:
        """See `LogSink.enroll`."""
        await self._changes(
            "insert into refold_checkpoints as c values (?, 0, '', ?, '', 0, 0, 'running', '', ?) on conflict (name) "
            "do update set fingerprint = excluded.fingerprint where c.fingerprint <> excluded.fingerprint",
            (name, fingerprint, now_in_microseconds()),
        )

    async def withdraw(self, name: str) -> None:
        """See `LogSink.withdraw`."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("delete from refold_checkpoints where name = ?", (name,))
            forget_table(connection, name)

        await self._store.transact(run)

    async def move(self, transaction: StoreTransaction | None, name: str, move: Move) -> bool:
        """See `LogSink.move`."""
        if transaction is None:
            return await self._store.transact(lambda connection: moved(connection, name, move))
        parameters = (move.after, move.append_id, now_in_microseconds(), name, move.before, move.epoch)
        return bool(await transaction.execute(f"{_MOVE} returning 1", parameters))

    async def note(self, name: str, epoch: int, position: int, append_id: str) -> None:
        """See `LogSink.note`."""
        await self._changes(
            "update refold_checkpoints set position = ?, append_id = ?, updated_at = ? where name = ? and epoch = ?",
            (position, append_id, now_in_microseconds(), name, epoch),
        )

    async def choose(self, name: str, fingerprint: str, parts: Mapping[str, str]) -> None:
        """See `Sink.choose`."""
        now, text = now_in_microseconds(), msgspec.json.encode(parts).decode()

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(
                "insert or ignore into refold_definitions select ?, fingerprint, '{}', ?, 0 from refold_checkpoints "
                "where name = ?",
                (name, now, previous(name)),
            )
            connection.execute(
                "update refold_definitions set retired_at = ? where name = ? and retired_at = 0 and fingerprint <> ?",
                (now, name, fingerprint),
            )
            connection.execute(
                "insert into refold_definitions values (?, ?, ?, ?, 0) on conflict (name, fingerprint) "
                "do update set retired_at = 0",
                (name, fingerprint, text, now),
            )

        await self._store.transact(run)

    async def definitions(self, name: str) -> list[KnownDefinition]:
        """See `Sink.definitions`."""

        def run(connection: sqlite3.Connection) -> list[KnownDefinition]:
            if not connection.execute("select 1 from sqlite_master where name = 'refold_definitions'").fetchone():
                return []
            rows = connection.execute(
                "select name, fingerprint, parts, seen_at, retired_at from refold_definitions where name = ? "
                "order by seen_at desc",
                (name,),
            )
            return [known_definition(row) for row in rows]

        return await self._store.query(run)

    async def claim(
        self, name: str, owner: str, seconds: float, *, force: bool = False, above: int = 0
    ) -> Checkpoint | None:
        """See `Sink.claim`."""

        def run(connection: sqlite3.Connection) -> Checkpoint | None:
            now = now_in_microseconds()
            changed = connection.execute(
                "update refold_checkpoints set owner = ?, epoch = max(epoch, ?) + 1, lease_until = ?, "
                "status = 'running', error = '' "
                "where name = ? and (? or owner = '' or owner = ? or lease_until < ?)",
                (owner, above, now + int(seconds * 1_000_000), name, force, owner, now),
            ).rowcount
            return checkpoint_of(connection, name) if changed else None

        return await self._store.transact(run)

    async def holder(self, name: str) -> Holder | None:
        """See `Sink.holder`."""
        known, now = await self.checkpoint(name), now_in_microseconds()
        if known is None or not known.owner or known.lease_until < now:
            return None
        return Holder(known.owner, known.epoch, (known.lease_until - now) / 1_000_000)

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """See `Sink.renew`."""
        return await self._changes(
            "update refold_checkpoints set lease_until = ? where name = ? and epoch = ?",
            (now_in_microseconds() + int(seconds * 1_000_000), name, epoch),
        )

    async def renew_all(self, held: Mapping[str, int], seconds: float) -> Mapping[str, Kept]:
        """See `LogSink.renew_all`."""

        def run(connection: sqlite3.Connection) -> dict[str, Kept]:
            until = now_in_microseconds() + int(seconds * 1_000_000)
            kept = {}
            for name, epoch in held.items():
                sql = "update refold_checkpoints set lease_until = ? where name = ? and epoch = ?"
                renewed = connection.execute(sql, (until, name, epoch)).rowcount > 0
                now = checkpoint_of(connection, name)
                if now is not None:
                    kept[name] = Kept(now.epoch, renewed)
            return kept

        return await self._store.transact(run)

    async def release(self, name: str, epoch: int) -> None:
        """See `Sink.release`."""
        await self._changes("update refold_checkpoints set owner = '' where name = ? and epoch = ?", (name, epoch))

    async def mark(self, name: str, epoch: int, status: str, error: str) -> None:
        """See `Sink.mark`."""
        await self._changes(
            "update refold_checkpoints set status = ?, error = ? where name = ? and epoch = ?",
            (status, error, name, epoch),
        )

    async def _changes(self, sql: str, parameters: tuple[Any, ...]) -> bool:
        return await self._store.transact(lambda connection: connection.execute(sql, parameters).rowcount > 0)


def now_in_microseconds() -> int:
    """Since 1970."""
    return time.time_ns() // 1000


def _from_row(row: Sequence[Any]) -> Checkpoint:
    return Checkpoint(**dict(zip(Checkpoint.__struct_fields__, row, strict=True)))


def checkpoint_of(connection: sqlite3.Connection, name: str) -> Checkpoint | None:
    """The checkpoint of that name, by whoever has prepared."""
    row = connection.execute(f"select {_FIELDS} from refold_checkpoints where name = ?", (name,)).fetchone()
    return None if row is None else _from_row(row)


def seen_checkpoint_of(connection: sqlite3.Connection, name: str) -> Checkpoint | None:
    """The same for whoever only looks, and does not prepare."""
    known = connection.execute("select 1 from sqlite_master where name = 'refold_checkpoints'").fetchone()
    return checkpoint_of(connection, name) if known else None


def renamed(connection: sqlite3.Connection, name: str, new_name: str, above: int) -> None:
    """Gives a checkpoint, and what is kept of its table, another name. Nobody owns it then."""
    # The epoch goes on, so that whoever moved it finds that it is not his any more.
    connection.execute(
        "update refold_checkpoints set name = ?, owner = '', epoch = max(epoch, ?) + 1, lease_until = 0, "
        "status = 'running', error = '', updated_at = ? where name = ?",
        (new_name, above, now_in_microseconds(), name),
    )
    rename_table(connection, name, new_name)


def moved(connection: sqlite3.Connection, name: str, move: Move) -> bool:
    """Whether it was where the move begins, still its owner's, and now is where it ends."""
    parameters = (move.after, move.append_id, now_in_microseconds(), name, move.before, move.epoch)
    return connection.execute(_MOVE, parameters).rowcount > 0
