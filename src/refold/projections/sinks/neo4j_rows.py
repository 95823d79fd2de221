"""How the rows of one read model become nodes or relationships of Neo4j, and come back."""

from __future__ import annotations

import datetime
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from refold.errors import ConfigurationError, InvalidQuery
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.columns import Kind, column_kinds, refuse_unkeepable, refuse_unkeepable_keys, refuse_value
from refold.projections.conditions import comparable
from refold.projections.sink import unreadable

__all__ = ["Shape", "quoted", "resent", "written"]

_LARGEST = 16 * 2**20
_LONGEST_KEY = 4_000
"""An entry of an index of Neo4j has 8,167 bytes at most."""


class Shape:
    """What the rows of one definition look like in a graph: nodes; or relationships, where two fields of the key say
    between which nodes (`Annotated[str, msgspec.Meta(extra={"node": "Account"})]`), the first to the second.
    """

    def __init__(self, definition: ReadModelDefinition, prefix: str = "") -> None:
        self.definition = definition
        self.kinds = column_kinds(definition)
        cls = definition.cls
        self.names = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
        self.key_names = [self.names[field] for field in definition.key]
        self.ends = _ends(definition, prefix)
        self._columns = [(field, self.names[field], *self.kinds[field]) for field in cls.__struct_fields__]

    @property
    def is_relationship(self) -> bool:
        """Whether rows are relationships."""
        return bool(self.ends)

    def pattern(self, stored_as: str, restricted: str = "") -> str:
        """A pattern of Cypher whose `n` is each row, of a relationship from `start` to `end`; `restricted` is a map of
        properties, as of `keyed`.
        """
        inner = f"n:{quoted(stored_as)} {restricted}".rstrip()
        return f"(start)-[{inner}]->(end)" if self.ends else f"({inner})"

    def keyed(self, value: str) -> str:
        """What restricts a pattern to one key; `value` is a map of properties."""
        return "{" + ", ".join(f"{quoted(name)}: {value}.{quoted(name)}" for name in self.key_names) + "}"

    def key(self, key: RowKey) -> dict[str, Any]:
        """A key as properties."""
        pairs = zip(self.definition.key, self.key_names, key, strict=True)
        return {name: written(self.kinds[field][0], value) for field, name, value in pairs}

    def keys(self, keys: Sequence[RowKey]) -> list[dict[str, Any]]:
        """Keys as properties. Raises `InvalidQuery`."""
        refuse_unkeepable_keys(self.definition, keys)
        return [self.key(key) for key in keys]

    def properties(self, rows: Sequence[ReadModel]) -> list[tuple[dict[str, Any], int]]:
        """Rows as properties, each with its size in characters. Raises `InvalidQuery`."""
        refuse_unkeepable(self.definition, rows)
        return [self._properties(row) for row in rows]

    def _properties(self, row: ReadModel) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        size = 0
        for field, name, kind, _ in self._columns:
            value = getattr(row, field)
            if value is None and kind is not Kind.JSON:
                continue
            if value is msgspec.UNSET:
                self._refuse(row, f".{field} is UNSET, which is no property; keep None for what is not known")
            if value is not None or not self.kinds[field][1]:
                found[name] = value = written(kind, value)
                size += len(value) if isinstance(value, str | bytes) else 8
        if size > _LARGEST // 4:
            self._refuse_size(row, found)
        if len(self._key_text(found)) * 4 > _LONGEST_KEY:
            self._refuse_key(row, found)
        return found, size

    def _key_text(self, found: Mapping[str, Any]) -> str:
        return "".join(str(found[name]) for name in self.key_names)

    def _refuse_key(self, row: ReadModel, found: Mapping[str, Any]) -> None:
        size = len(self._key_text(found).encode(errors="replace"))
        if size > _LONGEST_KEY:
            self._refuse(row, f" has {size:,} bytes in its key, and Neo4j indexes {_LONGEST_KEY:,}; use a shorter key")

    def _refuse_size(self, row: ReadModel, found: Mapping[str, Any]) -> None:
        size = sum(len(each.encode(errors="replace")) if isinstance(each, str) else 8 for each in found.values())
        size += sum(len(each) for each in found.values() if isinstance(each, bytes))
        if size > _LARGEST:
            self._refuse(row, f" has {size:,} bytes, and Neo4j is to keep {_LARGEST:,} at most; keep less in one row")

    def _refuse(self, row: ReadModel, why: str) -> typing.NoReturn:
        key = repr(self.definition.key_of(row))
        raise InvalidQuery(f"the row {key[:80]} of {self.definition.cls.__qualname__}{why}")

    def refuse_half_characters(self, rows: Sequence[ReadModel], keys: Sequence[RowKey]) -> typing.NoReturn:
        """Raises `InvalidQuery` that names the text which cannot be sent."""
        for field, (kind, _) in self.kinds.items():
            for row in rows if kind is Kind.TEXT else ():
                refuse_value(self.definition, field, comparable(getattr(row, field)))
        where = f" in one of the keys {list(keys)!r}"[:200] if keys else ""
        raise InvalidQuery(f"{self.definition.cls.__qualname__} has half a character{where}")

    def row(self, properties: Mapping[str, Any], table: str) -> ReadModel:
        """The row of a node or a relationship. Raises `StoreCorrupt` for what is none of this definition."""
        found: dict[str, Any] = {}
        try:
            for _, name, kind, optional in self._columns:
                value = properties.get(name)
                if value is not None:
                    read = _READ.get(kind)
                    found[name] = value if read is None else read(value)
                elif optional:
                    found[name] = None
                else:
                    raise ValueError(f"it has no {name!r}")
            # Keys of dictionaries were written as text.
            row: ReadModel = msgspec.convert(found, self.definition.cls, str_keys=True)
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as problem:
            raise unreadable(self.definition, table, problem) from problem
        return row


