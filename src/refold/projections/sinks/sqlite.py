"""Read models in the SQLite file of their log: rows and checkpoint in one transaction, by the store's one writing
connection.
"""

from __future__ import annotations

import datetime
import decimal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
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
from refold.projections.definitions import KnownDefinition, known_definition
from refold.projections.documents import MOMENT_FUNCTION
from refold.projections.parking.sqlite import SqliteRecords, apply_changes, forget_table, rename_table
from refold.projections.roster import Roster
from refold.projections.sink import (
    Answer,
    Decode,
    Kept,
    Loaded,
    Query,
    building,
    lives_elsewhere,
    previous,
    refuse_inline,
    refuse_other,
)
from refold.projections.sinks.sqlite_rows import SqliteRows, rows_of
from refold.projections.tables import condition_sql, order_sql, sqlite_moment
from refold.store.event_store import EventFilter, LogPage, StoreTransaction

__all__ = ["SqliteSink"]

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
_KEYS_AT_ONCE = 500
_HEAL_PAGE = 5_000
_EVERYTHING = EventFilter()


class _DoesNotHold(Exception):
    """A change of a move does not hold: all of it is rolled back."""


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


def _compare(left: str, right: str) -> int:
    a, b = decimal.Decimal(left), decimal.Decimal(right)
    return (a > b) - (a < b)


def _moment(text: str | None) -> str | None:
    return None if text is None else sqlite_moment(datetime.datetime.fromisoformat(text))


def _teach(connection: sqlite3.Connection) -> None:
    """What conditions need beyond SQLite's own."""
    connection.create_collation("refold_decimal", _compare)
    connection.create_function(MOMENT_FUNCTION, 1, _moment, deterministic=True)


