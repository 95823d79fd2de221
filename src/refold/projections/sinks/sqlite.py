"""Read models in the SQLite file of their log: rows and checkpoint in one transaction, by the store's one writing
connection.
"""

from __future__ import annotations

import datetime
import decimal
import sqlite3
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from refold import faults
from refold.errors import ConfigurationError
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import Recorded, StoredEvent
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.columns import refuse_unkeepable, refuse_unkeepable_keys
from refold.projections.conditions import Condition
from refold.projections.documents import MOMENT_FUNCTION
from refold.projections.parking.sqlite import apply_changes, forget_table
from refold.projections.sink import (
    Answer,
    Decode,
    Loaded,
    Query,
    building,
    lives_elsewhere,
    previous,
    refuse_inline,
    refuse_other,
)
from refold.projections.sinks.sqlite_checkpoints import (
    SqliteAccess,
    SqliteCheckpoints,
    checkpoint_of,
    moved,
    now_in_microseconds,
    renamed,
    seen_checkpoint_of,
)
from refold.projections.sinks.sqlite_rows import SqliteRows, rows_of
from refold.projections.tables import condition_sql, create_indexes, order_sql, sqlite_moment
from refold.store.event_store import EventFilter

__all__ = ["SqliteSink"]

_KEYS_AT_ONCE = 500
_HEAL_PAGE = 5_000
_EVERYTHING = EventFilter()


class _DoesNotHold(Exception):
    """A change of a move does not hold: all of it is rolled back."""


def _compare(left: str, right: str) -> int:
    a, b = decimal.Decimal(left), decimal.Decimal(right)
    return (a > b) - (a < b)


def _moment(text: str | None) -> str | None:
    return None if text is None else sqlite_moment(datetime.datetime.fromisoformat(text))


def _teach(connection: sqlite3.Connection) -> None:
    """What conditions need beyond SQLite's own."""
    connection.create_collation("refold_decimal", _compare)
    connection.create_function(MOMENT_FUNCTION, 1, _moment, deterministic=True)


