"""How the rows of one read model travel to Postgres and back, as one JSON text each way, and the statements for it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.columns import DOCUMENT, Kind, column_kinds, refuse_unkeepable, refuse_unkeepable_keys
from refold.projections.documents import document_columns
from refold.projections.tables import create_indexes, table_of

__all__ = ["DIALECT", "NOW", "QUICKLY", "PostgresRows", "create_table", "rows_of"]

DIALECT: Any = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # as SQLAlchemy has it
NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
"""The server's clock, in microseconds."""
QUICKLY = """set_config('synchronous_commit', case when $1::bigint > $4::bigint and $4::bigint > 0 then 'off'
    when current_setting('synchronous_commit') = 'off' then 'local'
    else current_setting('synchronous_commit') end, true)"""
"""Rows can be folded again, so a commit that moves their checkpoint need not be flushed: both are kept or lost
together, and the next move finds out. Nobody would find out where it does not move, as the processes of a rebuild
write, nor where it leaves 0 with all that they wrote.
"""
_AT_ONCE = "jsonb_array_elements($6::text::jsonb) as n (value)"
_ONE_BY_ONE = "(select e.value::jsonb from json_array_elements($6::text::json) as e (value) offset 0) as n (value)"
_LARGE = 64 * 2**20
"""Characters. An array of jsonb has 256 MB at most; a larger page is taken apart first, which is slower."""


class PostgresRows:
    """How the rows of one read model are written and read: each field in a column of its own."""

    def __init__(self, definition: ReadModelDefinition, table: str, checkpoints: str) -> None:
        self.definition = definition
        self.kinds = column_kinds(definition)
        self.table = table_of(definition, table, "postgresql")
        self._names = dict(zip(definition.cls.__struct_fields__, definition.cls.__struct_encode_fields__, strict=True))
        quoted = f'"{table}"'
        columns = [column.name for column in self.table.columns]
        keys = ", ".join(f'"{column}"' for column in definition.key)
        key_record = ", ".join(f'"{column}" {self._json_type(column)}' for column in definition.key)
        same_key = " and ".join(
            f't."{column}" = {self._from_json(column, f"""k."{column}" """)}' for column in definition.key
        )
        names = ", ".join(f'"{column}"' for column in columns)
        others = [column for column in columns if column not in definition.key]
        update = ", ".join(f'"{column}" = excluded."{column}"' for column in others)
        self.as_json = self._as_json()
        self.load = (
            f"select {self.as_json} from json_to_recordset($1::text::json) as k ({key_record}) "
            f"join {quoted} t on {same_key}"
        )
        self.write = (
            f"with quick as (select {QUICKLY}), "
            f"moved as (update {checkpoints} set position = $1, append_id = $2, status = 'running', error = '', "
            f"updated_at = {NOW} where name = $3 and position = $4 and epoch = $5 returning 1), "
            f"deleted as (delete from {quoted} t using json_to_recordset($7::text::json) as k ({key_record}) "
            f"where {same_key} and exists (select from moved)), "
            f"written as (insert into {quoted} ({names}) "
            f"select {self._new()} where exists (select from moved) on conflict ({keys}) "
            + (f"do update set {update}) " if others else "do nothing) ")
            + "select (select count(*) from moved), (select count(*) from quick)"
        )
        self.source = f"{quoted} t"

    def writing(self, rows: str) -> str:
        """The statement that writes rows, which are one JSON text."""
        return self.write

    def asked(self, names: AbstractSet[str]) -> tuple[sa.FromClause, Mapping[str, tuple[Kind, bool]]]:
        """The table as `t`, with at least the columns that a query names, and the kinds of its columns."""
        return self.table.alias("t"), self.kinds

    def _as_json(self) -> str:
        shown = ", ".join(f'{self._to_json(column)} as "{self._names[column]}"' for column in self.kinds)
        return f"(select row_to_json(r) from (select {shown}) r)::varchar"

    def _new(self) -> str:
        """What an insert selects from the rows, which are one text, parameter 6."""
        record = ", ".join(f'"{self._names[column]}" {self._json_type(column)}' for column in self.kinds)
        values = ", ".join(self._from_json(column, f'n."{self._names[column]}"') for column in self.kinds)
        return f"{values} from json_to_recordset($6::text::json) as n ({record})"

    def _json_type(self, column: str) -> str:
        # Without the key's collation, which a table that was made by an earlier release does not have.
        if self.kinds[column][0] in (Kind.BYTES, Kind.TEXT):
            return "text"
        return str(self.table.c[column].type.compile(dialect=DIALECT))

    def _from_json(self, column: str, value: str) -> str:
        return f"decode({value}, 'base64')" if self.kinds[column][0] is Kind.BYTES else value

    def _to_json(self, column: str) -> str:
        value = f't."{column}"'
        match self.kinds[column][0]:
            case Kind.BYTES:
                return f"translate(encode({value}, 'base64'), E'\\n', '')"
            case Kind.MOMENT:
                return f"""to_char({value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
            case Kind.DECIMAL:
                # As text: some readers of a JSON number drop the zeros at its end.
                return f"{value}::text"
            case _:
                return value

    def encoded(self, rows: Sequence[ReadModel]) -> str:
        """Rows as one JSON text. Raises `InvalidQuery` for what no column can keep."""
        refuse_unkeepable(self.definition, rows)
        return msgspec.json.encode(rows).decode()

    def keys(self, keys: Sequence[RowKey]) -> str:
        """Keys as one JSON text."""
        names = self.definition.key
        refuse_unkeepable_keys(self.definition, keys)
        return msgspec.json.encode([dict(zip(names, key, strict=True)) for key in keys]).decode()


class PostgresDocuments(PostgresRows):
    """Each row is one document in a column of its own, beside the columns of its key."""

    def writing(self, rows: str) -> str:
        """See `PostgresRows.writing`."""
        return self.write if len(rows) < _LARGE else self.write.replace(_AT_ONCE, _ONE_BY_ONE)

    def asked(self, names: AbstractSet[str]) -> tuple[sa.FromClause, Mapping[str, tuple[Kind, bool]]]:
        """See `PostgresRows.asked`."""
        return document_columns(self.definition, self.table, names, "postgresql")

    def _as_json(self) -> str:
        return f't."{DOCUMENT}"::varchar'

    def _new(self) -> str:
        keys = []
        for column in self.definition.key:
            name = self._names[column].replace("'", "''")
            keys.append(self._from_json(column, f"(n.value ->> '{name}')::{self._json_type(column)}"))
        return f"{', '.join(keys)}, n.value from {_AT_ONCE}"


def rows_of(definition: ReadModelDefinition, table: str, checkpoints: str) -> PostgresRows:
    """How the rows of a read model are kept in a table."""
    return (PostgresDocuments if definition.documents else PostgresRows)(definition, table, checkpoints)


def create_table(definition: ReadModelDefinition, table: str) -> str:
    """The statements that make a read model's table, and its indexes."""
    # A constraint keeps its name when its table is renamed, so each table's has a name of its own.
    shape = table_of(definition, table, "postgresql", f"{definition.name}_{secrets.token_hex(4)}_pkey")
    return ";\n".join(
        [str(CreateTable(shape).compile(dialect=DIALECT)), *create_indexes(definition, table, "postgresql")]
    )