class SqliteSink:
    """See `Sink`."""

    dialect = "sqlite"

    def __init__(self, store: SqliteAccess) -> None:
        self._store = store
        self._known: dict[tuple[type[ReadModel], str, str], SqliteRows] = {}
        self._epoch = 0
        self.roster: Roster | None = None
        self.records = SqliteRecords(store)

    def together(self, name: str) -> bool:
        """See `Sink.together`."""
        return True

    def _rows(self, definition: ReadModelDefinition, table: str) -> SqliteRows:
        key = (definition.cls, definition.fingerprint, table)
        if key not in self._known:
            self._known[key] = rows_of(definition, table)
        return self._known[key]

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
        return await self._store.query(lambda connection: _seen_checkpoint(connection, name))

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

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """See `Sink.register`."""
        create = self._create(definition, table)

        def run(connection: sqlite3.Connection) -> None:
            there = connection.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone()
            known = _checkpoint(connection, table)
            if lives_elsewhere(known):
                return
            if known is None and there:
                raise ConfigurationError(
                    f"a table named {table!r} is there, and no read model's; give read model "
                    f"{definition.cls.__qualname__} another name=…"
                )
            if not there:
                connection.execute(create)
                connection.execute(
                    "insert into refold_checkpoints values (?, 0, '', ?, '', 0, 0, ?, '', ?) on conflict (name) "
                    "do update set position = 0, append_id = '', fingerprint = excluded.fingerprint, owner = '', "
                    "epoch = epoch + 1",
                    (table, definition.fingerprint, RUNNING, _now()),
                )
                forget_table(connection, table)

        await self._store.transact(run)

    def _create(self, definition: ReadModelDefinition, table: str) -> str:
        return str(CreateTable(self._rows(definition, table).table).compile(dialect=sqlite.dialect()))

    async def begin(self, definition: ReadModelDefinition, owner: str, seconds: float) -> Checkpoint | None:
        """See `Sink.begin`."""
        table = building(definition.name)
        create = self._create(definition, table)

        def run(connection: sqlite3.Connection) -> Checkpoint | None:
            known, now = _checkpoint(connection, table), _now()
            if known is not None and known.owner not in ("", owner) and known.lease_until >= now:
                return None
            self._epoch = max(self._epoch + 1, now)
            connection.execute(f'drop table if exists "{table}"')
            forget_table(connection, table)
            connection.execute(create)
            connection.execute(
                "insert or replace into refold_checkpoints values (?, 0, '', ?, ?, ?, ?, ?, '', ?)",
                (table, definition.fingerprint, owner, self._epoch, now + int(seconds * 1_000_000), RUNNING, now),
            )
            return _checkpoint(connection, table)

        return await self._store.transact(run)

    async def drop(self, table: str) -> None:
        """See `Sink.drop`."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(f'drop table if exists "{table}"')
            connection.execute("delete from refold_checkpoints where name = ?", (table,))
            forget_table(connection, table)

        await self._store.transact(run)

    async def enroll(self, name: str, fingerprint: str) -> None:
        """See `LogSink.enroll`."""
        await self._changes(
            "insert into refold_checkpoints as c values (?, 0, '', ?, '', 0, 0, 'running', '', ?) on conflict (name) "
            "do update set fingerprint = excluded.fingerprint where c.fingerprint <> excluded.fingerprint",
            (name, fingerprint, _now()),
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
            return await self._store.transact(lambda connection: _moved(connection, name, move))
        parameters = (move.after, move.append_id, _now(), name, move.before, move.epoch)
        return bool(await transaction.execute(f"{_MOVE} returning 1", parameters))

    async def note(self, name: str, epoch: int, position: int, append_id: str) -> None:
        """See `LogSink.note`."""
        await self._changes(
            "update refold_checkpoints set position = ?, append_id = ?, updated_at = ? where name = ? and epoch = ?",
            (position, append_id, _now(), name, epoch),
        )

    async def choose(self, name: str, fingerprint: str, parts: Mapping[str, str]) -> None:
        """See `Sink.choose`."""
        now, text = _now(), msgspec.json.encode(parts).decode()

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
            now = _now()
            changed = connection.execute(
                "update refold_checkpoints set owner = ?, epoch = max(epoch, ?) + 1, lease_until = ?, "
                "status = 'running', error = '' "
                "where name = ? and (? or owner = '' or owner = ? or lease_until < ?)",
                (owner, above, now + int(seconds * 1_000_000), name, force, owner, now),
            ).rowcount
            return _checkpoint(connection, name) if changed else None

        return await self._store.transact(run)

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """See `Sink.renew`."""
        return await self._changes(
            "update refold_checkpoints set lease_until = ? where name = ? and epoch = ?",
            (_now() + int(seconds * 1_000_000), name, epoch),
        )

    async def renew_all(self, held: Mapping[str, int], seconds: float) -> Mapping[str, Kept]:
        """See `LogSink.renew_all`."""

        def run(connection: sqlite3.Connection) -> dict[str, Kept]:
            until = _now() + int(seconds * 1_000_000)
            kept = {}
            for name, epoch in held.items():
                sql = "update refold_checkpoints set lease_until = ? where name = ? and epoch = ?"
                renewed = connection.execute(sql, (until, name, epoch)).rowcount > 0
                now = _checkpoint(connection, name)
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
            if not _moved(connection, move.of(table), move):
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
            new, old = _checkpoint(connection, built), _checkpoint(connection, name)
            if new is None or new.epoch != epoch:
                return False
            if old is not None and old.position > new.position and not back:
                if decode is None:
                    return False
                self._heal(connection, built_rows, fold, decode, new, old.position)
                new = _checkpoint(connection, built) or new
            kept = previous(name)
            connection.execute(f'drop table if exists "{kept}"')
            if connection.execute("select 1 from sqlite_master where name = ?", (name,)).fetchone():
                connection.execute(f'alter table "{name}" rename to "{kept}"')
            connection.execute(f'alter table "{built}" rename to "{name}"')
            connection.execute(
                "delete from refold_checkpoints where name = ? or (name = ? and fingerprint like '%:%')", (kept, name)
            )
            _rename(connection, name, kept, 0)
            _rename(connection, built, name, 0 if old is None else old.epoch)
            faults.at("rebuild.switching")
            return True

        return await self._store.transact(run)

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """See `Sink.exchange`."""
        name, kept = definition.name, previous(definition.name)
        between = f"{name}__exchange"

        def run(connection: sqlite3.Connection) -> bool:
            current, before = _checkpoint(connection, name), _checkpoint(connection, kept)
            if current is None or before is None:
                return False
            above = max(current.epoch, before.epoch)
            for source, target in ((name, between), (kept, name), (between, kept)):
                connection.execute(f'alter table "{source}" rename to "{target}"')
                _rename(connection, source, target, above)
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
        checkpoint = _checkpoint(connection, definition.name)
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
    _moved(connection, rows.table.name, Move(position, last.position, last.append_id.hex(), epoch))


def _now() -> int:
    return time.time_ns() // 1000


def _from_row(row: Sequence[Any]) -> Checkpoint:
    return Checkpoint(**dict(zip(Checkpoint.__struct_fields__, row, strict=True)))


def _checkpoint(connection: sqlite3.Connection, name: str) -> Checkpoint | None:
    row = connection.execute(f"select {_FIELDS} from refold_checkpoints where name = ?", (name,)).fetchone()
    return None if row is None else _from_row(row)


def _seen_checkpoint(connection: sqlite3.Connection, name: str) -> Checkpoint | None:
    """The same for whoever only looks, and does not prepare."""
    known = connection.execute("select 1 from sqlite_master where name = 'refold_checkpoints'").fetchone()
    return _checkpoint(connection, name) if known else None


def _checked(connection: sqlite3.Connection, definition: ReadModelDefinition, table: str) -> Checkpoint:
    checkpoint = _seen_checkpoint(connection, table)
    refuse_other(definition, checkpoint)
    assert checkpoint is not None
    return checkpoint


def _rename(connection: sqlite3.Connection, name: str, new_name: str, above: int) -> None:
    # The epoch goes on, so that whoever moved it finds that it is not his any more.
    connection.execute(
        "update refold_checkpoints set name = ?, owner = '', epoch = max(epoch, ?) + 1, lease_until = 0, "
        "status = 'running', error = '', updated_at = ? where name = ?",
        (new_name, above, _now(), name),
    )
    rename_table(connection, name, new_name)


def _moved(connection: sqlite3.Connection, name: str, move: Move) -> bool:
    parameters = (move.after, move.append_id, _now(), name, move.before, move.epoch)
    return connection.execute(_MOVE, parameters).rowcount > 0


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