class SqliteSink(SqliteCheckpoints):
    """See `Sink`."""

    dialect = "sqlite"

    def __init__(self, store: SqliteAccess) -> None:
        super().__init__(store)
        self._known: dict[tuple[type[ReadModel], str, str], SqliteRows] = {}
        self._epoch = 0

    def together(self, name: str) -> bool:
        """See `Sink.together`."""
        return True

    def _rows(self, definition: ReadModelDefinition, table: str) -> SqliteRows:
        key = (definition.cls, definition.fingerprint, table)
        if key not in self._known:
            self._known[key] = rows_of(definition, table)
        return self._known[key]

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """See `Sink.register`."""
        create = self._create(definition, table)

        def run(connection: sqlite3.Connection) -> None:
            there = connection.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone()
            known = checkpoint_of(connection, table)
            if lives_elsewhere(known):
                return
            if known is None and there:
                raise ConfigurationError(
                    f"a table named {table!r} is there, and no read model's; give read model "
                    f"{definition.cls.__qualname__} another name=…"
                )
            if not there:
                for statement in create:
                    connection.execute(statement)
                connection.execute(
                    "insert into refold_checkpoints values (?, 0, '', ?, '', 0, 0, ?, '', ?) on conflict (name) "
                    "do update set position = 0, append_id = '', fingerprint = excluded.fingerprint, owner = '', "
                    "epoch = epoch + 1",
                    (table, definition.fingerprint, RUNNING, now_in_microseconds()),
                )
                forget_table(connection, table)

        await self._store.transact(run)

    def _create(self, definition: ReadModelDefinition, table: str) -> list[str]:
        create = str(CreateTable(self._rows(definition, table).table).compile(dialect=sqlite.dialect()))
        return [create, *create_indexes(definition, table, "sqlite")]

    async def begin(self, definition: ReadModelDefinition, owner: str, seconds: float) -> Checkpoint | None:
        """See `Sink.begin`."""
        table = building(definition.name)
        create = self._create(definition, table)

        def run(connection: sqlite3.Connection) -> Checkpoint | None:
            known, now = checkpoint_of(connection, table), now_in_microseconds()
            if known is not None and known.owner not in ("", owner) and known.lease_until >= now:
                return None
            self._epoch = max(self._epoch + 1, now)
            connection.execute(f'drop table if exists "{table}"')
            forget_table(connection, table)
            for statement in create:
                connection.execute(statement)
            connection.execute(
                "insert or replace into refold_checkpoints values (?, 0, '', ?, ?, ?, ?, ?, '', ?)",
                (table, definition.fingerprint, owner, self._epoch, now + int(seconds * 1_000_000), RUNNING, now),
            )
            return checkpoint_of(connection, table)

        return await self._store.transact(run)

    async def drop(self, table: str) -> None:
        """See `Sink.drop`."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(f'drop table if exists "{table}"')
            connection.execute("delete from refold_checkpoints where name = ?", (table,))
            forget_table(connection, table)

        await self._store.transact(run)

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `Sink.load`."""
        rows = self._rows(definition, table)
        return Loaded(await self._store.query(lambda connection: _load(connection, rows, keys)))

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

        def run(connection: sqlite3.Connection) -> bool:
            if not moved(connection, move.of(table), move):
                return False
            if not apply_changes(connection, move.changes):
                raise _DoesNotHold
            refuse_unkeepable(definition, rows)
            faults.at("projection.checkpoint_moved")
            _write(connection, shape, rows, deleted)
            faults.at("projection.rows_written")
            return True

        try:
            return await self._store.transact(run)
        except _DoesNotHold:
            return False

    async def switch(
        self, definition: ReadModelDefinition, epoch: int, *, decode: Decode | None = None, back: bool = False
    ) -> bool:
        """See `Sink.switch`."""
        name, built = definition.name, building(definition.name)
        built_rows, fold = self._rows(definition, built), RowFold(definition)

        def run(connection: sqlite3.Connection) -> bool:
            new, old = checkpoint_of(connection, built), checkpoint_of(connection, name)
            if new is None or new.epoch != epoch:
                return False
            if old is not None and old.position > new.position and not back:
                if decode is None:
                    return False
                self._heal(connection, built_rows, fold, decode, new, old.position)
                new = checkpoint_of(connection, built) or new
            kept = previous(name)
            connection.execute(f'drop table if exists "{kept}"')
            if connection.execute("select 1 from sqlite_master where name = ?", (name,)).fetchone():
                connection.execute(f'alter table "{name}" rename to "{kept}"')
            connection.execute(f'alter table "{built}" rename to "{name}"')
            connection.execute(
                "delete from refold_checkpoints where name = ? or (name = ? and fingerprint like '%:%')", (kept, name)
            )
            renamed(connection, name, kept, 0)
            renamed(connection, built, name, 0 if old is None else old.epoch)
            faults.at("rebuild.switching")
            return True

        return await self._store.transact(run)

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """See `Sink.exchange`."""
        name, kept = definition.name, previous(definition.name)
        between = f"{name}__exchange"

        def run(connection: sqlite3.Connection) -> bool:
            current, before = checkpoint_of(connection, name), checkpoint_of(connection, kept)
            if current is None or before is None:
                return False
            above = max(current.epoch, before.epoch)
            for source, target in ((name, between), (kept, name), (between, kept)):
                connection.execute(f'alter table "{source}" rename to "{target}"')
                renamed(connection, source, target, above)
            return True

        return await self._store.transact(run)

    async def read(
        self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None, *, table: str = ""
    ) -> Answer:
        """See `Sink.read`."""
        table = table or definition.name
        rows = self._rows(definition, table)
        text, parameters = self._select(rows, query) if query is not None else ("", ())

        def run(connection: sqlite3.Connection) -> Answer:
            _teach(connection)
            own = not connection.in_transaction
            if own:
                connection.execute("begin")
            try:
                checkpoint = _checked(connection, definition, table)
                found = _load(connection, rows, keys)
                queried = [rows.row(row) for row in connection.execute(text, parameters)] if text else []
                return Answer(checkpoint.position, found, queried)
            finally:
                if own:
                    connection.execute("rollback")

        return await self._store.query(run)

    async def count(self, definition: ReadModelDefinition, where: Condition | None, *, table: str = "") -> int:
        """See `Sink.count`."""
        table = table or definition.name
        rows = self._rows(definition, table)
        t, kinds = rows.asked(Query(where).names)
        statement = sa.select(sa.func.count()).select_from(t)
        if where is not None:
            statement = statement.where(condition_sql(t, kinds, where, "sqlite"))
        text, parameters = _compiled(statement)

        def run(connection: sqlite3.Connection) -> int:
            _checked(connection, definition, table)
            _teach(connection)
            return int(connection.execute(text, parameters).fetchone()[0])

        return await self._store.query(run)

    def _select(self, rows: SqliteRows, query: Query) -> tuple[str, tuple[Any, ...]]:
        t, kinds = rows.asked(query.names)
        statement = sa.select(*(t.c[column] for column in rows.shown))
        if query.where is not None:
            statement = statement.where(condition_sql(t, kinds, query.where, "sqlite"))
        statement = statement.order_by(*(order_sql(t, kinds, order, "sqlite") for order in query.order))
        if query.limit is not None or query.offset:
            statement = statement.limit(-1 if query.limit is None else query.limit).offset(query.offset)
        return _compiled(statement)

    def install(self, definitions: Sequence[ReadModelDefinition], decode: Decode) -> None:
        """See `InlineRows.install`."""
        shapes = [(self._rows(definition, definition.name), RowFold(definition)) for definition in definitions]

        def inline(connection: sqlite3.Connection, events: list[StoredEvent]) -> None:
            for rows, fold in shapes:
                self._apply_inline(connection, rows, fold, events, decode)

        self._store.inline = inline if shapes else None

    def _apply_inline(
        self,
        connection: sqlite3.Connection,
        rows: SqliteRows,
        fold: RowFold,
        events: list[StoredEvent],
        decode: Decode,
    ) -> None:
        definition = rows.definition
        checkpoint = checkpoint_of(connection, definition.name)
        before = events[0].position - 1
        refuse_inline(definition, checkpoint, before)
        assert checkpoint is not None
        # Something may have been appended without this read model, by an app that does not have it.
        self._heal(connection, rows, fold, decode, checkpoint, before)
        _fold_inline(connection, rows, fold, events, decode, before, checkpoint.epoch)

    def _heal(
        self,
        connection: sqlite3.Connection,
        rows: SqliteRows,
        fold: RowFold,
        decode: Decode,
        checkpoint: Checkpoint,
        upto: int,
    ) -> None:
        """Folds what the log has after a checkpoint, inside the transaction."""
        position = checkpoint.position
        while position < upto:
            missed = self._store.page(position, min(_HEAL_PAGE, upto - position), _EVERYTHING)(connection).events
            _fold_inline(connection, rows, fold, missed, decode, position, checkpoint.epoch)
            position = missed[-1].position


