"""How the rows of one read model become values of SQLite's and back, and the statements for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import sqlalchemy as sa

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.columns import DOCUMENT, Kind, column_kinds
from refold.projections.documents import document_columns
from refold.projections.sink import unreadable
from refold.projections.tables import sqlite_moment, table_of

__all__ = ["SqliteRows", "rows_of", "to_sql"]


class SqliteRows:
    """How the rows of one read model are written and read: each field in a column of its own."""

    def __init__(self, definition: ReadModelDefinition, table: str) -> None:
        self.definition = definition
        self.kinds = column_kinds(definition)
        self.name = f'"{table}"'
        self.table = table_of(definition, table, "sqlite")
        # Columns bear the fields' own names, but a row is made from those that the class gives them in JSON.
        self._read_as = [
            (field.encode_name, self.kinds[field.name][0]) for field in msgspec.structs.fields(definition.cls)
        ]
        columns = ", ".join(f'"{column.name}"' for column in self.table.columns)
        others = [column.name for column in self.table.columns if not column.primary_key]
        update = ", ".join(f'"{column}" = excluded."{column}"' for column in others)
        self.keys = ", ".join(f'"{column}"' for column in definition.key)
        self.shown = [column.name for column in self.table.columns]
        self.select = f"select {columns} from {self.name}"
        self.upsert = (
            f"insert into {self.name} ({columns}) values ({', '.join('?' * len(self.table.columns))}) "
            f"on conflict ({self.keys}) " + (f"do update set {update}" if others else "do nothing")
        )
        matches = " and ".join(f'"{column}" = ?' for column in definition.key)
        self.delete = f"delete from {self.name} where {matches}"

    def asked(self, names: AbstractSet[str]) -> tuple[sa.FromClause, Mapping[str, tuple[Kind, bool]]]:
        """What to select from, with at least the columns that a query names, and the kinds of its columns."""
        return self.table, self.kinds

    def values(self, row: ReadModel) -> tuple[Any, ...]:
        """A row's values for the database."""
        return tuple(to_sql(getattr(row, column), kind) for column, (kind, _) in self.kinds.items())

    def key_values(self, key: RowKey) -> tuple[Any, ...]:
        """A key's values for the database."""
        return tuple(to_sql(value, self.kinds[name][0]) for name, value in zip(self.definition.key, key, strict=True))

    def row(self, values: Sequence[Any]) -> ReadModel:
        """A row as the database gave it. Raises `StoreCorrupt`."""
        try:
            plain = {
                name: msgspec.json.decode(value) if kind is Kind.JSON and value is not None else value
                for (name, kind), value in zip(self._read_as, values, strict=True)
            }
            return msgspec.convert(plain, self.definition.cls, strict=False)
        except msgspec.DecodeError as problem:
            raise unreadable(self.definition, self.table.name, problem) from problem


class SqliteDocuments(SqliteRows):
    """Each row is one document in a column of its own, beside the columns of its key."""

    def __init__(self, definition: ReadModelDefinition, table: str) -> None:
        super().__init__(definition, table)
        self.shown = [DOCUMENT]
        self.select = f'select "{DOCUMENT}" from {self.name}'
        self._decode = msgspec.json.Decoder(definition.cls).decode

    def asked(self, names: AbstractSet[str]) -> tuple[sa.FromClause, Mapping[str, tuple[Kind, bool]]]:
        """See `SqliteRows.asked`."""
        return document_columns(self.definition, self.table, names, "sqlite")

    def values(self, row: ReadModel) -> tuple[Any, ...]:
        """A row's values for the database."""
        return (*self.key_values(self.definition.key_of(row)), msgspec.json.encode(row).decode())

    def row(self, values: Sequence[Any]) -> ReadModel:
        """A row as the database gave it. Raises `StoreCorrupt`."""
        try:
            return self._decode(values[0])
        except msgspec.DecodeError as problem:
            raise unreadable(self.definition, self.table.name, problem) from problem


def rows_of(definition: ReadModelDefinition, table: str) -> SqliteRows:
    """How the rows of a read model are kept in a table."""
    return (SqliteDocuments if definition.documents else SqliteRows)(definition, table)


def to_sql(value: Any, kind: Kind) -> Any:
    """A value as SQLite keeps it."""
    if value is None:
        return None
    match kind:
        case Kind.TEXT | Kind.INTEGER | Kind.FLOAT if type(value) in (str, int, float):
            return value
        case Kind.MOMENT:
            return sqlite_moment(value)
        case Kind.BOOLEAN:
            return int(value)
        case Kind.JSON:
            return msgspec.json.encode(value).decode()
        case Kind.BYTES:
            return value
        case _:
            return msgspec.to_builtins(value)
