"""How a read model's rows become columns of Parquet, and come back."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NoReturn

import msgspec

from refold.errors import InvalidQuery, MissingExtra
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.columns import Kind, column_kinds, refuse_unkeepable, refuse_value
from refold.projections.sink import unreadable

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as missing:
    raise MissingExtra(
        f'read models in Parquet need pyarrow ({missing}); install it with: pip install "refold[parquet]"'
    ) from missing

__all__ = ["DELETED", "KEY", "PAGE", "ParquetRow"]

KEY, PAGE, DELETED = "_refold_key", "_refold_page", "_refold_deleted"
_LARGEST = 64 * 2**20
_TYPES = {
    Kind.INTEGER: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.MOMENT: pa.timestamp("us", tz="UTC"),
    Kind.DATE: pa.date32(),
    Kind.BYTES: pa.binary(),
}
"""All other kinds are text: decimals with every digit, UUIDs, JSON."""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_FIRST = (datetime.datetime(1, 1, 1, tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
_json = msgspec.json.Encoder().encode


class ParquetRow:
    """Rows of one definition, to tables of Arrow and back. A column has the field's own name."""

    def __init__(self, definition: ReadModelDefinition) -> None:
        self.definition = definition
        self._kinds = column_kinds(definition)
        self._fields = [
            (each.name, each.encode_name, self._kinds[each.name][0], _to_column(self._kinds[each.name][0], each.type))
            for each in msgspec.structs.fields(definition.cls)
        ]
        self._one_text = len(definition.key) == 1 and self._kinds[definition.key[0]][0] is Kind.TEXT
        plain = self._one_text and _to_column(Kind.TEXT, _type_of(definition)) is None
        self._plain_key = attrgetter(definition.key[0]) if plain else None
        self.schema = pa.schema(
            [(KEY, pa.string()), (PAGE, pa.int64()), (DELETED, pa.bool_())]
            + [(name, _TYPES.get(kind, pa.string())) for name, _, kind, _ in self._fields]
        )

    def key(self, key: RowKey) -> str:
        """What stands in the column of keys: the key itself when it is one text, else JSON of its values."""
        if self._one_text:
            return str(msgspec.to_builtins(key[0]))
        return _json(list(key)).decode()

    def table(self, rows: Sequence[ReadModel], deleted: Sequence[RowKey], page: int) -> pa.Table:
        """A page's rows and deletions, sorted by key. Raises `InvalidQuery` for what no column can keep."""
        if self._plain_key is None:
            keys = [self.key(self.definition.key_of(row)) for row in rows]
        else:
            keys = list(map(self._plain_key, rows))
        gone = [self.key(key) for key in deleted]
        try:
            of_keys = pa.array([*keys, *gone], pa.string())
            columns = [
                of_keys,
                pa.repeat(pa.scalar(page, pa.int64()), len(keys) + len(gone)),
                pa.concat_arrays([pa.repeat(False, len(keys)), pa.repeat(True, len(gone))]),
            ]
            for name, _, kind, convert in self._fields:
                if self._plain_key is not None and name == self.definition.key[0]:
                    columns.append(of_keys)
                    continue
                values = list(map(attrgetter(name), rows))
                # Of a deleted row there is the key.
                at = self.definition.key.index(name) if name in self.definition.key else None
                values += [None if at is None else key[at] for key in deleted]
                if convert is not None:
                    values = [None if value is None else convert(value) for value in values]
                column = pa.array(values, _TYPES.get(kind, pa.string()))
                if _is_doubtful(column, kind):
                    refuse_unkeepable(self.definition, rows)
                columns.append(column)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as problem:
            self._refuse(rows, problem)
        table = pa.Table.from_arrays(columns, schema=self.schema)
        self._refuse_large(table, rows)
        order = table.column(KEY).combine_chunks()
        in_order = len(order) < 2 or pc.all(pc.less_equal(order[:-1], order[1:])).as_py()
        return table if in_order else table.sort_by(KEY)

    def rows(self, table: pa.Table, name: str) -> list[ReadModel]:
        """The rows of a table of Arrow; what is deleted must have been left out. Raises `StoreCorrupt`."""
        columns: dict[str, list[Any]] = {}
        try:
            for field, encoded, kind, _ in self._fields:
                column = table.column(field)
                if kind is Kind.MOMENT:
                    found = [
                        None if value is None else _EPOCH + value * _MICROSECOND
                        for value in column.cast(pa.int64()).to_pylist()
                    ]
                else:
                    found = column.to_pylist()
                if kind is Kind.JSON:
                    found = [None if value is None else msgspec.json.decode(value) for value in found]
                columns[encoded] = found
            names = list(columns)
            plain = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            return msgspec.convert(plain, list[self.definition.cls], strict=False)  # type: ignore[name-defined]  # a class at run time
        except (msgspec.MsgspecError, KeyError, pa.ArrowException) as problem:
            raise unreadable(self.definition, name, problem) from problem

    def _refuse(self, rows: Sequence[ReadModel], problem: Exception) -> NoReturn:
        for row in rows:
            for name in self._kinds:
                refuse_value(self.definition, name, getattr(row, name))
        raise InvalidQuery(
            f"a row of {self.definition.cls.__qualname__} cannot be kept in Parquet: {problem}"
        ) from None

    def _refuse_large(self, table: pa.Table, rows: Sequence[ReadModel]) -> None:
        texts = [each.name for each in self.schema if pa.types.is_string(each.type) or pa.types.is_binary(each.type)]
        if sum(table.column(name).nbytes for name in texts) <= _LARGEST:
            return
        sizes: Any = 0
        for name in texts:
            sizes = pc.add(sizes, pc.cast(pc.fill_null(pc.binary_length(table.column(name)), 0), pa.int64()))
        if (pc.max(sizes).as_py() or 0) <= _LARGEST:
            return
        for index, size in enumerate(sizes.to_pylist()):
            if size > _LARGEST:
                key = self.definition.key_of(rows[index])
                raise InvalidQuery(
                    f"the row {key!r} of {self.definition.cls.__qualname__} has {size:,} bytes, and Parquet is to keep "
                    f"{_LARGEST:,} at most; keep less in one row"
                )


