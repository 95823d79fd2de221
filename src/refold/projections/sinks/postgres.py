"""Read models in the Postgres database of their log: rows and checkpoint in one statement, so in one transaction and
one round trip.

Rows travel as one JSON text each way: the server takes it apart into typed columns, which is quicker than binding each
value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa

from refold import faults
from refold.errors import ConfigurationError, InvalidQuery, ProjectionStopped, RefoldError
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import StoredEvent
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.conditions import Condition
from refold.projections.parking.postgres import DoesNotHold
from refold.projections.parking.records import Renamed
from refold.projections.shards import SHARDED, WHOLE, Shard, divided, shard_of
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
from refold.projections.sinks.postgres_checkpoints import (
    FIELDS,
    SCHEMA_LOCK,
    SHARDS_OF,
    PostgresAccess,
    PostgresCheckpoints,
    Run,
    from_row,
    on_connection,
)
from refold.projections.sinks.postgres_pages import ordering, page_of
from refold.projections.sinks.postgres_rows import DIALECT, NOW, QUICKLY, PostgresRows, create_table, rows_of
from refold.projections.tables import condition_sql

__all__ = ["PostgresSink"]

_HEAL_PAGE = 5_000


class PostgresSink(PostgresCheckpoints):
    """See `Sink`."""

    dialect = "postgresql"

    def __init__(self, store: PostgresAccess) -> None:
        super().__init__(store)
        self._known: dict[tuple[type[ReadModel], str, str], PostgresRows] = {}
        self._decoders: dict[type[ReadModel], Callable[[bytes | str], ReadModel]] = {}

    def together(self, name: str) -> bool:
        """See `Sink.together`."""
        return True

    def _rows(self, definition: ReadModelDefinition, table: str) -> PostgresRows:
        key = (definition.cls, definition.fingerprint, table)
        if key not in self._known:
            self._known[key] = rows_of(definition, table, self._checkpoints)
            self._decoders.setdefault(definition.cls, msgspec.json.Decoder(definition.cls).decode)
        return self._known[key]

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """See `Sink.register`."""
        create = create_table(definition, table)
        await self._store.run(
            f"""do $do$ begin
                perform pg_advisory_xact_lock({SCHEMA_LOCK});
                if to_regclass('"{table}"') is null and not exists (
                    select from {self._checkpoints} where name = '{table}' and fingerprint like '%:%'
                ) then
                    {create};
                    insert into {self._checkpoints}
                    values ('{table}', 0, '', '{definition.fingerprint}', '', 0, 0, '{RUNNING}', '', {NOW})
                    on conflict (name) do update set position = 0, append_id = '', fingerprint = excluded.fingerprint,
                        owner = '', epoch = checkpoints.epoch + 1;
                    update {self._checkpoints} set position = 0, append_id = '', owner = '', epoch = epoch + 1,
                        fingerprint = '{definition.fingerprint}' where {SHARDS_OF.replace("$1::text", f"'{table}'")};
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
            f"where c.owner in ('', excluded.owner) or c.lease_until < {NOW} returning {FIELDS}",
            (table, definition.fingerprint, owner, int(seconds * 1_000_000)),
        )
        if not rows:
            return None
        begun = from_row(rows[0])
        await self._store.run(
            f"""do $do$ begin
                perform pg_advisory_xact_lock({SCHEMA_LOCK});
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
                perform pg_advisory_xact_lock({SCHEMA_LOCK});
                drop table if exists "{table}";
                delete from {self._checkpoints}
                    where name = '{table}' or ({SHARDS_OF.replace("$1::text", f"'{table}'")});
                {self.records.forgetting(table)};
            end $do$"""
        )

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
                run = on_connection(transaction.connection)
                if not await self._write(run, shape, table, rows, deleted, move):
                    return False
                await self.records.apply_by(run, move.changes)
                # What an operator is told of must be on disk.
                await run("set local synchronous_commit to default")
                faults.at("parking.before_commit")
        except DoesNotHold:
            return False
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as problem:
            # As the store says it of a statement by itself: a value of a row is to blame, and not the database.
            raise InvalidQuery(f"Postgres cannot keep a value: {problem.diag.message_primary or problem}") from problem
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
            run = on_connection(transaction.connection)
            # Tables before rows, as every statement that writes takes its locks: otherwise each would wait for the
            # other. From here on nobody writes to the read one.
            if (await run("select to_regclass($1) is not null", (f'"{name}"',)))[0][0]:
                await run(f'lock table "{name}" in access exclusive mode')
            new = await self._checkpoint(run, built, "for update")
            family = await self._family_by(run, name, "for update")
            shards = family[1:]
            if new is None or new.epoch != epoch:
                return False
            # Whoever waited for a row has seen it as far as its own shard is.
            seen = max((each.position for each in shards or family), default=0)
            if seen > new.position and not back:
                if decode is None:
                    return False
                await self._heal(run, self._rows(definition, built), RowFold(definition), decode, new, seen)
            kept = previous(name)
            await run(f'drop table if exists "{kept}"')
            await run(f'alter table if exists "{name}" rename to "{kept}"')
            await run(f'alter table "{built}" rename to "{name}"')
            await run(
                f"delete from {self._checkpoints} where name = $1 or ({SHARDS_OF}) "
                "or (name = $2 and fingerprint like '%:%')",
                (kept, name),
            )
            await self._rename(run, name, kept, 0)
            await self._rename(run, built, name, max((each.epoch for each in family), default=0))
            if shards:  # as many as before
                now = await self._family_by(run, name)
                await self._begin_shards(run, now, divided(now, len(shards)) or now)
            faults.at("rebuild.switching")
        return True

    async def _rename(self, run: Run, name: str, new_name: str, above: int) -> None:
        # The epoch goes on, so that whoever moved it finds that it is not his any more.
        await run(
            f"update {self._checkpoints} set name = $2::text || substr(name, length($1::text) + 1), owner = '', "
            "epoch = greatest(epoch, $3) + 1, lease_until = 0, "
            f"status = case status when '{SHARDED}' then status else 'running' end, error = '', updated_at = {NOW} "
            f"where name = $1 or ({SHARDS_OF})",
            (name, new_name, above),
        )
        await self.records.apply_by(run, [Renamed(name, new_name)])

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """See `Sink.exchange`."""
        name, kept = definition.name, previous(definition.name)
        between = f"{name}__exchange"
        async with self._store.transaction() as transaction:
            run = on_connection(transaction.connection)
            if not (await run("select to_regclass($1) is not null", (f'"{kept}"',)))[0][0]:
                return False
            await run(f'lock table "{name}" in access exclusive mode')
            await run(f'lock table "{kept}" in access exclusive mode')
            families = [await self._family_by(run, table, "for update") for table in (name, kept)]
            if not all(families):
                return False
            above = max(each.epoch for family in families for each in family)
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
            f"from {self._checkpoints} where name = $1",
            f"select 3, position, name::varchar, 0 from {self._checkpoints} where {SHARDS_OF}",
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
        if not answer or answer[0][0] != 0 or bytes(answer[0][2]).decode() != definition.fingerprint:
            refuse_other(definition, await self.checkpoint(table))
        own = {WHOLE: answer[0][1] if answer else 0}
        at = {shard_of(bytes(row[2]).decode()): row[1] for row in answer if row[0] == 3} or own
        by_key = self._decoded(rows, [row[2] for row in answer if row[0] == 1])
        queried = self._decoded(rows, [row[2] for row in answer if row[0] == 2])
        found = {definition.key_of(row): row for row in by_key}
        if len(at) == 1:
            return Answer(min(at.values()), found, queried)
        return _of_shards(at, keys, found, queried, definition, lowest=query is not None or not keys)

    def _select(self, rows: PostgresRows, query: Query, parameters_before: int) -> tuple[str, list[str | int | None]]:
        t, kinds = rows.asked(query.names)
        # Numbered behind the limit: to number all rows, all of them would be sorted for the sake of a page.
        limited = page_of(t, kinds, query, rows.definition).subquery("t")
        number = sa.func.row_number().over(order_by=ordering(limited, kinds, query))
        statement = sa.select(sa.literal_column(rows.as_json), number).select_from(limited)
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
            run = on_connection(connection)
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
        sql = rows.writing(new).replace(QUICKLY, "1")
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


def _compiled(statement: Any, parameters_before: int) -> tuple[str, list[str | int | None]]:
    compiled = statement.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    text = re.sub(r"\$(\d+)", lambda number: f"${int(number[1]) + parameters_before}", str(compiled))
    values = compiled.params  # made anew each time that it is asked for
    return text, [values[name] for name in compiled.positiontup or ()]


def _of_shards(
    at: Mapping[Shard, int],
    keys: Sequence[RowKey],
    found: dict[RowKey, ReadModel],
    queried: list[ReadModel],
    definition: ReadModelDefinition,
    *,
    lowest: bool,
) -> Answer:
    """What was read of shards that stand at different positions: as old as the lowest of all, or of those asked for."""
    seen = {key: _of_key(at, key) for key in (*keys, *map(definition.key_of, queried))}
    position = min((at if lowest else seen).values())
    return Answer(position, found, queried, {key: its for key, its in seen.items() if its > position})


def _of_key(at: Mapping[Shard, int], key: RowKey) -> int:
    return next(position for shard, position in at.items() if shard.has(key))
