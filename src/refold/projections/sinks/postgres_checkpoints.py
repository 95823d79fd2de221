"""The checkpoints in the Postgres database of their log: who moves which, how far they are, and into how many shards a
read model is divided.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
import psycopg
from psycopg import AsyncRawCursor

from refold import faults
from refold.errors import StoreCorrupt
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.definitions import KnownDefinition, known_definition
from refold.projections.parking.postgres import PostgresRecords
from refold.projections.parking.records import Dropped, Forget
from refold.projections.roster import PostgresRoster, Roster
from refold.projections.shards import SHARDED, all_joined, divided, joined
from refold.projections.sink import Holder, Kept, previous
from refold.projections.sinks.postgres_rows import NOW
from refold.store.event_store import LogPage, StoreTransaction

__all__ = [
    "FIELDS",
    "SCHEMA_LOCK",
    "SHARDS_OF",
    "PostgresAccess",
    "PostgresCheckpoints",
    "Run",
    "from_row",
    "on_connection",
]

Run = Callable[..., Awaitable[list[tuple[Any, ...]]]]

FIELDS = ", ".join(Checkpoint.__struct_fields__)
SCHEMA_LOCK = 0x5265666F_6C642031
SHARDS_OF = "name > $1::text || ':' and name < $1::text || ';'"
"""The shards of a table, by the primary key."""
_PREPARE = """
do $do$ begin
    perform pg_advisory_xact_lock({lock});
    if to_regclass('{schema}.checkpoints') is null then
        create table {schema}.checkpoints (
            name        text collate "C" primary key,
            position    bigint not null,
            append_id   text not null,
            fingerprint text not null,
            owner       text not null,
            epoch       bigint not null,
            lease_until bigint not null,
            status      text not null,
            error       text not null,
            updated_at  bigint not null
        ) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
        comment on table {schema}.checkpoints is 'How far each read model has scanned the log, and who moves it.';
    end if;
    if to_regclass('{schema}.read_model_definitions') is null then
        create table {schema}.read_model_definitions (
            name        text collate "C" not null,
            fingerprint text collate "C" not null,
            parts       text not null,
            seen_at     bigint not null,
            retired_at  bigint not null,
            primary key (name, fingerprint)
        );
        comment on table {schema}.read_model_definitions is 'Which definitions of a read model have served, and when.';
    end if;{workers}
end $do$"""


class PostgresAccess(Protocol):
    """What the sink needs of its store."""

    inline: Any

    @property
    def schema(self) -> str:
        """The schema of the log, quoted."""
        ...

    async def run(self, sql: str, parameters: Sequence[str | int | None] = ()) -> list[tuple[Any, ...]]:
        """Runs one statement on its own and gives its rows."""
        ...

    async def read_log(self, *, after: int = 0, limit: int = 1000) -> LogPage:
        """Reads the log."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction, on its `connection`."""
        ...