def _fold_inline(
    connection: sqlite3.Connection,
    rows: SqliteRows,
    fold: RowFold,
    events: list[StoredEvent],
    decode: Decode,
    position: int,
    epoch: int,
) -> None:
    recorded: list[Recorded[Any]] = [decode(event) for event in events]
    state: dict[RowKey, ReadModel | None] = dict(_load(connection, rows, list(fold.keys(recorded))))
    touched = fold.fold(state, recorded)
    changed, deleted = fold.changes(state, touched)
    refuse_unkeepable(rows.definition, changed)
    _write(connection, rows, changed, deleted)
    last = events[-1]
    moved(connection, rows.table.name, Move(position, last.position, last.append_id.hex(), epoch))


def _checked(connection: sqlite3.Connection, definition: ReadModelDefinition, table: str) -> Checkpoint:
    checkpoint = seen_checkpoint_of(connection, table)
    refuse_other(definition, checkpoint)
    assert checkpoint is not None
    return checkpoint


def _load(connection: sqlite3.Connection, rows: SqliteRows, keys: Sequence[RowKey]) -> dict[RowKey, ReadModel]:
    found: dict[RowKey, ReadModel] = {}
    refuse_unkeepable_keys(rows.definition, keys)
    place = f"({', '.join('?' * len(rows.definition.key))})"
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        part = keys[start : start + _KEYS_AT_ONCE]
        places = ", ".join([place] * len(part))
        parameters = [value for key in part for value in rows.key_values(key)]
        for values in connection.execute(f"{rows.select} where ({rows.keys}) in (values {places})", parameters):
            row = rows.row(values)
            found[rows.definition.key_of(row)] = row
    return found


def _write(
    connection: sqlite3.Connection, rows: SqliteRows, changed: Sequence[ReadModel], deleted: Sequence[RowKey]
) -> None:
    if changed:
        connection.executemany(rows.upsert, [rows.values(row) for row in changed])
    if deleted:
        connection.executemany(rows.delete, [rows.key_values(key) for key in deleted])


def _compiled(statement: Any) -> tuple[str, tuple[Any, ...]]:
    compiled = statement.compile(
        dialect=sqlite.dialect(paramstyle="qmark"), compile_kwargs={"render_postcompile": True}
    )
    values = compiled.params
    return str(compiled), tuple(values[name] for name in compiled.positiontup or ())
