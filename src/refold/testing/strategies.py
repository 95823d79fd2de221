"""Hypothesis strategies from a domain's own definitions: events, commands, and histories that it really decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from refold.commands.decision import Decider, Deciders
from refold.errors import MissingExtra, Rejected
from refold.folds.aggregate import Aggregate, AggregateDefinition, definition_of
from refold.folds.engine import AggregateFold
from refold.messages.event import Command, Event
from refold.messages.event_types import EventTypes, encode_json
from refold.messages.recorded import Recorded, StoredEvent

try:
    from hypothesis import assume
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ModuleNotFoundError as problem:
    raise MissingExtra('refold.testing.strategies needs hypothesis; run: pip install "refold[testing]"') from problem

from refold.testing.values import values_of

__all__ = ["any_command", "any_event", "commands_of", "events_of", "histories"]

E = TypeVar("E", bound=Event)
C = TypeVar("C", bound=Command)

_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."


def any_event(cls: type[E], **fields: Any) -> SearchStrategy[E]:
    """Instances of an event class, of every value that its annotations and `msgspec.Meta` allow and that survives JSON.

    `fields` replace what is drawn for a field: a strategy, or a value that it always has.
    """
    return _instances(cls, fields, {})


def any_command(cls: type[C], **fields: Any) -> SearchStrategy[C]:
    """Instances of a command class; see `any_event`."""
    return _instances(cls, fields, {})


def events_of(aggregate: type[Aggregate], **fields: Any) -> SearchStrategy[Event]:
    """Any event that the aggregate says or handles. `fields` hold for each of its events that has such a field."""
    return st.one_of([_instances(event, _those_of(event, fields), {}) for event in definition_of(aggregate).events])


def commands_of(aggregate: type[Aggregate], **fields: Any) -> SearchStrategy[Command]:
    """Any command that the aggregate decides, for ids that a stream can have. `fields` as for `events_of`."""
    definition = definition_of(aggregate)
    return st.one_of([_commands(definition, command, fields) for command in definition.decides])


@st.composite
def histories(
    draw: DrawFn, /, aggregate: type[Aggregate], *, min_size: int = 0, max_size: int = 20, **fields: Any
) -> list[Event]:
    """The events of one aggregate's stream as they can really come about: random commands, decided one after the other.

    Rejected commands leave no event. `max_size` bounds the number of commands, `min_size` the number of events.
    `fields` as for `commands_of`.
    """
    definition = definition_of(aggregate)
    deciders = Deciders([definition])
    types = EventTypes(definition.events)
    fold: AggregateFold[Any] = AggregateFold(definition, types)
    own_id = draw(_values_for(definition, next(iter(definition.decides)), fields))
    same = {**fields, definition.id_field: own_id}
    commands = st.one_of([_commands(definition, command, same) for command in definition.decides])
    state: Any = definition.cls()
    history: list[Event] = []
    for command in draw(st.lists(commands, min_size=min_size, max_size=max_size)):
        for event in _decided(deciders.of(command), state, command, types):
            history.append(event)
            state = fold.apply(state, event, _as_recorded(event, definition.stream_of(own_id), len(history), types))
    assume(len(history) >= min_size)
    return history


def _decided(decider: Decider, state: Aggregate, command: Command, types: EventTypes) -> list[Event]:
    try:
        return [types.prepare(event)[1] for event in decider.decide(state, command)]
    except Rejected:
        return []


def _as_recorded(event: Event, stream: str, version: int, types: EventTypes) -> Recorded[Any]:
    new, as_read = types.prepare(event)
    stored = StoredEvent(
        version,
        stream,
        version,
        new.type,
        new.schema_version,
        new.payload,
        b"{}",
        version,
        None,
        UUID(int=version).bytes,
        0,
    )
    return Recorded(as_read, stored)


def _commands(definition: AggregateDefinition, command: type[C], fields: dict[str, Any]) -> SearchStrategy[C]:
    own_id = {definition.id_field: _values_for(definition, command, fields)}
    return _instances(command, _those_of(command, fields), own_id)


def _values_for(definition: AggregateDefinition, command: type[Command], fields: dict[str, Any]) -> SearchStrategy[Any]:
    """The values of the command's id field: text has to be fit for the id of a stream."""
    if definition.id_field in fields:
        return _as_strategy(fields[definition.id_field])
    kinds = {field.name: field.type for field in msgspec.structs.fields(command)}
    if kinds[definition.id_field] is str:
        return st.text(_ID_CHARACTERS, min_size=1, max_size=20)
    return values_of(kinds[definition.id_field])


def _those_of(cls: type[msgspec.Struct], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in cls.__struct_fields__}


def _as_strategy(given: Any) -> SearchStrategy[Any]:
    return given if isinstance(given, SearchStrategy) else st.just(given)


def _instances(cls: type[Any], fields: dict[str, Any], defaults: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    unknown = fields.keys() - set(cls.__struct_fields__)
    if unknown:
        raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}; it has {cls.__struct_fields__}")
    given = {**defaults, **{name: _as_strategy(value) for name, value in fields.items()}}
    drawn = {
        field.name: given[field.name] if field.name in given else values_of(field.type)
        for field in msgspec.structs.fields(cls)
    }
    build: Callable[..., Any] = cls
    return st.builds(build, **drawn).filter(_survives)


def _survives(message: msgspec.Struct) -> bool:
    try:
        return bool(msgspec.json.decode(encode_json(message), type=type(message)) == message)
    except (msgspec.DecodeError, TypeError, ValueError, UnicodeEncodeError):
        return False
