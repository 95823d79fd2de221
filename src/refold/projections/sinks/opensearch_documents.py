"""How the rows of one read model become documents of OpenSearch, and come back."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from refold.errors import ConfigurationError, InvalidQuery
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.columns import Kind, column_kinds, refuse_unkeepable, refuse_unkeepable_keys, refuse_value
from refold.projections.conditions import comparable
from refold.projections.sink import unreadable

__all__ = ["LONG", "META", "Documents", "Mark", "checkpoint_id", "documents_of", "mark_of", "ordered"]

META = "_refold"
"""The field of each document that is ours."""

LONG = 4_000
"""Texts of more characters are not compared by the server: a term of Lucene has 32,766 bytes at most."""
_INDEXED = 2 * LONG
_DIGITS = 8_000
_LONGEST_ID = 400
_EXPONENTS = 10**19
_HIDDEN = "#"
_OURS = "refold:"


class Mark(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What each document says of itself. `position`: how far it has seen the log. `kind`: `checkpoint` or `deleted`,
    empty for a row. `at`: when it was deleted, in seconds since 1970. `missing`: fields without a value. `long`: fields
    whose text is too long to be compared. `order`: what fields are compared and sorted by, where that is not the value.
    """

    position: int = 0
    kind: str = ""
    at: int = 0
    missing: list[str] = []
    long: list[str] = []
    order: dict[str, str] = {}
    append_id: str = ""
    fingerprint: str = ""
    epoch: int = 0


class Marked(msgspec.Struct):
    """A document of which only the mark is read."""

    mark: Mark = msgspec.field(name=META, default_factory=Mark)


_mark_of = msgspec.json.Decoder(Marked).decode
_MARK_MAPPING = {
    "position": {"type": "long"},
    "kind": {"type": "keyword"},
    "at": {"type": "long"},
    "missing": {"type": "keyword"},
    "long": {"type": "keyword"},
    "append_id": {"type": "keyword", "index": False, "doc_values": False},
    "fingerprint": {"type": "keyword", "index": False, "doc_values": False},
    "epoch": {"type": "long"},
}
_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.INTEGER: {"type": "long"},
    Kind.FLOAT: {"type": "double"},
    Kind.BOOLEAN: {"type": "boolean"},
    # For sums and charts; what compares and sorts is the exact order beside it.
    Kind.DECIMAL: {"type": "double", "ignore_malformed": True},
    Kind.MOMENT: {"type": "date", "format": "strict_date_optional_time", "ignore_malformed": True},
    Kind.DATE: {"type": "date", "format": "strict_date"},
    Kind.UUID: {"type": "keyword"},
    Kind.BYTES: {"type": "binary"},
    Kind.JSON: {"type": "object", "enabled": False},
}
_ORDERED_ASIDE = (Kind.DECIMAL, Kind.MOMENT, Kind.BYTES, Kind.JSON)


