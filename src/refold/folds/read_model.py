"""ReadModel: a state folded from the whole log, routed to one row per key."""

from __future__ import annotations

import enum
import inspect
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, dataclass_transform
from uuid import UUID

import msgspec

from refold.errors import DefinitionError
from refold.folds.dispatch import (
    EvolveHandler,
    OwnHandlers,
    collect,
    fingerprint_of,
    inherited,
    parts_of,
    schema_of,
)
from refold.messages.event import Event
from refold.messages.recorded import Recorded

__all__ = ["Deleted", "ReadModel", "ReadModelDefinition", "RowKey", "read_model_of"]

RowKey = tuple[Any, ...]
"""The values of a row's key fields, in their declared order."""


class _DeletedType(enum.Enum):
    DELETED = "Deleted"

    def __repr__(self) -> str:
        return "Deleted"


Deleted = _DeletedType.DELETED
"""Returned by an evolve method of a read model (annotated `-> Any`): the row is to be removed."""


class ReadModelDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What a read model class declares. `name` names its table, its checkpoint and its projection."""

    cls: type[ReadModel]
    name: str
    key: tuple[str, ...]
    key_types: tuple[Any, ...]
    evolves: Mapping[type[Event], EvolveHandler]
    routes: Mapping[type[Event], Callable[[Recorded[Any]], list[RowKey]]]
    inline: bool
    fingerprint: str
    parts: Mapping[str, str]
    """The parts of which the fingerprint is made, each with a hash of its own."""
    parks: bool = False
    shards: int = 1
    """Into how many parts its projection is divided, where its rows are in a store that can: see
    `refold.projections.shards`. No part of the fingerprint: the rows are the same.
    """
    documents: bool = False
    indexes: tuple[tuple[str, ...], ...] = ()
    """The fields of each index that its table has besides that of the key."""

    def new_row(self, key: RowKey) -> ReadModel:
        """The row of that key before any event."""
        return self.cls(**dict(zip(self.key, key, strict=True)))

    def key_of(self, row: ReadModel) -> RowKey:
        """The key of a row."""
        return tuple(getattr(row, field) for field in self.key)

    def as_key(self, given: object) -> RowKey:
        """A key as a caller gives it (one value, or a tuple for several fields), in the types of the key fields."""
        parts = given if isinstance(given, tuple) else (given,)
        if len(parts) != len(self.key):
            raise DefinitionError(f"{self.cls.__qualname__}: a key has the fields {self.key}, {given!r} does not")
        return tuple(
            part if type(part) is wanted else msgspec.convert(part, wanted, strict=False)
            for part, wanted in zip(parts, self.key_types, strict=True)
        )


class _ReadModelMeta(msgspec.StructMeta):
    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        key: str | tuple[str, ...] | None = None,
        name: str | None = None,
        inline: bool = False,
        fold_version: int = 1,
        on_error: str = "stop",
        shards: int = 1,
        documents: bool = False,
        indexes: Sequence[str | tuple[str, ...]] = (),
        **options: Any,
    ) -> type:
        options.setdefault("kw_only", True)
        cls = cast("type[ReadModel]", super().__new__(mcls, cls_name, bases, namespace, **options))
        cls.__own_handlers__ = collect(cls, sys._getframe(1).f_locals)
        if bases != (msgspec.Struct,):
            cls.__read_model__ = _define(cls, key, name, inline, fold_version, on_error, shards, documents, indexes)
        return cls


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class ReadModel(msgspec.Struct, metaclass=_ReadModelMeta):
    """One row per key, folded from the log. Every field but the key's needs a default: the row before any event.

    Class arguments: `key` is the field (or the tuple of fields) that identifies a row; events go to the row of their
    stream's id unless an evolve method says otherwise with `@evolve(key=…)`. `name` names its table (`account_summary`
    for AccountSummary), `inline=True` changes it in the appending transaction, `fold_version` is a number to raise when
    the fold's meaning changed in code that its methods only call. `on_error` says what becomes of an event that cannot
    be folded: the whole read model stops before it ("stop"), or only its row does, and other rows go on ("park").
    `shards` is the number of parts that several workers may share, each with the rows of its keys (1 to 64).
    `documents=True` keeps each row as one JSON document beside its key, where conditions may name what is nested
    (`field("address.city")`); otherwise each field has a column of its own type. `indexes=("city", ("kind", "since"))`
    gives its table an index for each field, or several fields together, by which rows are often found or sorted; a
    table has one for its key anyway, and each costs something with every write.
    Raises `DefinitionError` at definition time, naming class and method.
    """

    __read_model__: ClassVar[ReadModelDefinition]
    __own_handlers__: ClassVar[OwnHandlers]

    if TYPE_CHECKING:

        def __init_subclass__(
            cls,
            *,
            key: str | tuple[str, ...],
            name: str | None = None,
            inline: bool = False,
            fold_version: int = 1,
            on_error: Literal["stop", "park"] = "stop",
            shards: int = 1,
            documents: bool = False,
            indexes: Sequence[str | tuple[str, ...]] = (),
            **options: Any,
        ) -> None: ...


def read_model_of(cls: type[ReadModel]) -> ReadModelDefinition:
    """What a read model class declares. Raises `DefinitionError` for anything else."""
    definition = getattr(cls, "__read_model__", None)
    if not isinstance(definition, ReadModelDefinition):
        raise DefinitionError(
            f"{cls!r} is not a read model; derive it as in class AccountSummary(ReadModel, key='account_id')"
        )
    return definition


def _define(
    cls: type[ReadModel],
    key: str | tuple[str, ...] | None,
    name: str | None,
    inline: bool,
    fold_version: int,
    on_error: str,
    shards: int,
    documents: bool,
    indexes: Sequence[str | tuple[str, ...]],
) -> ReadModelDefinition:
    where = f"{cls.__module__}.{cls.__qualname__}"
    keys = (key,) if isinstance(key, str) else tuple(key or ())
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    if not keys:
        raise DefinitionError(
            f"{where}: a read model needs a key, the field that names a row: class {cls.__name__}(ReadModel, key=…)"
        )
    absent = [field for field in keys if field not in fields]
    if absent:
        raise DefinitionError(f"{where}: key={key!r} names no field of it; its fields are {list(fields)}")
    _refuse_names(where, keys if documents else fields)
    missing = [field.name for field in fields.values() if field.required and field.name not in keys]
    if missing:
        raise DefinitionError(f"{where}: give {missing} a default; it is the row before any event")
    table = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", table) or table.startswith("refold_"):
        raise DefinitionError(
            f"{where}: name={table!r} must be 1 to 48 of a-z, 0-9 and _, begin with a letter, and not with refold_"
        )
    if on_error not in ("stop", "park"):
        raise DefinitionError(f"{where}: on_error={on_error!r} must be 'stop' or 'park'")
    if inline and on_error == "park":
        raise DefinitionError(
            f"{where}: an inline read model cannot park: what it cannot fold is not appended; leave on_error out"
        )
    handlers = inherited(cls)
    if handlers.decides:
        raise DefinitionError(f"{where}: a read model has no @decide; that is an aggregate's")
    if not handlers.evolves:
        raise DefinitionError(f"{where}: no @evolve method, so it would stay empty")
    key_types = tuple(fields[field].type for field in keys)
    if len(keys) > 1:
        unrouted = [handler.name for handler in handlers.evolves.values() if handler.key is None]
        if unrouted:
            raise DefinitionError(
                f"{where}: with a key of several fields, each evolve method needs a key function; {unrouted} have none"
            )
    _refuse_shards(where, shards, inline, dict(zip(keys, key_types, strict=True)))
    try:
        schema = schema_of(cls)
    except (TypeError, NameError) as problem:
        raise DefinitionError(f"{where}: its fields cannot be kept as columns: {problem}") from problem
    functions = [handler.function for handler in handlers.evolves.values()]
    functions += [handler.key for handler in handlers.evolves.values() if callable(handler.key)]
    routing = [
        f"{event.__message_name__} {handler.key if isinstance(handler.key, str) else ''}"
        for event, handler in handlers.evolves.items()
    ]
    indexed = _indexes(where, indexes, fields, keys, documents)
    # What is not declared leaves no trace: so a class that does without keeps its fingerprint.
    layout = ["documents"] if documents else []
    parts = {**parts_of(cls, handlers.evolves), **dict.fromkeys(layout, "True")}
    if indexed:
        parts["indexes"] = "; ".join(", ".join(each) for each in indexed)
        layout.append(f"indexes {parts['indexes']}")
    return ReadModelDefinition(
        cls=cls,
        name=table,
        key=keys,
        key_types=key_types,
        evolves=handlers.evolves,
        routes={event: _route(handler, key_types, where) for event, handler in handlers.evolves.items()},
        inline=inline,
        parks=on_error == "park",
        shards=shards,
        documents=documents,
        indexes=indexed,
        fingerprint=fingerprint_of([schema, repr(keys), str(inline), str(fold_version), *layout, *routing], functions),
        parts={**parts, "key": ", ".join(keys), "inline": str(inline), "fold_version": str(fold_version)},
    )


_NAME_BYTES = 63
_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


def _refuse_names(where: str, names: Iterable[str]) -> None:
    """A class that works on SQLite is to work on Postgres too, and the other way round."""
    seen: dict[str, str] = {}
    for name in names:
        if len(name.encode()) > _NAME_BYTES:
            raise DefinitionError(
                f"{where}: the field {name!r} has {len(name.encode())} bytes, and a column's name in Postgres "
                f"{_NAME_BYTES} at most"
            )
        if name in _SYSTEM_COLUMNS:
            raise DefinitionError(
                f"{where}: the field {name!r} is a column of every table in Postgres; name it otherwise"
            )
        # For SQLite a capital is its small letter, in ASCII alone.
        other = seen.setdefault("".join(each.lower() if each.isascii() else each for each in name), name)
        if other != name:
            raise DefinitionError(
                f"{where}: the fields {other!r} and {name!r} differ in upper and lower case only, which SQLite does "
                "not tell apart"
            )


def _indexes(
    where: str,
    indexes: Sequence[str | tuple[str, ...]],
    fields: Container[str],
    key: tuple[str, ...],
    documents: bool,
) -> tuple[tuple[str, ...], ...]:
    """Each index as the tuple of its fields."""
    if not isinstance(indexes, (tuple, list)) or not all(isinstance(each, (str, tuple, list)) for each in indexes):
        raise DefinitionError(
            f"{where}: indexes={indexes!r} must be a tuple of fields, or of tuples of fields: indexes=('city',)"
        )
    found = tuple((each,) if isinstance(each, str) else tuple(each) for each in indexes)
    if found and documents:
        raise DefinitionError(f"{where}: its rows are documents, which have no columns to index; leave indexes out")
    for each in found:
        for name in each:
            if name not in fields:
                raise DefinitionError(f"{where}: indexes= names {name!r}, which is no field of it")
        if not each or len(set(each)) < len(each) or found.count(each) > 1:
            raise DefinitionError(f"{where}: indexes= has {each!r}, which names nothing, or something twice")
        if each == key[: len(each)]:
            raise DefinitionError(f"{where}: indexes= has {each!r}, which the key's own index serves; leave it out")
    return found


_DIVISIBLE = (str, int, bool, UUID, date)
"""Types of which equal values are always written alike, so that a row has one shard: 1.0 and 1.00 are one Decimal."""
_MOST_SHARDS = 64


def _refuse_shards(where: str, shards: int, inline: bool, keys: Mapping[str, Any]) -> None:
    if type(shards) is not int or not 1 <= shards <= _MOST_SHARDS:
        raise DefinitionError(f"{where}: shards={shards!r} must be a whole number from 1 to {_MOST_SHARDS}")
    if shards == 1:
        return
    if inline:
        raise DefinitionError(
            f"{where}: an inline read model has no shards: it changes in the appending transaction; leave shards out"
        )
    for name, wanted in keys.items():
        if wanted not in _DIVISIBLE and not (isinstance(wanted, type) and issubclass(wanted, enum.Enum)):
            raise DefinitionError(
                f"{where}: shards={shards} divides the rows by their key, which must be text, a whole number, a date, "
                f"a UUID or an enum, and {name} is {wanted!r}; leave shards out"
            )


def _route(handler: EvolveHandler, key_types: tuple[Any, ...], where: str) -> Callable[[Recorded[Any]], list[RowKey]]:
    """How one event type finds its rows: a function from the recorded event to the keys of the rows that it changes."""

    def typed(given: Any) -> RowKey:
        parts = given if isinstance(given, tuple) else (given,)
        if len(parts) != len(key_types):
            raise DefinitionError(f"{where}.{handler.name}: its key has {len(key_types)} fields, it gave {given!r}")
        return tuple(
            part if type(part) is wanted else msgspec.convert(part, wanted, strict=False)
            for part, wanted in zip(parts, key_types, strict=True)
        )

    def several(given: Any) -> list[RowKey]:
        if given is None:
            return []
        if isinstance(given, (list, set, frozenset)) or inspect.isgenerator(given):
            return list(dict.fromkeys(typed(each) for each in given))
        return [typed(given)]

    rule = handler.key
    if rule is None:
        if key_types == (str,):
            return lambda recorded: [(recorded.stored.stream.partition("-")[2],)]
        return lambda recorded: [typed(recorded.stored.stream.partition("-")[2])]
    if isinstance(rule, str):
        return lambda recorded: several(getattr(recorded.event, rule))
    if len(inspect.signature(rule).parameters) >= 2:
        return lambda recorded: several(rule(recorded.event, recorded))
    return lambda recorded: several(rule(recorded.event))