class PostgresCheckpoints:
    """What `PostgresSink` has of `LogSink` that is not about rows."""

    def __init__(self, store: PostgresAccess) -> None:
        self._store = store
        self._checkpoints = f"{store.schema}.checkpoints"
        self._definitions = f"{store.schema}.read_model_definitions"
        self.records = PostgresRecords(store)
        self.roster: Roster | None = PostgresRoster(store.run, store.schema)

    def divides(self, name: str) -> bool:
        """See `Sink.divides`."""
        return True

    async def prepare(self) -> None:
        """See `Sink.prepare`."""
        schema = self._store.schema
        workers = PostgresRoster.TABLE.format(schema=schema)
        await self._store.run(_PREPARE.format(lock=SCHEMA_LOCK, schema=schema, workers=workers))

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """See `Sink.checkpoint`."""
        found = await self._family(name)
        return joined(found[0], found[1:]) if found else None

    async def shards(self, table: str) -> list[Checkpoint]:
        """See `Sink.shards`."""
        found = await self._family(table)
        return found[1:] or found

    async def _family(self, table: str) -> list[Checkpoint]:
        """A table's own checkpoint, and those of its shards. Empty: there is no such table."""
        try:
            return await self._family_by(self._store.run, table)
        except StoreCorrupt:
            # Whoever only looks does not prepare.
            if await self._store.run("select 1 where to_regclass($1) is null", (self._checkpoints,)):
                return []
            raise

    async def _family_by(self, run: Run, table: str, lock: str = "") -> list[Checkpoint]:
        rows = await run(
            f"select {FIELDS} from {self._checkpoints} where name = $1 or ({SHARDS_OF}) order by name {lock}", (table,)
        )
        return [from_row(row) for row in rows]

    async def _checkpoint(self, run: Run, name: str, lock: str = "") -> Checkpoint | None:
        rows = await run(f"select {FIELDS} from {self._checkpoints} where name = $1 {lock}", (name,))
        return from_row(rows[0]) if rows else None

    async def checkpoints(self) -> list[Checkpoint]:
        """See `Sink.checkpoints`."""
        # Whoever only looks does not prepare.
        if await self._store.run("select 1 where to_regclass($1) is null", (self._checkpoints,)):
            return []
        rows = [from_row(row) for row in await self._store.run(f"select {FIELDS} from {self._checkpoints} order by 1")]
        return all_joined(rows)

    async def enroll(self, name: str, fingerprint: str) -> None:
        """See `LogSink.enroll`."""
        await self._store.run(
            f"insert into {self._checkpoints} as c values ($1, 0, '', $2, '', 0, 0, '{RUNNING}', '', {NOW}) "
            "on conflict (name) do update set fingerprint = excluded.fingerprint "
            "where c.fingerprint <> excluded.fingerprint",
            (name, fingerprint),
        )

    async def withdraw(self, name: str) -> None:
        """See `LogSink.withdraw`."""
        await self._store.run(f"delete from {self._checkpoints} where name = $1", (name,))
        await self.records.apply([Dropped(name)])

    async def move(self, transaction: StoreTransaction | None, name: str, move: Move) -> bool:
        """See `LogSink.move`."""
        sql = (
            f"update {self._checkpoints} set position = $1, append_id = $2, status = 'running', error = '', "
            f"updated_at = {NOW} where name = $3 and position = $4 and epoch = $5 returning 1"
        )
        parameters = (move.after, move.append_id, name, move.before, move.epoch)
        if transaction is None:
            return bool(await self._store.run(sql, parameters))
        return bool(await transaction.execute(re.sub(r"\$\d", "%s", sql.replace("%", "%%")), parameters))

    async def note(self, name: str, epoch: int, position: int, append_id: str) -> None:
        """See `LogSink.note`."""
        await self._changes(
            f"position = $3, append_id = $4, updated_at = {NOW} where name = $1 and epoch = $2",
            (name, epoch, position, append_id),
        )

    async def choose(self, name: str, fingerprint: str, parts: Mapping[str, str]) -> None:
        """See `Sink.choose`."""
        await self._store.run(
            f"""with kept as (
                insert into {self._definitions}
                select $1, fingerprint, '{{}}', {NOW}, {NOW} from {self._checkpoints}
                where name = $4 and fingerprint <> $2 on conflict do nothing
            ), others as (
                update {self._definitions} set retired_at = {NOW}
                where name = $1 and retired_at = 0 and fingerprint <> $2
            )
            insert into {self._definitions} values ($1, $2, $3, {NOW}, 0)
            on conflict (name, fingerprint) do update set retired_at = 0""",
            (name, fingerprint, msgspec.json.encode(parts).decode(), previous(name)),
        )

    async def definitions(self, name: str) -> list[KnownDefinition]:
        """See `Sink.definitions`."""
        if await self._store.run("select 1 where to_regclass($1) is null", (self._definitions,)):
            return []
        rows = await self._store.run(
            "select name, fingerprint, parts, seen_at, retired_at "
            f"from {self._definitions} where name = $1 order by seen_at desc",
            (name,),
        )
        return [known_definition(row) for row in rows]

    async def claim(
        self, name: str, owner: str, seconds: float, *, force: bool = False, above: int = 0
    ) -> Checkpoint | None:
        """See `Sink.claim`."""
        rows = await self._store.run(
            f"update {self._checkpoints} set owner = $1, epoch = greatest(epoch, $5) + 1, lease_until = {NOW} + $2, "
            "status = 'running', error = '' where name = $3 "
            f"and status <> '{SHARDED}' and ($4 = 1 or owner = '' or owner = $1 or lease_until < {NOW}) "
            f"returning {FIELDS}",
            (owner, int(seconds * 1_000_000), name, int(force), above),
        )
        return from_row(rows[0]) if rows else None

    async def holder(self, name: str) -> Holder | None:
        """See `Sink.holder`."""
        # Whoever only looks does not prepare.
        if await self._store.run("select 1 where to_regclass($1) is null", (self._checkpoints,)):
            return None
        rows = await self._store.run(
            f"select owner, epoch, lease_until - {NOW} from {self._checkpoints} "
            f"where name = $1 and owner <> '' and lease_until >= {NOW}",
            (name,),
        )
        return Holder(rows[0][0], rows[0][1], max(0, rows[0][2]) / 1_000_000) if rows else None

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """See `Sink.renew`."""
        return await self._changes(
            f"lease_until = {NOW} + $3 where name = $1 and epoch = $2", (name, epoch, int(seconds * 1_000_000))
        )

    async def renew_all(self, held: Mapping[str, int], seconds: float) -> Mapping[str, Kept]:
        """See `LogSink.renew_all`."""
        mine = msgspec.json.encode([{"name": name, "epoch": epoch} for name, epoch in held.items()]).decode()
        # One that is being written at this moment is passed over: nobody's lease waits for another's transaction.
        rows = await self._store.run(
            f"""with mine as (select * from json_to_recordset($1::text::json) as m (name text, epoch bigint)),
            free as (
                select c.name from {self._checkpoints} c join mine m on m.name = c.name and m.epoch = c.epoch
                for update of c skip locked
            ), renewed as (
                update {self._checkpoints} c set lease_until = {NOW} + $2 from free where c.name = free.name
                returning c.name
            )
            select c.name, c.epoch, exists (select from renewed r where r.name = c.name)::int, c.position
            from {self._checkpoints} c join mine m on m.name = c.name""",
            (mine, int(seconds * 1_000_000)),
        )
        return {name: Kept(epoch, bool(renewed), position) for name, epoch, renewed, position in rows}

    async def release(self, name: str, epoch: int) -> None:
        """See `Sink.release`."""
        await self._changes("owner = '' where name = $1 and epoch = $2", (name, epoch))

    async def mark(self, name: str, epoch: int, status: str, error: str) -> None:
        """See `Sink.mark`."""
        await self._changes("status = $3, error = $4 where name = $1 and epoch = $2", (name, epoch, status, error))

    async def _changes(self, change: str, parameters: Sequence[str | int | None]) -> bool:
        return bool(await self._store.run(f"update {self._checkpoints} set {change} returning 1", parameters))

    async def reshard(self, table: str, of: int, epochs: Mapping[str, int]) -> bool:
        """See `Sink.reshard`."""
        async with self._store.transaction() as transaction:
            run = on_connection(transaction.connection)
            found = await self._family_by(run, table, "for update")
            parts = found[1:] or found
            if {each.name: each.epoch for each in parts} != dict(epochs):
                return False
            begin = divided(parts, of)
            if begin is None:
                return False
            await self._begin_shards(run, found, begin)
            faults.at("shards.before_commit")
        return True

    async def _begin_shards(self, run: Run, before: Sequence[Checkpoint], begin: Sequence[Checkpoint]) -> None:
        """Puts shards, or the table alone, in the place of those that were before (the table's own is the first)."""
        table, epoch = before[0].name, begin[0].epoch
        await run(f"delete from {self._checkpoints} where {SHARDS_OF}", (table,))
        whole = begin[0] if len(begin) == 1 else joined(before[0], begin)
        await run(
            f"update {self._checkpoints} set position = $2, append_id = $3, owner = '', epoch = $4, lease_until = 0, "
            "status = $5, error = '' where name = $1",
            (table, whole.position, whole.append_id, epoch, RUNNING if len(begin) == 1 else SHARDED),
        )
        for each in begin if len(begin) > 1 else ():
            await run(
                f"insert into {self._checkpoints} values ($1, $2, $3, $4, '', $5, 0, '{RUNNING}', '', $6)",
                (each.name, each.position, each.append_id, each.fingerprint, each.epoch, each.updated_at),
            )
        await self.records.apply_by(run, [Forget(each.name) for each in before])


def on_connection(connection: psycopg.AsyncConnection[Any]) -> Run:
    """Runs statements inside the transaction of a connection."""

    async def run(sql: str, parameters: Sequence[str | int | None] = ()) -> list[tuple[Any, ...]]:
        async with AsyncRawCursor(connection) as cursor:
            await cursor.execute(sql, list(parameters))
            return await cursor.fetchall() if cursor.description is not None else []

    return run


def from_row(row: Sequence[Any]) -> Checkpoint:
    """A checkpoint from its row."""
    return Checkpoint(**dict(zip(Checkpoint.__struct_fields__, row, strict=True)))
