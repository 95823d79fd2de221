"""How the rows of one read model become values of SQLite's and back, and the statements for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.columns import Kind, column_kinds
from refold.projections.sink import unreadable
from refold.projections.tables import sqlite_moment, table_of

__all__ = ["SqliteRows", "to_sql"]


class SqliteRows:
    """How the rows of one read model are written and read."""

    def __init__(self, definition: ReadModelDefinition, table: str) -> None:
        self.definition = definition
        self.kinds = column_kinds(definition)
        self.name = f'"{table}"'
        self.table = table_of(definition, table, "sqlite")
        # Columns bear the fields' own names, but a row is made from those that the class gives them in JSON.
        self._read_as = [
            (field.encode_name, self.kinds[field.name][0]) for field in msgspec.structs.fields(definition.cls)
        ]
        columns = ", ".join(f'"{column}"' for column in self.kinds)
        others = [column for column in self.kinds if column not in definition.key]
        update = ", ".join(f'"{column}" = excluded."{column}"' for column in others)
        self.keys = ", ".join(f'"{column}"' for column in definition.key)
        self.select = f"select {columns} from {self.name}"
        self.upsert = (
            f"insert into {self.name} ({columns}) values ({', '.join('?' * len(self.kinds))}) "
            f"on conflict ({self.keys}) " + (f"do update set {update}" if others else "do nothing")
        )
        matches = " and ".join(f'"{column}" = ?' for column in definition.key)
        self.delete = f"delete from {self.name} where {matches}"

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
