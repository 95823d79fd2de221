"""Read models in the Postgres database of their log: rows and checkpoint in one statement, so in one transaction and
one round trip.

Rows travel as one JSON text each way: the server takes it apart into typed columns, which is quicker than binding each
value.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import AsyncRawCursor

from refold import faults
from refold.errors import ConfigurationError, ProjectionStopped, RefoldError, StoreCorrupt
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import StoredEvent
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.conditions import Condition
from refold.projections.definitions import KnownDefinition, known_definition
from refold.projections.parking.postgres import DoesNotHold, PostgresRecords
from refold.projections.parking.records import Dropped, Renamed
from refold.projections.roster import PostgresRoster, Roster
from refold.projections.sink import (
    Answer,
    Decode,
    Loaded,
    Query,
    building,
    previous,
    refuse_inline,
    refuse_other,
    unreadable,
)
from refold.projections.sinks.postgres_rows import DIALECT, NOW, PostgresRows, create_table, rows_of
from refold.projections.tables import condition_sql, order_sql
from refold.store.event_store import LogPage, StoreTransaction

__all__ = ["PostgresSink"]

Run = Callable[..., Awaitable[list[tuple[Any, ...]]]]

_FIELDS = ", ".join(Checkpoint.__struct_fields__)
_SCHEMA_LOCK = 0x5265666F_6C642031
_HEAL_PAGE = 5_000
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


class PostgresSink:
    """See `Sink`."""

    dialect = "postgresql"

    def __init__(self, store: PostgresAccess) -> None:
        self._store = store
        self._checkpoints = f"{store.schema}.checkpoints"
        self._definitions = f"{store.schema}.read_model_definitions"
        self._known: dict[tuple[type[ReadModel], str, str], PostgresRows] = {}
        self._decoders: dict[type[ReadModel], Callable[[bytes | str], ReadModel]] = {}
        self.records = PostgresRecords(store)
        self.roster: Roster | None = PostgresRoster(store.run, store.schema)

    def together(self, name: str) -> bool:
        """See `Sink.together`."""
        return True

    def _rows(self, definition: ReadModelDefinition, table: str) -> PostgresRows:
        key = (definition.cls, definition.fingerprint, table)
        if key not in self._known:
            self._known[key] = rows_of(definition, table, self._checkpoints)
            self._decoders.setdefault(definition.cls, msgspec.json.Decoder(definition.cls).decode)
        return self._known[key]

    async def prepare(self) -> None:
        """See `Sink.prepare`."""
        schema = self._store.schema
        workers = PostgresRoster.TABLE.format(schema=schema)
        await self._store.run(_PREPARE.format(lock=_SCHEMA_LOCK, schema=schema, workers=workers))

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """See `Sink.checkpoint`."""
        try:
            return await self._checkpoint(self._store.run, name)
        except StoreCorrupt:
            # Whoever only looks does not prepare.
            if await self._store.run("select 1 where to_regclass($1) is null", (self._checkpoints,)):
                return None
            raise

    async def _checkpoint(self, run: Run, name: str, lock: str = "") -> Checkpoint | None:
        rows = await run(f"select {_FIELDS} from {self._checkpoints} where name = $1 {lock}", (name,))
        return _from_row(rows[0]) if rows else None

    async def checkpoints(self) -> list[Checkpoint]:
        """See `Sink.checkpoints`."""
        # Whoever only looks does not prepare.
        if await self._store.run("select 1 where to_regclass($1) is null", (self._checkpoints,)):
            return []
        return [
            _from_row(row) for row in await self._store.run(f"select {_FIELDS} from {self._checkpoints} order by 1")
        ]

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """See `Sink.register`."""
        create = create_table(definition, table)
        await self._store.run(
            f"""do $do$ begin
                perform pg_advisory_xact_lock({_SCHEMA_LOCK});
                if to_regclass('"{table}"') is null and not exists (
                    select from {self._checkpoints} where name = '{table}' and fingerprint like '%:%'
                ) then
                    {create};
                    insert into {self._checkpoints}
                    values ('{table}', 0, '', '{definition.fingerprint}', '', 0, 0, '{RUNNING}', '', {NOW})
                    on conflict (name) do update set position = 0, append_id = '', fingerprint = excluded.fingerprint,
                        owner = '', epoch = checkpoints.epoch + 1;
                    {self.records.forgetting(table)};
                end if;
            end $do$"""
        )
        if await self.checkpoint(table) is None:
            raise ConfigurationError(
                f"a table named {table!r} is there, and no read model's; give read model "
                f"{definition.cls.__qualname__} another name=…"
            )

    async def begin(self, definition: ReadModelDefinition, owner: str, seconds: float) -> Checkpoint | None:
        """See `Sink.begin`."""
        table = building(definition.name)
        rows = await self._store.run(
            f"insert into {self._checkpoints} as c "
            f"values ($1, 0, '', $2, $3, {NOW}, {NOW} + $4, '{RUNNING}', '', {NOW}) "
            "on conflict (name) do update set position = 0, append_id = '', fingerprint = excluded.fingerprint, "
            "owner = excluded.owner, epoch = greatest(c.epoch + 1, excluded.epoch), "
            "lease_until = excluded.lease_until, status = excluded.status, error = '', "
            "updated_at = excluded.updated_at "
            f"where c.owner in ('', excluded.owner) or c.lease_until < {NOW} returning {_FIELDS}",
            (table, definition.fingerprint, owner, int(seconds * 1_000_000)),
        )
        if not rows:
            return None
        begun = _from_row(rows[0])
        await self._store.run(
            f"""do $do$ begin
                perform pg_advisory_xact_lock({_SCHEMA_LOCK});
                if to_regclass('"{table}"') is not null then
                    lock table "{table}" in access exclusive mode;
                end if;
                perform from {self._checkpoints} where name = '{table}' and epoch = {begun.epoch} for update;
                if found then
                    drop table if exists "{table}";
                    {self.records.forgetting(table)};
                    {create_table(definition, table)};
                end if;
            end $do$"""
        )
        return begun

    async def drop(self, table: str) -> None:
        """See `Sink.drop`."""
        await self._store.run(
            f"""do $do$ begin
                perform pg_advisory_xact_lock({_SCHEMA_LOCK});
                drop table if exists "{table}";
                delete from {self._checkpoints} where name = '{table}';
                {self.records.forgetting(table)};
            end $do$"""
        )

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
            f"and ($4 = 1 or owner = '' or owner = $1 or lease_until < {NOW}) returning {_FIELDS}",
            (owner, int(seconds * 1_000_000), name, int(force), above),
        )
        return _from_row(rows[0]) if rows else None

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """See `Sink.renew`."""
        return await self._changes(
            f"lease_until = {NOW} + $3 where name = $1 and epoch = $2", (name, epoch, int(seconds * 1_000_000))
        )

    async def release(self, name: str, epoch: int) -> None:
        """See `Sink.release`."""
        await self._changes("owner = '' where name = $1 and epoch = $2", (name, epoch))

    async def mark(self, name: str, epoch: int, status: str, error: str) -> None:
        """See `Sink.mark`."""
        await self._changes("status = $3, error = $4 where name = $1 and epoch = $2", (name, epoch, status, error))

    async def _changes(self, change: str, parameters: Sequence[str | int | None]) -> bool:
        return bool(await self._store.run(f"update {self._checkpoints} set {change} returning 1", parameters))

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `Sink.load`."""
        return Loaded(await self._load(self._store.run, self._rows(definition, table), keys))

    async def _load(self, run: Run, rows: PostgresRows, keys: Sequence[RowKey]) -> dict[RowKey, ReadModel]:
        if not keys:
            return {}
        found = self._decoded(rows, [text for (text,) in await run(rows.load, (rows.keys(keys),))])
        return {rows.definition.key_of(row): row for row in found}

    def _decoded(self, rows: PostgresRows, texts: Sequence[bytes | str]) -> list[ReadModel]:
        decode = self._decoders[rows.definition.cls]
        try:
            return [decode(text) for text in texts]
        except msgspec.DecodeError as problem:
            raise unreadable(rows.definition, rows.table.name, problem) from problem

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """See `Sink.write`."""
        shape = self._rows(definition, table)
        if not move.changes:
            return await self._write(self._store.run, shape, table, rows, deleted, move)
        try:
            async with self._store.transaction() as transaction:
                run = _on(transaction.connection)
                if not await self._write(run, shape, table, rows, deleted, move):
                    return False
                await self.records.apply_by(run, move.changes)
                # What an operator is told of must be on disk.
                await run("set local synchronous_commit to default")
                faults.at("parking.before_commit")
        except DoesNotHold:
            return False
        return True

    async def _write(
        self,
        run: Run,
        shape: PostgresRows,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        new = shape.encoded(rows)
        parameters = (
            move.after,
            move.append_id,
            move.of(table),
            move.before,
            move.epoch,
            new,
            shape.keys(deleted),
        )
        faults.at("projection.before_write")
        answer = await run(shape.writing(new), parameters)
        return bool(answer[0][0])

    async def switch(
        self, definition: ReadModelDefinition, epoch: int, *, decode: Decode | None = None, back: bool = False
    ) -> bool:
        """See `Sink.switch`."""
        name, built = definition.name, building(definition.name)
        async with self._store.transaction() as transaction:
            run = _on(transaction.connection)
            # Tables before rows, as every statement that writes takes its locks: otherwise each would wait for the
            # other. From here on nobody writes to the read one.
            if (await run("select to_regclass($1) is not null", (f'"{name}"',)))[0][0]:
                await run(f'lock table "{name}" in access exclusive mode')
            new = await self._checkpoint(run, built, "for update")
            old = await self._checkpoint(run, name, "for update")
            if new is None or new.epoch != epoch:
                return False
            if old is not None and old.position > new.position and not back:
                if decode is None:
                    return False
                await self._heal(run, self._rows(definition, built), RowFold(definition), decode, new, old.position)
            kept = previous(name)
            await run(f'drop table if exists "{kept}"')
            await run(f'alter table if exists "{name}" rename to "{kept}"')
            await run(f'alter table "{built}" rename to "{name}"')
            await run(
                f"delete from {self._checkpoints} where name = $1 or (name = $2 and fingerprint like '%:%')",
                (kept, name),
            )
            await self._rename(run, name, kept, 0)
            await self._rename(run, built, name, 0 if old is None else old.epoch)
            faults.at("rebuild.switching")
        return True

    async def _rename(self, run: Run, name: str, new_name: str, above: int) -> None:
        # The epoch goes on, so that whoever moved it finds that it is not his any more.
        await run(
            f"update {self._checkpoints} set name = $2, owner = '', epoch = greatest(epoch, $3) + 1, lease_until = 0, "
            f"status = 'running', error = '', updated_at = {NOW} where name = $1",
            (name, new_name, above),
        )
        await self.records.apply_by(run, [Renamed(name, new_name)])

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """See `Sink.exchange`."""
        name, kept = definition.name, previous(definition.name)
        between = f"{name}__exchange"
        async with self._store.transaction() as transaction:
            run = _on(transaction.connection)
            if not (await run("select to_regclass($1) is not null", (f'"{kept}"',)))[0][0]:
                return False
            await run(f'lock table "{name}" in access exclusive mode')
            await run(f'lock table "{kept}" in access exclusive mode')
            epochs = await run(
                f"select epoch from {self._checkpoints} where name in ($1, $2) order by name for update", (name, kept)
            )
            if len(epochs) < 2:
                return False
            above = max(epoch for (epoch,) in epochs)
            for source, target in ((name, between), (kept, name), (between, kept)):
                await run(f'alter table "{source}" rename to "{target}"')
                await self._rename(run, source, target, above)
        return True

    async def read(
        self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None, *, table: str = ""
    ) -> Answer:
        """See `Sink.read`."""
        table = table or definition.name
        rows = self._rows(definition, table)
        # One statement is one snapshot: the checkpoint first, then the rows of the keys, then those of the query.
        parts = [
            "select 0 as part, position, fingerprint::varchar as row, 0::bigint as number "
            f"from {self._checkpoints} where name = $1"
        ]
        parameters: list[str | int | None] = [table, rows.keys(keys)]
        loading = rows.load.replace("$1", "$2").replace(f"select {rows.as_json}", f"select 1, 0, {rows.as_json}, 0", 1)
        parts.append(loading)
        if query is not None:
            text, values = self._select(rows, query, len(parameters))
            parts.append(f"select 2, 0, q.row, q.number from ({text}) as q (row, number)")
            parameters += values
        sql = " union all ".join(f"({part})" for part in parts) + " order by 1, 4"
        try:
            answer = await self._store.run(sql, parameters)
        except RefoldError:
            # Another definition's table has other columns, or there is none.
            refuse_other(definition, await self.checkpoint(table))
            raise
        position = next((row[1] for row in answer if row[0] == 0), 0)
        if not answer or answer[0][0] != 0 or bytes(answer[0][2]).decode() != definition.fingerprint:
            refuse_other(definition, await self.checkpoint(table))
        by_key = self._decoded(rows, [row[2] for row in answer if row[0] == 1])
        queried = self._decoded(rows, [row[2] for row in answer if row[0] == 2])
        return Answer(position, {definition.key_of(row): row for row in by_key}, queried)

    def _select(self, rows: PostgresRows, query: Query, parameters_before: int) -> tuple[str, list[str | int | None]]:
        t, kinds = rows.asked(query.names)
        ordering = [order_sql(t, kinds, order, "postgresql") for order in query.order]
        number = sa.func.row_number().over(order_by=ordering)
        statement = sa.select(sa.literal_column(rows.as_json), number).select_from(t)
        if query.where is not None:
            statement = statement.where(condition_sql(t, kinds, query.where, "postgresql"))
        statement = statement.order_by(*ordering)
        if query.limit is not None:
            statement = statement.limit(sa.literal_column(str(int(query.limit))))
        if query.offset:
            statement = statement.offset(sa.literal_column(str(int(query.offset))))
        return _compiled(statement, parameters_before)

    async def count(self, definition: ReadModelDefinition, where: Condition | None, *, table: str = "") -> int:
        """See `Sink.count`."""
        table = table or definition.name
        rows = self._rows(definition, table)
        t, kinds = rows.asked(Query(where).names)
        statement = sa.select(sa.func.count()).select_from(t)
        if where is not None:
            statement = statement.where(condition_sql(t, kinds, where, "postgresql"))
        text, parameters = _compiled(statement, 2)
        known = f"select 1 from {self._checkpoints} where name = $1 and fingerprint = $2"
        sql = f"select q.* from ({text}) as q where exists ({known})"
        try:
            answer = await self._store.run(sql, [table, definition.fingerprint, *parameters])
        except RefoldError:
            refuse_other(definition, await self.checkpoint(table))
            raise
        if not answer:
            refuse_other(definition, await self.checkpoint(table))
            return await self.count(definition, where, table=table)  # it was switched just now
        return int(answer[0][0])

    def install(self, definitions: Sequence[ReadModelDefinition], decode: Decode) -> None:
        """See `InlineRows.install`."""
        shapes = [(self._rows(definition, definition.name), RowFold(definition)) for definition in definitions]

        async def inline(connection: psycopg.AsyncConnection[Any], events: list[StoredEvent]) -> None:
            run = _on(connection)
            for rows, fold in shapes:
                await self._apply_inline(run, rows, fold, events, decode)

        self._store.inline = inline if shapes else None

    async def _apply_inline(
        self, run: Run, rows: PostgresRows, fold: RowFold, events: list[StoredEvent], decode: Decode
    ) -> None:
        definition = rows.definition
        # The table is named here so that its lock is taken before the row's, as everywhere.
        checkpoint = await self._checkpoint(
            run, definition.name, f"and not exists (select from {rows.source} limit 0) for update"
        )
        before = events[0].position - 1
        refuse_inline(definition, checkpoint, before)
        assert checkpoint is not None
        # Another process may have appended without this read model. The log's lock is held, so it does not do so now.
        await self._heal(run, rows, fold, decode, checkpoint, before)
        last = events[-1]
        move = Move(before, last.position, last.append_id.hex(), checkpoint.epoch)
        await self._fold_inline(run, rows, fold, events, decode, move)

    async def _heal(
        self, run: Run, rows: PostgresRows, fold: RowFold, decode: Decode, checkpoint: Checkpoint, upto: int
    ) -> None:
        """Folds what the log has after a checkpoint, inside the transaction."""
        position = checkpoint.position
        while position < upto:
            page = await self._store.read_log(after=position, limit=min(_HEAL_PAGE, upto - position))
            move = Move(position, page.scanned_to, page.events[-1].append_id.hex(), checkpoint.epoch)
            await self._fold_inline(run, rows, fold, page.events, decode, move)
            position = page.scanned_to

    async def _fold_inline(
        self,
        run: Run,
        rows: PostgresRows,
        fold: RowFold,
        events: list[StoredEvent],
        decode: Decode,
        move: Move,
    ) -> None:
        recorded = [decode(event) for event in events]
        state: dict[RowKey, ReadModel | None] = dict(await self._load(run, rows, list(fold.keys(recorded))))
        touched = fold.fold(state, recorded)
        changed, deleted = fold.changes(state, touched)
        new = rows.encoded(changed)
        # Here the commit is the append's, and must be flushed.
        sql = rows.writing(new).replace("set_config('synchronous_commit', 'off', true)", "1")
        parameters = (
            move.after,
            move.append_id,
            rows.table.name,
            move.before,
            move.epoch,
            new,
            rows.keys(deleted),
        )
        if not (await run(sql, parameters))[0][0]:
            raise ProjectionStopped(f"the checkpoint of read model {rows.table.name!r} was moved by another")


def _on(connection: psycopg.AsyncConnection[Any]) -> Run:
    """Runs statements inside the transaction of a connection."""

    async def run(sql: str, parameters: Sequence[str | int | None] = ()) -> list[tuple[Any, ...]]:
        async with AsyncRawCursor(connection) as cursor:
            await cursor.execute(sql, list(parameters))
            return await cursor.fetchall() if cursor.description is not None else []

    return run


def _from_row(row: Sequence[Any]) -> Checkpoint:
    return Checkpoint(**dict(zip(Checkpoint.__struct_fields__, row, strict=True)))


def _compiled(statement: Any, parameters_before: int) -> tuple[str, list[str | int | None]]:
    compiled = statement.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    text = re.sub(r"\$(\d+)", lambda number: f"${int(number[1]) + parameters_before}", str(compiled))
    values = compiled.params  # made anew each time that it is asked for
    return text, [values[name] for name in compiled.positiontup or ()]
