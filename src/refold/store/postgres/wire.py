"""Values in Postgres' binary format, made by hand: a thousand events become a dozen parameters in two milliseconds."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from psycopg.postgres import types

__all__ = [
    "Parameter",
    "bigint",
    "bigints",
    "boolean",
    "bytea",
    "documents_or_null",
    "integer",
    "integers",
    "read_bigints",
    "smallint",
    "smallints",
    "text",
    "texts",
    "texts_or_null",
    "uuid",
    "uuids",
    "uuids_or_null",
    "varchar",
    "varchars",
]

Parameter = tuple[int, bytes | None]
"""A parameter's type (oid) and its value in binary."""


def _oid(name: str) -> int:
    return types[name].oid


def _array_oid(name: str) -> int:
    return types[name].array_oid


_BOOL, _INT2, _INT4, _INT8 = _oid("bool"), _oid("int2"), _oid("int4"), _oid("int8")
_TEXT, _VARCHAR, _UUID, _BYTEA, _JSONB = _oid("text"), _oid("varchar"), _oid("uuid"), _oid("bytea"), _oid("jsonb")
_ARRAYS = {
    oid: _array_oid(name)
    for name, oid in (
        ("int2", _INT2),
        ("int4", _INT4),
        ("int8", _INT8),
        ("text", _TEXT),
        ("varchar", _VARCHAR),
        ("uuid", _UUID),
        ("jsonb", _JSONB),
    )
}
_NULL = b"\xff\xff\xff\xff"
_LENGTHS = [length.to_bytes(4, "big") for length in range(4096)]


def boolean(value: bool) -> Parameter:
    """A boolean."""
    return (_BOOL, b"\x01" if value else b"\x00")


def integer(value: int) -> Parameter:
    """A 4-byte integer."""
    return (_INT4, value.to_bytes(4, "big", signed=True))


def smallint(value: int) -> Parameter:
    """A 2-byte integer."""
    return (_INT2, value.to_bytes(2, "big", signed=True))


def bigint(value: int | None) -> Parameter:
    """An 8-byte integer."""
    return (_INT8, None if value is None else value.to_bytes(8, "big", signed=True))


def text(value: str | None) -> Parameter:
    """A text."""
    return (_TEXT, None if value is None else value.encode())


def varchar(value: bytes) -> Parameter:
    """A text that is UTF-8 already."""
    return (_VARCHAR, value)


def bytea(value: bytes) -> Parameter:
    """Bytes."""
    return (_BYTEA, value)


def uuid(value: bytes) -> Parameter:
    """A UUID, from its 16 bytes."""
    return (_UUID, value)


@lru_cache(maxsize=512)
def _header(element: int, count: int, with_nulls: bool) -> bytes:
    fields = (1, int(with_nulls), element, count, 1) if count else (0, 0, element)
    return b"".join([field.to_bytes(4, "big") for field in fields])


@lru_cache(maxsize=512)
def _layout(code: str, count: int) -> struct.Struct:
    return struct.Struct(">" + f"i{code}" * count)


def _fixed(element: int, code: str, size: int, values: Sequence[int]) -> Parameter:
    # Each element is its length and its value.
    count = len(values)
    fields = [size] * (2 * count)
    fields[1::2] = values
    return (_ARRAYS[element], _header(element, count, False) + _layout(code, count).pack(*fields))


def smallints(values: Sequence[int]) -> Parameter:
    """An array of 2-byte integers."""
    return _fixed(_INT2, "h", 2, values)


def integers(values: Sequence[int]) -> Parameter:
    """An array of 4-byte integers."""
    return _fixed(_INT4, "i", 4, values)


def bigints(values: Sequence[int | None]) -> Parameter:
    """An array of 8-byte integers; None is NULL."""
    if None in values:
        return (_ARRAYS[_INT8], _header(_INT8, len(values), True) + b"".join([_int8(value) for value in values]))
    return _fixed(_INT8, "q", 8, values)  # type: ignore[arg-type]  # no None is among them


def _int8(value: int | None) -> bytes:
    return _NULL if value is None else _LENGTHS[8] + value.to_bytes(8, "big", signed=True)


def _variable(element: int, values: Iterable[bytes], count: int) -> Parameter:
    parts = [_header(element, count, False)]
    for value in values:
        length = len(value)
        parts.append(_LENGTHS[length] if length < 4096 else length.to_bytes(4, "big"))
        parts.append(value)
    return (_ARRAYS[element], b"".join(parts))


def texts(values: Sequence[str]) -> Parameter:
    """An array of texts."""
    return _variable(_TEXT, map(str.encode, values), len(values))


def texts_or_null(values: Sequence[str | None]) -> Parameter:
    """An array of texts; None is NULL. NULL altogether when all of them are None."""
    return _nullable(_TEXT, [None if value is None else value.encode() for value in values])


def documents_or_null(values: Sequence[bytes | None]) -> Parameter:
    """An array of JSON documents (jsonb); None is NULL. NULL altogether when all of them are None."""
    return _nullable(_JSONB, [None if value is None else b"\x01" + value for value in values])


def _nullable(element: int, values: Sequence[bytes | None]) -> Parameter:
    if values.count(None) == len(values):
        return (_ARRAYS[element], None)
    parts = [_NULL if value is None else len(value).to_bytes(4, "big") + value for value in values]
    return (_ARRAYS[element], _header(element, len(values), True) + b"".join(parts))


def varchars(values: Sequence[bytes]) -> Parameter:
    """An array of texts that are UTF-8 already."""
    return _variable(_VARCHAR, values, len(values))


def uuids(values: Sequence[bytes]) -> Parameter:
    """An array of UUIDs, from their 16 bytes."""
    return _variable(_UUID, values, len(values))


def uuids_or_null(values: Sequence[bytes | None]) -> Parameter:
    """An array of UUIDs; None is NULL. NULL altogether when all of them are None."""
    return _nullable(_UUID, values)


def read_bigints(value: bytes) -> list[int]:
    """The numbers of an array of 8-byte integers without NULLs, as the server sent it."""
    if len(value) <= 12:
        return []
    count = int.from_bytes(value[12:16], "big")
    return list(_layout("q", count).unpack_from(value, 20)[1::2])