_LONG = 10_000
"""Characters of a decimal that certainly has not too many digits."""


def _is_doubtful(column: Any, kind: Kind) -> bool:
    """Whether a value is perhaps none that can be kept: quicker than to look at each by itself."""
    match kind:
        case Kind.FLOAT:
            return not pc.all(pc.is_finite(column), min_count=0).as_py()
        case Kind.DECIMAL:
            # NaN, Infinity, 1E+200000; plain searches take a third of the time of one regular expression.
            if any(pc.any(pc.match_substring(column, sign), min_count=0).as_py() for sign in "NIE"):
                return True
            return (pc.max(pc.binary_length(column)).as_py() or 0) > _LONG
        case Kind.MOMENT:
            ends = pc.min_max(column.cast(pa.int64())).as_py()
            return ends["min"] is not None and (ends["min"] < _FIRST or ends["max"] > _LAST)
        case _:
            return False


def _type_of(definition: ReadModelDefinition) -> Any:
    return next(each.type for each in msgspec.structs.fields(definition.cls) if each.name == definition.key[0])


def _to_column(kind: Kind, annotation: Any) -> Callable[[Any], Any] | None:
    match kind:
        case Kind.JSON:
            return lambda value: _json(value).decode()
        case Kind.DECIMAL | Kind.UUID:
            return str
        case Kind.MOMENT:
            return lambda value: (value - _EPOCH) // _MICROSECOND
        case Kind.TEXT | Kind.INTEGER if annotation not in (str, int, str | None, int | None):
            return msgspec.to_builtins
        case _:
            return None
