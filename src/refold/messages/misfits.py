"""What can be written as JSON, and should not be in a log for ever: a moment without a time zone, which every reader
would guess differently; a moment or a number that no column of a read model can hold; a value that is read back as
another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect

__all__ = [
    "FIRST_MOMENT",
    "LAST_MOMENT",
    "misfit_decimal_in",
    "misfit_moment_in",
    "misfit_number_in",
    "refuse_what_json_changes",
    "why_no_column_holds",
]

FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
"""What can be said in UTC, as rows have it: in a zone east or west of it a few hours more can be written."""
_MANY_DIGITS = re.compile(rb"[0-9]{19}")
_DIGITS_BEFORE_THE_POINT = 131_072
_DIGITS_AFTER_THE_POINT = 16_383
"""Of a `numeric` in Postgres."""


def misfit_number_in(message: msgspec.Struct, encoded: bytes) -> tuple[str, str] | None:
    """The first field of a message with a number that no column holds, and why; `encoded` is its JSON, in which it is
    quickly seen that there is none.
    """
    if not _is_suspect(encoded):
        return None
    return _misfit_in(message, lambda value: bool(why_no_column_holds(value)))


def misfit_decimal_in(message: msgspec.Struct, encoded: bytes) -> tuple[str, str] | None:
    """The same for decimals alone: what is only asked may have whole numbers of any size."""
    if not _is_suspect(encoded):
        return None
    return _misfit_in(message, lambda value: isinstance(value, Decimal) and bool(why_no_column_holds(value)))


def why_no_column_holds(value: Any) -> str:
    """Why no column of a read model can hold a number; nothing for one that it can, and for anything else."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            return f"is {value}, not a finite number"
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)  # of a finite number
        if (value and value.adjusted() >= _DIGITS_BEFORE_THE_POINT) or -exponent > _DIGITS_AFTER_THE_POINT:
            return "has more digits than a column holds: 131,072 before the point, and 16,383 after it"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is a whole number beyond 64 bits, which no column holds; use a Decimal"
    return ""


def misfit_moment_in(cls: type[msgspec.Struct]) -> Callable[[msgspec.Struct], tuple[str, str] | None] | None:
    """A function that names the first field of a message in which a datetime has no time zone, or is one that cannot be
    said in UTC, and why; None for a class that has no datetimes. Whoever wants naive ones
    (`Annotated[datetime, msgspec.Meta(tz=False)]`) gets them.
    """
    zones = _zones(inspect.type_info(cls), set())
    if zones <= {False}:
        return None
    naive_too = None not in zones or False in zones

    def found(message: msgspec.Struct) -> tuple[str, str] | None:
        misfit = _first(message, "", lambda value: bool(_why_no_moment(value, naive_too=naive_too)))
        return None if misfit is None else (misfit[0], _why_no_moment(misfit[1], naive_too=naive_too))

    return found


def refuse_what_json_changes(value: Any) -> None:
    """Raises `ValueError` for what would silently be read back as something else: a number that JSON has no word for
    becomes null, and a time zone's seconds are cut off, which makes it another moment.
    """
    found = _first(value, "", _changed)
    if found is None:
        return
    path, misfit = found
    where = f"{path}: " if path else ""
    if isinstance(misfit, datetime):
        raise ValueError(
            f"{where}the time zone of {misfit.isoformat()} has seconds, which JSON's dates have no place for"
        )
    raise ValueError(f"{where}JSON has no word for the number {misfit}")


def _zones(info: Any, seen: set[type]) -> set[bool | None]:
    """What is said of time zones wherever the type has datetimes."""
    match info:
        case inspect.DateTimeType():
            return {info.tz}
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
            if info.cls in seen:
                return set()
            seen.add(info.cls)
            parts = [field.type for field in info.fields]
        case inspect.UnionType():
            parts = list(info.types)
        case inspect.TupleType():
            parts = list(info.item_types)
        case inspect.DictType():
            parts = [info.key_type, info.value_type]
        case inspect.CollectionType():
            parts = [info.item_type]
        case inspect.Metadata():
            parts = [info.type]
        case _:
            return set()
    return set().union(*(_zones(part, seen) for part in parts))


def _why_no_moment(value: Any, *, naive_too: bool) -> str:
    if not isinstance(value, datetime):
        return ""
    if value.tzinfo is None:
        return "" if naive_too else "has no time zone; give one, as in datetime(…, tzinfo=UTC)"
    return "" if FIRST_MOMENT <= value <= LAST_MOMENT else "is not within the years 1 to 9999 in UTC"


def _changed(value: Any) -> bool:
    if isinstance(value, datetime):
        offset = value.utcoffset()
        return offset is not None and bool(offset.seconds % 60 + offset.microseconds)
    return isinstance(value, float) and not math.isfinite(value)


def _is_suspect(encoded: bytes) -> bool:
    # Four plain searches cost less than one regular expression with alternatives: this is done with every event.
    return (
        b"NaN" in encoded
        or b"Infinity" in encoded
        or b"E+" in encoded
        or b"E-" in encoded
        or _MANY_DIGITS.search(encoded) is not None
    )


def _misfit_in(message: msgspec.Struct, misfit: Callable[[Any], bool]) -> tuple[str, str] | None:
    found = _first(message, "", misfit)
    return None if found is None else (found[0], why_no_column_holds(found[1]))


def _first(value: Any, path: str, misfit: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """The first misfit in a value, and where it stands, as `lines[2].amount`."""
    if misfit(value):
        return path, value
    if isinstance(value, msgspec.Struct):
        inside = [(f"{path}.{name}".lstrip("."), getattr(value, name)) for name in value.__struct_fields__]
    elif isinstance(value, Mapping):
        inside = [(f"{path}[{key!r}]", each) for key, value_of in value.items() for each in (key, value_of)]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inside = [(f"{path}[{number}]", each) for number, each in enumerate(value)]
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        inside = [(f"{path}.{name}".lstrip("."), getattr(value, name)) for name in value.__dataclass_fields__]
    else:
        return None
    return next((found for name, each in inside if (found := _first(each, name, misfit)) is not None), None)
