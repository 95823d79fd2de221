"""Aggregate: a state folded from one stream, and the rules by which commands become events."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast, dataclass_transform

import msgspec

from refold.errors import DefinitionError
from refold.folds.dispatch import (
    DecideHandler,
    EvolveHandler,
    OwnHandlers,
    collect,
    fingerprint_of,
    inherited,
    schema_of,
)
from refold.messages.event import Command, Event

__all__ = ["Aggregate", "AggregateDefinition", "definition_of"]


class AggregateDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What an aggregate class declares. `fingerprint` changes with its fields, its `fold_version` and its evolve
    methods.
    """

    cls: type[Aggregate]
    category: str
    id_field: str
    decides: Mapping[type[Command], DecideHandler]
    evolves: Mapping[type[Event], EvolveHandler]
    snapshot_every: int | None
    fingerprint: str

    @property
    def events(self) -> tuple[type[Event], ...]:
        """Every event class that this aggregate says or handles."""
        said = [event for handler in self.decides.values() for event in handler.events]
        return tuple(dict.fromkeys([*said, *self.evolves]))

    def stream_of(self, aggregate_id: object) -> str:
        """The id of the stream of one aggregate: `account-42`."""
        return f"{self.category}-{aggregate_id}"


class _AggregateMeta(msgspec.StructMeta):
    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        stream: str | None = None,
        id: str | None = None,
        snapshot_every: int | None = None,
        fold_version: int = 1,
        **options: Any,
    ) -> type:
        options.setdefault("kw_only", True)
        cls = cast("type[Aggregate]", super().__new__(mcls, cls_name, bases, namespace, **options))
        cls.__own_handlers__ = collect(cls, sys._getframe(1).f_locals)
        if bases != (msgspec.Struct,):
            cls.__aggregate__ = _define(cls, stream, id, snapshot_every, fold_version)
        return cls


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class Aggregate(msgspec.Struct, metaclass=_AggregateMeta):
    """The state of one consistency boundary, folded from its stream. Every field needs a default: the state before any
    event.

    Class arguments: `stream` is the category of its streams (`account` → `account-42`), `id` the field of its commands
    that says which one, `snapshot_every` the number of events between snapshots (None: no snapshots), `fold_version` a
    number to raise when the fold's meaning changed in code that its own methods only call, so that older snapshots are
    ignored. Raises `DefinitionError` at definition time, naming class and method.
    """

    __aggregate__: ClassVar[AggregateDefinition]
    __own_handlers__: ClassVar[OwnHandlers]

    if TYPE_CHECKING:

        def __init_subclass__(
            cls, *, stream: str, id: str, snapshot_every: int | None = None, fold_version: int = 1, **options: Any
        ) -> None: ...


def definition_of(cls: type[Aggregate]) -> AggregateDefinition:
    """What an aggregate class declares. Raises `DefinitionError` for a class without stream= and id=."""
    definition = getattr(cls, "__aggregate__", None)
    if not isinstance(definition, AggregateDefinition):
        raise DefinitionError(
            f"{cls!r} is not an aggregate; derive it as in class Account(Aggregate, stream='account', id='account_id')"
        )
    return definition


def _define(
    cls: type[Aggregate], stream: str | None, id_field: str | None, snapshot_every: int | None, fold_version: int
) -> AggregateDefinition:
    where = f"{cls.__module__}.{cls.__qualname__}"
    if not stream or "-" in stream or not stream.isprintable() or len(stream) > 100:
        raise DefinitionError(f"{where}: stream={stream!r} must be 1 to 100 printable characters without a dash")
    if not id_field:
        raise DefinitionError(f"{where}: id=… must name the field of its commands that says which {stream} is meant")
    if snapshot_every is not None and (type(snapshot_every) is not int or snapshot_every < 1):
        raise DefinitionError(f"{where}: snapshot_every={snapshot_every!r} must be a number of events, 1 or more")
    missing = [field.name for field in msgspec.structs.fields(cls) if field.required]
    if missing:
        raise DefinitionError(f"{where}: give {missing} a default; it is the state before any event")
    handlers = inherited(cls)
    for handler in handlers.decides.values():
        if id_field not in handler.command.__struct_fields__:
            raise DefinitionError(
                f"{where}.{handler.name}: {handler.command.__name__} has no field {id_field!r} (id=…)"
            )
    for evolver in handlers.evolves.values():
        if evolver.key is not None:
            raise DefinitionError(f"{where}.{evolver.name}: key= is for read models; an aggregate's key is its stream")
    try:
        schema = schema_of(cls)
    except (TypeError, NameError) as problem:
        raise DefinitionError(f"{where}: its fields cannot be kept as JSON: {problem}") from problem
    fingerprint = fingerprint_of(
        [schema, str(fold_version)], [evolver.function for evolver in handlers.evolves.values()]
    )
    return AggregateDefinition(
        cls=cls,
        category=stream,
        id_field=id_field,
        decides=handlers.decides,
        evolves=handlers.evolves,
        snapshot_every=snapshot_every,
        fingerprint=fingerprint,
    )