class Documents:
    """The documents of one read model."""

    def __init__(self, definition: ReadModelDefinition) -> None:
        self.definition = definition
        self.kinds = column_kinds(definition)
        cls = definition.cls
        self.names = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
        annotations = {each.name: each.type for each in msgspec.structs.fields(cls)}
        self.prose = [name for name in self.kinds if name not in definition.key and _is_prose(annotations[name])]
        self._optional = [name for name, (_, optional) in self.kinds.items() if optional]
        self._texts = [name for name, (kind, _) in self.kinds.items() if kind is Kind.TEXT]
        self._floats = [name for name, (kind, _) in self.kinds.items() if kind is Kind.FLOAT]
        self._whole = [name for name, (kind, _) in self.kinds.items() if kind is Kind.INTEGER]
        self._aside = [(name, kind) for name, (kind, _) in self.kinds.items() if kind in _ORDERED_ASIDE]
        self._decode = msgspec.json.Decoder(cls).decode
        self._strict = cls.__struct_config__.forbid_unknown_fields

    def mapping(self) -> dict[str, Any]:
        """The mapping of an index. Raises `ConfigurationError` for a field whose name a document cannot have."""
        for field, name in self.names.items():
            if name.startswith("_") or "." in name or not name.strip():
                raise ConfigurationError(
                    f"{self.definition.cls.__qualname__}.{field} is called {name!r} in JSON, which a document of "
                    "OpenSearch cannot have; give it a name without dots that does not begin with _"
                )
        order = {self.names[name]: {"type": "keyword"} for name, _ in self._aside}
        columns = {self.names[name]: self._type(name) for name in self.kinds}
        return {
            "dynamic": False,
            "properties": {**columns, META: {"properties": {**_MARK_MAPPING, "order": {"properties": order}}}},
        }

    def _type(self, name: str) -> dict[str, Any]:
        kind = self.kinds[name][0]
        word = {"type": "keyword", "ignore_above": _INDEXED}
        if name in self.prose:
            return {"type": "text", "fields": {"keyword": word}}
        return word if kind is Kind.TEXT else _TYPES[kind]

    def path(self, name: str) -> str:
        """Where the server finds what a field is compared and sorted by."""
        kind = self.kinds[name][0]
        if kind in _ORDERED_ASIDE:
            return f"{META}.order.{self.names[name]}"
        return f"{self.names[name]}.keyword" if name in self.prose else self.names[name]

    def id_of(self, key: RowKey) -> str:
        """The id of a key's document: the key itself where it is one short value."""
        parts = [_id_part(each) for each in key]
        whole = str(parts[0]) if len(parts) == 1 else msgspec.json.encode(parts).decode()
        if whole and not whole.startswith((_HIDDEN, _OURS)) and len(whole.encode()) <= _LONGEST_ID:
            return whole
        return _HIDDEN + hashlib.sha256(whole.encode()).hexdigest()

    def rows(self, rows: Sequence[ReadModel], position: int) -> list[tuple[str, bytes]]:
        """Ids and documents of rows that have seen the log up to a position. Raises `InvalidQuery`."""
        refuse_unkeepable(self.definition, rows)
        return [(self.id_of(self.definition.key_of(row)), self._document(row, position)) for row in rows]

    def tombstones(self, keys: Sequence[RowKey], position: int, at: int) -> list[tuple[str, bytes]]:
        """Ids and documents that say that there is no row any more."""
        refuse_unkeepable_keys(self.definition, keys)
        document = msgspec.json.encode({META: Mark(position=position, kind="deleted", at=at)})
        return [(self.id_of(key), document) for key in keys]

    def _document(self, row: ReadModel, position: int) -> bytes:
        row = self._without_minus_zero(row)
        names, order = self.names, {}
        missing = [names[name] for name in self._optional if getattr(row, name) is None]
        for name, kind in self._aside:
            value = getattr(row, name)
            if value is not None:
                order[names[name]] = self._ordered(row, name, kind, value)
        for name in self._whole:
            value = getattr(row, name)
            if value is not None and not -(2**63) <= value < 2**63:
                self._refuse(row, name, "which is no whole number of 64 bits")
        long = [names[name] for name in self._texts if len(comparable(getattr(row, name)) or "") > LONG]
        mark = Mark(position=position, missing=missing, order=order, long=long)
        try:
            return b'%b,"%b":%b}' % (msgspec.json.encode(row)[:-1], META.encode(), msgspec.json.encode(mark))
        except UnicodeEncodeError:
            for name in self._texts:
                refuse_value(self.definition, name, getattr(row, name))
            key = self.definition.key_of(row)
            raise InvalidQuery(
                f"{self.definition.cls.__qualname__} of the key {key!r} holds half a character"
            ) from None

    def _without_minus_zero(self, row: ReadModel) -> ReadModel:
        """Minus zero is sorted before zero by the server, though they are equal."""
        zeros = {name: 0.0 for name in self._floats if getattr(row, name) == 0}
        return msgspec.structs.replace(row, **zeros) if zeros else row

    def _ordered(self, row: ReadModel, name: str, kind: Kind, value: Any) -> str:
        if kind is Kind.DECIMAL and len(value.as_tuple().digits) > _DIGITS:
            self._refuse(row, name, f"which has more than {_DIGITS:,} digits")
        return ordered(kind, value)

    def _refuse(self, row: ReadModel, name: str, why: str) -> None:
        key, shown = self.definition.key_of(row), repr(getattr(row, name))
        raise InvalidQuery(f"{self.definition.cls.__qualname__}.{name} of the key {key!r} is {shown[:80]}, {why}")

    def row(self, source: msgspec.Raw, table: str) -> ReadModel:
        """A row from its document. Raises `StoreCorrupt`."""
        try:
            if self._strict:
                plain = msgspec.json.decode(source)
                del plain[META]
                return self._decode(msgspec.json.encode(plain))
            return self._decode(source)
        except (msgspec.MsgspecError, KeyError, UnicodeDecodeError) as problem:
            raise unreadable(self.definition, table, problem) from problem


