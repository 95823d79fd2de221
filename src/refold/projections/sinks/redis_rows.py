"""How a row is written in Redis: a hash with one field a column, readable with redis-cli."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from refold.errors import InvalidQuery
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.columns import Kind, column_kinds
from refold.projections.sink import unreadable

__all__ = ["RedisRow"]

_PLAIN = (Kind.TEXT, Kind.DECIMAL, Kind.MOMENT, Kind.DATE, Kind.UUID)
_LARGEST = 64 * 2**20


class RedisRow:
    """Rows of one definition, to hashes and back. Text, decimals, moments, dates and UUIDs are plain text; all else is
    JSON, as is whatever may be missing.
    """

    def __init__(self, definition: ReadModelDefinition) -> None:
        self.definition = definition
        kinds = column_kinds(definition)
        fields = {field.name: field.encode_name for field in msgspec.structs.fields(definition.cls)}
        self._plain = frozenset(
            fields[name] for name, (kind, optional) in kinds.items() if kind in _PLAIN and not optional
        )
        self._one_text = len(definition.key) == 1 and kinds[definition.key[0]][0] is Kind.TEXT
        self._fields = frozenset(fields.values())
        self._encode = msgspec.json.Encoder().encode

    def key(self, key: RowKey) -> str:
        """The end of the name of a row's hash: the key itself when it is one text, else JSON of its values."""
        if self._one_text:
            return str(msgspec.to_builtins(key[0]))
        return self._encode(list(key)).decode()

    def written(self, row: ReadModel) -> list[Any]:
        """What the script gets for a row: its key, and field, value, field, value … Raises `InvalidQuery`."""
        flat: list[Any] = []
        size = 0
        for name, value in msgspec.to_builtins(row, str_keys=True).items():
            text = value if name in self._plain else self._encode(value).decode()
            flat += (name, text)
            size += len(text)
        if len(flat) < 2 * len(self._fields):
            absent = sorted(self._fields - set(flat[::2]))[0]
            raise InvalidQuery(
                f"{self.definition.cls.__qualname__}.{absent} is UNSET in the row {self.definition.key_of(row)!r}, and "
                "Redis would keep its last value; keep None for what is not known"
            )
        if size > _LARGEST:
            key = self.definition.key_of(row)
            raise InvalidQuery(
                f"the row {key!r} of {self.definition.cls.__qualname__} has {size:,} bytes, and Redis is to keep "
                f"{_LARGEST:,} at most; keep less in one row"
            )
        return [self.key(self.definition.key_of(row)), flat]

    def row(self, flat: Sequence[bytes], table: str) -> ReadModel:
        """The row of a hash. Raises `StoreCorrupt` for what is none of this definition."""
        found: dict[str, Any] = {}
        try:
            for index in range(0, len(flat), 2):
                name = flat[index].decode()
                text = flat[index + 1]
                if name not in self._fields:
                    continue  # a field that only the definition has that wrote the row
                found[name] = text.decode() if name in self._plain else msgspec.json.decode(text)
            # Keys of dictionaries were written as text.
            row: ReadModel = msgspec.convert(found, self.definition.cls, str_keys=True)
        except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
            raise unreadable(self.definition, table, problem) from problem
        return row
