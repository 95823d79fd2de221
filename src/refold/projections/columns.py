"""The columns of a read model: what kind each is, and which values none can keep."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import math
import types
import typing
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from refold.errors import DefinitionError, InvalidQuery
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.misfits import FIRST_MOMENT, LAST_MOMENT, why_no_column_holds

__all__ = ["DOCUMENT", "Kind", "column_kinds", "kind_of", "refuse_unkeepable", "refuse_unkeepable_keys", "refuse_value"]

DOCUMENT = "document"
"""The column of rows that are documents."""


class Kind(enum.Enum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"
    MOMENT = "moment"
    DATE = "date"
    UUID = "uuid"
    BYTES = "bytes"
    JSON = "json"


_KINDS: dict[Any, Kind] = {
    str: Kind.TEXT,
    bool: Kind.BOOLEAN,
    int: Kind.INTEGER,
    float: Kind.FLOAT,
    decimal.Decimal: Kind.DECIMAL,
    datetime.datetime: Kind.MOMENT,
    datetime.date: Kind.DATE,
    uuid.UUID: Kind.UUID,
    bytes: Kind.BYTES,
}


def column_kinds(definition: ReadModelDefinition) -> Mapping[str, tuple[Kind, bool]]:
    """For each field its kind, and whether it may be missing (None). Raises `DefinitionError` for a key or index that
    cannot be one.
    """
    return _column_kinds(definition.cls, definition.key, definition.documents, definition.indexes)


@functools.lru_cache(maxsize=10_000)
def _column_kinds(
    cls: type[ReadModel], key: tuple[str, ...], documents: bool, indexes: tuple[tuple[str, ...], ...]
) -> Mapping[str, tuple[Kind, bool]]:
    # Kept, because it is asked for with every read, and annotations take longer to evaluate than a row to be read.
    config = cls.__struct_config__
    if config.omit_defaults or config.array_like or config.tag is not None:
        raise DefinitionError(
            f"{cls.__qualname__}: a read model has no omit_defaults, array_like or tag; its rows are columns"
        )
    kinds = {each.name: _kind(each.type) for each in msgspec.structs.fields(cls)}
    if documents and DOCUMENT in key:
        raise DefinitionError(
            f"{cls.__qualname__}: its rows are documents, which are in a column named {DOCUMENT!r}; name the key field "
            "otherwise"
        )
    for name in key:
        if kinds[name][1] or kinds[name][0] in (Kind.JSON, Kind.FLOAT, Kind.DECIMAL):
            raise DefinitionError(
                f"{cls.__qualname__}: key field {name!r} must be text, a whole number, a date, a UUID or "
                "the like, and always there"
            )
    for name in (name for each in indexes for name in each):
        if kinds[name][0] in (Kind.JSON, Kind.BYTES):
            raise DefinitionError(f"{cls.__qualname__}: indexes= names {name!r}, which is neither sorted nor found by")
    return types.MappingProxyType(kinds)


def kind_of(annotation: Any) -> Kind:
    """What a column of a type holds."""
    return _kind(annotation)[0]


def _kind(annotation: Any) -> tuple[Kind, bool]:
    if isinstance(annotation, typing.NewType):
        return _kind(annotation.__supertype__)
    if annotation is Any:
        return Kind.JSON, True
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _kind(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        optional = len(parts) < len(typing.get_args(annotation))
        return (_kind(parts[0])[0] if len(parts) == 1 else Kind.JSON), optional
    if origin is typing.Literal:
        return (Kind.TEXT if all(isinstance(each, str) for each in typing.get_args(annotation)) else Kind.JSON), False
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = [member.value for member in annotation]
        text, whole = all(isinstance(each, str) for each in values), all(type(each) is int for each in values)
        return (Kind.TEXT if text else Kind.INTEGER if whole else Kind.JSON), False
    return _KINDS.get(annotation, Kind.JSON), False


def refuse_unkeepable(definition: ReadModelDefinition, rows: Iterable[ReadModel]) -> None:
    """Raises `InvalidQuery` for a value that no column can keep: a moment without a zone, a float that is no number."""
    kinds = column_kinds(definition)
    checked = (Kind.MOMENT, Kind.FLOAT, Kind.DECIMAL)
    for name in (column for column, (kind, _) in kinds.items() if kind in checked):
        for row in rows:
            refuse_value(definition, name, getattr(row, name))


def refuse_unkeepable_keys(definition: ReadModelDefinition, keys: Iterable[RowKey]) -> None:
    """The same for keys."""
    for number, name in enumerate(definition.key):
        if column_kinds(definition)[name][0] is Kind.MOMENT:
            for key in keys:
                refuse_value(definition, name, key[number])


def refuse_value(definition: ReadModelDefinition, name: str, value: Any) -> None:
    """The same for one value of a field, and for whatever no column can even be compared with."""
    why = ""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            why = "which has no time zone, so it names no moment; give one (tzinfo=UTC)"
        elif not FIRST_MOMENT <= value <= LAST_MOMENT:
            why = "which is not within the years 1 to 9999 in UTC"
    elif (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, decimal.Decimal) and not value.is_finite()
    ):
        why = "not a finite number; keep None for what is not known"
    elif isinstance(value, decimal.Decimal):
        why = why_no_column_holds(value)
        why = why and f"which {why}"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        why = "which is no whole number of 64 bits"
    elif isinstance(value, str) and ("\x00" in value or not _is_unicode(value)):
        why = "which holds a NUL or half a character"
    if why:
        raise InvalidQuery(f"{definition.cls.__qualname__}.{name} is {value!r}, {why}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