def mark_of(source: msgspec.Raw) -> Mark:
    """What a document says of itself; of a document that is not ours, a mark without anything."""
    try:
        return _mark_of(source).mark
    except msgspec.MsgspecError:
        return Mark()


def checkpoint_id(suffix: str) -> str:
    """The id of a checkpoint's document; `suffix` is what a shard's name has behind the table's."""
    return f"{_OURS}checkpoint{suffix}"


def documents_of(definition: ReadModelDefinition, _known: dict[type, Documents] = {}) -> Documents:  # noqa: B006  # a cache
    """The documents of a read model."""
    found = _known.get(definition.cls)
    if found is None:
        found = _known[definition.cls] = Documents(definition)
    return found


def ordered(kind: Kind, value: Any) -> str:
    """A text that is equal, and sorts, as the value does."""
    match kind:
        case Kind.DECIMAL:
            return _decimal_order(value)
        case Kind.MOMENT:
            return _moment_order(value)
        case _:
            plain = _canonical(msgspec.to_builtins(value, str_keys=True))
            return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def _moment_order(value: datetime.datetime) -> str:
    return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")


_NINES = str.maketrans("0123456789", "9876543210")


def _decimal_order(value: decimal.Decimal) -> str:
    """Sign, exponent and digits, of a negative number each turned round, so that texts sort as the numbers do."""
    if not value:
        return "1"
    digits = "".join(map(str, value.as_tuple().digits)).lstrip("0").rstrip("0")
    size = f"{value.adjusted() + _EXPONENTS:020d}"
    if value > 0:
        return f"2{size}{digits}"
    return f"0{(size + digits).translate(_NINES)}~"


def _canonical(value: Any) -> Any:
    """1.0 is 1, as Python and the databases compare them."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, Mapping):
        return {name: _canonical(each) for name, each in value.items()}
    return [_canonical(each) for each in value] if isinstance(value, list | tuple) else value


def _id_part(value: Any) -> Any:
    # Equal moments are one key, whatever their zones are.
    return _moment_order(value) if isinstance(value, datetime.datetime) else msgspec.to_builtins(value)


def _is_prose(annotation: Any) -> bool:
    """Whether a field holds text that people search in, alone or in a list; not an enumeration."""
    if isinstance(annotation, typing.NewType):
        return _is_prose(annotation.__supertype__)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _is_prose(parts[0])
    if origin in (typing.Union, types.UnionType):
        rest = [part for part in parts if part is not types.NoneType]
        return len(rest) == 1 and _is_prose(rest[0])
    if origin in (list, set, frozenset, Sequence, Iterable) or (origin is tuple and parts[1:] == (...,)):
        return parts[0] is str
    return annotation is str