def quoted(name: str) -> str:
    """A name in Cypher."""
    return "`" + name.replace("`", "``") + "`"


def written(kind: Kind, value: Any) -> Any:
    """A value as a property: text, whole numbers, floats, booleans, bytes, dates and moments (in UTC) as they are;
    decimals, UUIDs and numbers of more than 64 bits as text; all else as JSON.
    """
    match kind:
        case Kind.TEXT | Kind.BOOLEAN | Kind.DATE:
            return comparable(value)
        case Kind.INTEGER:
            number = int(comparable(value))
            return number if -(2**63) <= number < 2**63 else str(number)
        case Kind.DECIMAL | Kind.UUID:
            return str(value)
        case Kind.FLOAT:
            return float(value) + 0.0  # Neo4j takes -0.0 for less than 0.0
        case Kind.MOMENT:
            return value.astimezone(datetime.UTC)
        case Kind.BYTES:
            return bytes(value)
        case Kind.JSON:
            return msgspec.json.encode(value).decode()


def resent(value: Any) -> Any:
    """A property that the server gave, as it was written: a moment has no other zone then."""
    native = value.to_native() if hasattr(value, "to_native") else value
    return native.astimezone(datetime.UTC) if isinstance(native, datetime.datetime) else native


_READ: dict[Kind, Callable[[Any], Any]] = {
    Kind.INTEGER: lambda value: int(value) if isinstance(value, str) else value,
    Kind.MOMENT: lambda value: value.to_native(),
    Kind.DATE: lambda value: value.to_native(),
    Kind.BYTES: bytes,
    Kind.JSON: msgspec.json.decode,
}


def _ends(definition: ReadModelDefinition, prefix: str) -> tuple[tuple[str, str], ...]:
    """The properties that name the nodes at both ends, each with the label. Raises `ConfigurationError`."""
    cls = definition.cls
    where = cls.__qualname__
    found: list[tuple[str, str]] = []
    for field in msgspec.structs.fields(cls):
        label = _node_of(field.type)
        if label is None:
            continue
        if field.name not in definition.key:
            raise ConfigurationError(f"{where}.{field.name} names a node, so it must be one of its key fields")
        if not isinstance(label, str) or not re.fullmatch(r"[A-Z][A-Za-z0-9]{0,63}", label):
            raise ConfigurationError(
                f"{where}.{field.name}: the node {label!r} must be letters and digits, a capital letter first"
            )
        if label.startswith("Refold"):
            raise ConfigurationError(f"{where}.{field.name}: nodes {label!r} are Refold's own; name them otherwise")
        found.append((field.encode_name, prefix.capitalize() + label))
    if len(found) not in (0, 2):
        raise ConfigurationError(
            f"{where} names {len(found)} nodes, and a relationship is between two; annotate two key fields, or none"
        )
    in_key = [
        field.encode_name for name in definition.key for field in msgspec.structs.fields(cls) if field.name == name
    ]
    return tuple(sorted(found, key=lambda end: in_key.index(end[0])))


def _node_of(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Annotated:
        for each in typing.get_args(annotation)[1:]:
            if isinstance(each, msgspec.Meta) and each.extra is not None and "node" in each.extra:
                return each.extra["node"]
    return None
