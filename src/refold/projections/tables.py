"""The SQL table of a read model: real columns of real types, made from its class."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from refold.folds.read_model import ReadModelDefinition
from refold.projections.columns import DOCUMENT, Kind, column_kinds
from refold.projections.conditions import All, Any_, Comparison, Condition, Not, Order

__all__ = ["condition_sql", "create_indexes", "order_sql", "sqlite_moment", "table_of", "text_of"]

_POSTGRES: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.TEXT: sa.Text(),
    Kind.INTEGER: sa.BigInteger(),
    Kind.FLOAT: sa.Double(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.DECIMAL: sa.Numeric(),
    Kind.MOMENT: sa.DateTime(timezone=True),
    Kind.DATE: sa.Date(),
    Kind.UUID: sa.Uuid(),
    Kind.BYTES: sa.LargeBinary(),
    Kind.JSON: JSONB(),
}
_SORTED_TEXT = sa.Text(collation="C")
# SQLite has no exact decimals: text keeps every digit, and a collation of Refold's own compares them as numbers.
_SQLITE: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.TEXT: sa.Text(),
    Kind.INTEGER: sa.Integer(),
    Kind.FLOAT: sa.REAL(),
    Kind.BOOLEAN: sa.Integer(),
    Kind.DECIMAL: sa.Text(),
    Kind.MOMENT: sa.Text(),
    Kind.DATE: sa.Text(),
    Kind.UUID: sa.Text(),
    Kind.BYTES: sa.LargeBinary(),
    Kind.JSON: sa.Text(),
}


def table_of(definition: ReadModelDefinition, name: str, dialect: str, constraint: str = "") -> sa.Table:
    """The table, by that name. `constraint` names its primary key."""
    engine = _POSTGRES if dialect == "postgresql" else _SQLITE
    indexed = {*definition.key, *(name for each in definition.indexes for name in each)}
    columns = [
        sa.Column(
            column, _type(engine, kind, column in indexed), nullable=optional, primary_key=key, autoincrement=False
        )
        for column, (kind, optional) in column_kinds(definition).items()
        if (key := column in definition.key) or not definition.documents
    ]
    if definition.documents:
        columns.append(sa.Column(DOCUMENT, engine[Kind.JSON], nullable=False))
    table = sa.Table(name, sa.MetaData(), *columns)
    if constraint:
        table.primary_key.name = constraint
    return table


def _type(engine: Mapping[Kind, sa.types.TypeEngine[Any]], kind: Kind, indexed: bool) -> sa.types.TypeEngine[Any]:
    # Rows are sorted by code points, whatever the database's language is: so an index must be.
    return _SORTED_TEXT if engine is _POSTGRES and kind is Kind.TEXT and indexed else engine[kind]


def create_indexes(definition: ReadModelDefinition, table: str, dialect: str) -> list[str]:
    """The statements that make the indexes which the read model declares, each by a name that was never given: it stays
    when its table is renamed.
    """
    kinds = column_kinds(definition)
    statements = []
    for each in definition.indexes:
        if dialect == "sqlite" and any(kinds[column][0] is Kind.DECIMAL for column in each):
            # By a collation of ours, without which no other program could vacuum the file, or write to the table.
            continue
        name = f'"{definition.name}_{secrets.token_hex(4)}_idx"'
        columns = ", ".join(f'"{column}"' for column in each)
        statements.append(f'create index {name} on "{table}" ({columns})')
    return statements


def condition_sql(
    table: sa.FromClause, kinds: Mapping[str, tuple[Kind, bool]], condition: Condition, dialect: str
) -> Any:
    """A condition as SQLAlchemy has it."""
    if isinstance(condition, All):
        return sa.and_(*(condition_sql(table, kinds, part, dialect) for part in condition.parts))
    if isinstance(condition, Any_):
        return sa.or_(*(condition_sql(table, kinds, part, dialect) for part in condition.parts))
    if isinstance(condition, Not):
        # SQL's third truth value is not negated; a row without the value fulfils neither a condition nor, in SQL, its
        # opposite. Here "not" means "does not hold", as it does in Python.
        return sa.not_(sa.func.coalesce(condition_sql(table, kinds, condition.part, dialect), sa.false()))
    assert isinstance(condition, Comparison)
    kind = kinds[condition.name][0]
    column: Any = _sortable(table.c[condition.name], kind, dialect)
    value = condition.value
    match condition.operator:
        case "is_none":
            return table.c[condition.name].is_(None) if value else table.c[condition.name].is_not(None)
        case "in" if dialect == "postgresql" and kind is not Kind.BYTES:
            return column == sa.any_(_array(value, kind))
        case "in":
            return column.in_([_bound(each, kind, dialect) for each in value])
        case "starts_with" if (behind := _behind_all_with(value)) is not None:
            # By code points, what begins alike stands together: an index finds it.
            return sa.and_(
                column.op(">=", is_comparison=True)(_bound(value, Kind.TEXT, dialect)),
                column.op("<", is_comparison=True)(_bound(behind, Kind.TEXT, dialect)),
            )
        case "starts_with":
            beginning = sa.func.substr(
                table.c[condition.name], sa.literal_column("1"), sa.literal_column(str(len(value)))
            )
            return beginning == _bound(value, Kind.TEXT, dialect)
        case "contains":
            position = sa.func.strpos if dialect == "postgresql" else sa.func.instr
            return position(table.c[condition.name], _bound(value, Kind.TEXT, dialect)) > sa.literal_column("0")
        case operator:
            return column.op(operator, is_comparison=True)(_bound(value, kind, dialect))


def _behind_all_with(beginning: str) -> str | None:
    """The first text, by code points, behind all that begin so; None: there is none."""
    kept = beginning.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    # No text has surrogates.
    return kept[:-1] + chr(0xE000 if 0xD800 <= following < 0xE000 else following)


def _sortable(column: Any, kind: Kind, dialect: str) -> Any:
    if dialect == "sqlite" and kind is Kind.DECIMAL:
        return sa.collate(column, "refold_decimal")
    if dialect == "postgresql" and kind is Kind.TEXT:
        # By code points, as SQLite and Python compare, whatever the database's language is.
        return sa.collate(column, "C")
    return column


def _bound(value: Any, kind: Kind, dialect: str) -> Any:
    if dialect == "postgresql":
        # Everything goes as text and is cast there, so that no driver decides what type a value has.
        text = sa.literal(text_of(value, kind), sa.Text())
        if kind is Kind.BYTES:
            return sa.func.decode(sa.cast(text, sa.Text()), sa.literal_column("'base64'"))
        return sa.cast(sa.cast(text, sa.Text()), _POSTGRES[kind])
    plain = msgspec.to_builtins(value)
    if kind is Kind.JSON:
        return msgspec.json.encode(plain).decode()
    if kind is Kind.BYTES:
        return value
    return sqlite_moment(value) if kind is Kind.MOMENT else int(plain) if kind is Kind.BOOLEAN else plain


def _array(values: Iterable[Any], kind: Kind) -> Any:
    """All values as one parameter: thousands of them, each with a cast of its own, would hold up the event loop."""
    quoted = (text_of(each, kind).replace("\\", "\\\\").replace('"', '\\"') for each in values)
    text = sa.literal("{" + ",".join(f'"{each}"' for each in quoted) + "}", sa.Text())
    return sa.cast(sa.cast(text, sa.Text()), ARRAY(_POSTGRES[kind]))


def text_of(value: Any, kind: Kind) -> str:
    """A value as the text that Postgres reads it from."""
    plain = msgspec.to_builtins(value)
    if kind is Kind.JSON:
        return msgspec.json.encode(plain).decode()
    return str(plain).lower() if kind is Kind.BOOLEAN else str(plain)


def sqlite_moment(value: datetime.datetime) -> str:
    """A moment as SQLite keeps it: in UTC, always with microseconds, so that texts sort as moments do."""
    return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def order_sql(table: sa.FromClause, kinds: Mapping[str, tuple[Kind, bool]], order: Order, dialect: str) -> Any:
    """A field to sort by, with missing values last."""
    kind, optional = kinds[order.name]
    column = _sortable(table.c[order.name], kind, dialect)
    sorted_by = column.desc() if order.descending else column.asc()
    # An index has its rows in one order of the two; where nothing is missing, saying which would only hide it.
    return sorted_by.nulls_last() if optional else sorted_by
