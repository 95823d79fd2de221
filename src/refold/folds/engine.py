"""The one fold engine. Loading, snapshots, temporal queries, read models and rebuilds are each a few lines on top of
it.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
import msgspec.inspect as inspected

from refold.errors import AtEvent, DecodeError, DefinitionError, FoldFailed, UnknownEvent
from refold.folds.aggregate import Aggregate, AggregateDefinition
from refold.folds.read_model import Deleted, ReadModel, ReadModelDefinition, RowKey
from refold.messages.event import Event
from refold.messages.event_types import EventTypes
from refold.messages.recorded import NewEvent, Recorded, StoredEvent

__all__ = ["AggregateFold", "RowFold"]

A = TypeVar("A", bound=Aggregate)
_Apply = tuple[Callable[..., Any], bool]


def _failed(stored: StoredEvent, problem: Exception) -> DecodeError:
    return DecodeError(
        f"event {stored.type!r} at position {stored.position} (stream {stored.stream!r}) "
        f"does not fit its class: {problem}"
    )


class AggregateFold(Generic[A]):
    """Folds a stream into the state of its aggregate."""

    def __init__(self, definition: AggregateDefinition, types: EventTypes) -> None:
        self._types = types
        self._name = definition.cls.__qualname__
        self._by_class: dict[type[Event], _Apply] = {
            event: (handler.function, handler.wants_recorded) for event, handler in definition.evolves.items()
        }
        self._by_name: dict[str, tuple[Callable[[bytes], Any], int, Callable[..., Any], bool]] = {
            event.__message_name__: (
                msgspec.json.Decoder(event).decode,
                event.__schema_version__,
                handler.function,
                handler.wants_recorded,
            )
            for event, handler in definition.evolves.items()
        }

    def fold(self, state: A, events: Iterable[StoredEvent]) -> A:
        """The state after these events; `state` may be changed in place. Raises `UnknownEvent`, `DecodeError`,
        `FoldFailed`.
        """
        by_name = self._by_name
        for stored in events:
            known = by_name.get(stored.type)
            if known is None:
                # An event that the app knows and this aggregate has no method for changes nothing.
                if stored.type not in self._types:
                    raise UnknownEvent(stored.type, stored.position, stored.stream)
                continue
            decode, version, function, wants_recorded = known
            try:
                # Here and not by `decode_event`, unless it is an old one: a call for each event would be a tenth of it.
                event = decode(stored.payload) if stored.schema_version == version else self._types.decode_event(stored)
            except (msgspec.DecodeError, UnicodeDecodeError) as problem:
                raise _failed(stored, problem) from problem
            try:
                after = function(state, event, Recorded(event, stored)) if wants_recorded else function(state, event)
            except Exception as problem:
                raise FoldFailed(
                    f"{self._name} cannot fold event {stored.type!r} at position {stored.position} (stream "
                    f"{stored.stream!r}): {problem!r}"
                ) from problem
            if after is not None:
                state = after
        return state

    def fold_ahead(self, state: A, events: Iterable[NewEvent]) -> A:
        """The state after events that are prepared and not recorded yet; no handler may want their positions."""
        for new in events:
            known = self._by_name.get(new.type)
            if known is not None:
                decode, _, function, _ = known
                try:
                    after = function(state, decode(new.payload))
                except Exception as problem:
                    raise FoldFailed(f"{self._name} cannot fold event {new.type!r}: {problem!r}") from problem
                if after is not None:
                    state = after
        return state

    def apply(self, state: A, event: Event, recorded: Recorded[Any]) -> A:
        """The state after one typed event. Raises `FoldFailed`."""
        known = self._by_class.get(type(event))
        if known is None:
            return state
        function, wants_recorded = known
        try:
            after = function(state, event, recorded) if wants_recorded else function(state, event)
        except Exception as problem:
            raise FoldFailed(f"{self._name} cannot fold {event!r}: {problem!r}") from problem
        return state if after is None else after


class RowFold:
    """Folds recorded events into the rows of a read model. Holds no rows itself: the caller gives and keeps them."""

    def __init__(self, definition: ReadModelDefinition) -> None:
        self.definition = definition
        self._moments = () if definition.documents else _moments_of(definition.cls)
        self._by_class = {
            event: (handler.function, handler.wants_recorded, definition.routes[event], _can_change(event))
            for event, handler in definition.evolves.items()
        }

    def keys(self, events: Iterable[Recorded[Any]]) -> dict[RowKey, None]:
        """The keys of the rows that these events change, in the order in which they are first met."""
        by_class = self._by_class
        found: dict[RowKey, None] = {}
        for recorded in events:
            known = by_class.get(type(recorded.event))
            if known is not None:
                for key in known[2](recorded):
                    found[key] = None
        return found

    def fold(
        self,
        rows: dict[RowKey, ReadModel | None],
        events: Iterable[Recorded[Any]],
        *,
        only: Callable[[RowKey], bool] | None = None,
        seen: Mapping[RowKey, int] | None = None,
        passes: Callable[[RowKey, int], bool] | None = None,
    ) -> set[RowKey]:
        """Changes `rows` (key → row, or None for no row) by the events, in order, and gives the keys that were touched.

        A row that is not in `rows` is taken to be absent; it begins as the definition's new row. `only` leaves other
        keys out; `seen` are rows that have seen the log up to a position already; `passes` says whether the event at a
        position goes to a row at all.
        """
        by_class = self._by_class
        new_row = self.definition.new_row
        moments = self._moments
        touched: set[RowKey] = set()
        for recorded in events:
            known = by_class.get(type(recorded.event))
            if known is None:
                continue
            function, wants_recorded, route, can_change = known
            try:
                for key in route(recorded):
                    if only is not None and not only(key):
                        continue
                    if seen and seen.get(key, 0) >= recorded.position:
                        continue
                    if passes is not None and not passes(key, recorded.position):
                        continue
                    row = rows.get(key)
                    if row is None:
                        row = new_row(key)
                    # A row may keep a list of its event, and add to it later: not to that of others.
                    own = Recorded(copy.deepcopy(recorded.event), recorded.stored) if can_change else recorded
                    after = function(row, own.event, own) if wants_recorded else function(row, own.event)
                    row = None if after is Deleted else row if after is None else after
                    if moments and isinstance(row, ReadModel):
                        _put_into_utc(row, moments)
                    rows[key] = row
                    touched.add(key)
            except Exception as problem:
                at = recorded.stored
                problem.add_note(AtEvent(f"event {at.type!r} at position {at.position} (stream {at.stream!r})"))
                raise
        return touched

    def changes(
        self, rows: Mapping[RowKey, ReadModel | None], touched: Iterable[RowKey]
    ) -> tuple[list[ReadModel], list[RowKey]]:
        """The rows to write and the keys to delete. Raises `DefinitionError` for a row that is not that of its key."""
        definition = self.definition
        name = definition.cls.__qualname__
        changed: list[ReadModel] = []
        deleted: list[RowKey] = []
        for key in touched:
            row = rows[key]
            if row is None:
                deleted.append(key)
                continue
            if not isinstance(row, definition.cls):
                raise DefinitionError(
                    f"{name}: an evolve method gave {row!r} for {key!r}; it gives nothing, a row, or Deleted"
                )
            if definition.key_of(row) != key:
                raise DefinitionError(
                    f"{name}: an evolve method made {definition.key_of(row)!r} of the key {key!r}; a row keeps its "
                    "key (route the event by @evolve(key=…) instead)"
                )
            changed.append(row)
        return changed, deleted


@functools.cache
def _moments_of(cls: type[ReadModel]) -> tuple[str, ...]:
    """The fields of a row that hold a moment, or may."""
    found = []
    for field in msgspec.structs.fields(cls):
        described = inspected.type_info(field.type)
        if isinstance(described, inspected.Metadata):
            described = described.type
        kinds = described.types if isinstance(described, inspected.UnionType) else (described,)
        if any(isinstance(kind, inspected.DateTimeType) for kind in kinds):
            found.append(field.name)
    return tuple(found)


def _put_into_utc(row: ReadModel, moments: tuple[str, ...]) -> None:
    """A column keeps a moment and not its zone. So that a fold that goes on with a row in memory gives the same as one
    that has read it back, the zone is let go at once: who asks for the day of a moment would get another one otherwise.
    """
    for name in moments:
        value = getattr(row, name)
        if isinstance(value, datetime) and value.tzinfo not in (None, UTC):
            with contextlib.suppress(OverflowError):  # before the year 1 in UTC: who writes the row refuses it
                msgspec.structs.force_setattr(row, name, value.astimezone(UTC))  # also where rows are frozen


@functools.cache
def _can_change(event: type[Event]) -> bool:
    """Whether something in an event of that class can be changed in place, frozen as the event itself is."""
    seen: set[type] = set()

    def can_change(found: inspected.Type) -> bool:
        match found:
            case inspected.Metadata():
                return can_change(found.type)
            case inspected.UnionType():
                return any(can_change(each) for each in found.types)
            case inspected.TupleType():
                return any(can_change(each) for each in found.item_types)
            case inspected.VarTupleType() | inspected.FrozenSetType():
                return can_change(found.item_type)
            case inspected.NamedTupleType():
                return any(can_change(each.type) for each in found.fields)
            case inspected.StructType():
                if found.cls in seen:
                    return False
                seen.add(found.cls)
                frozen = found.cls.__struct_config__.frozen
                return not frozen or any(can_change(each.type) for each in found.fields)
        return not isinstance(found, _UNCHANGEABLE)

    return can_change(inspected.type_info(event))


_UNCHANGEABLE = (
    inspected.NoneType,
    inspected.BoolType,
    inspected.IntType,
    inspected.FloatType,
    inspected.StrType,
    inspected.BytesType,
    inspected.DateTimeType,
    inspected.TimeType,
    inspected.DateType,
    inspected.TimeDeltaType,
    inspected.UUIDType,
    inspected.DecimalType,
    inspected.EnumType,
    inspected.LiteralType,
    inspected.RawType,
)
