"""Deciding: pure functions from a command and a state to events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from refold.errors import DefinitionError, InvalidCommand, StateChanged, UnknownCommand
from refold.folds.aggregate import Aggregate, AggregateDefinition
from refold.folds.dispatch import DecideHandler
from refold.messages.event import Command, Event
from refold.messages.event_types import decoder_of
from refold.messages.misfits import misfit_decimal_in, misfit_moment_in, refuse_what_json_changes

__all__ = ["Decider", "Deciders"]

_GROWING = frozenset({list, dict, set, bytearray})

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


class Decider:
    """How one type of command is validated, routed and decided."""

    def __init__(self, definition: AggregateDefinition, handler: DecideHandler) -> None:
        self.definition = definition
        self._handler = handler
        self._decode = decoder_of(handler.command)
        self._misfit_moment = misfit_moment_in(handler.command)
        self._values = _values_of(definition.cls.__struct_fields__)

    def validated(self, command: Command) -> Command:
        """The command with every field of its declared type (100 for a Decimal becomes Decimal(100)).

        Raises `InvalidCommand`, naming the field.
        """
        try:
            encoded = _encoder.encode(command)
            valid = self._decode(encoded)
            # Before the domain compares it: NaN > 0 raises, and Infinity > 0 is an amount like any other.
            if (misfit := misfit_decimal_in(valid, encoded)) is not None:
                raise InvalidCommand(f"command {type(command).__name__}: {misfit[0]} {misfit[1]}")
            if valid != command:
                refuse_what_json_changes(command)
        except (
            msgspec.DecodeError, TypeError, ValueError, UnicodeEncodeError, RecursionError, ArithmeticError,
        ) as problem:  # fmt: skip
            raise InvalidCommand(f"command {type(command).__name__}: {problem}") from problem
        if self._misfit_moment is not None and (misfit := self._misfit_moment(valid)) is not None:
            raise InvalidCommand(f"command {type(command).__name__}: {misfit[0]} {misfit[1]}")
        return valid

    def stream_of(self, command: Command) -> str:
        """The id of the stream that the command is for. Raises `InvalidCommand` for an empty id."""
        own_id = getattr(command, self.definition.id_field)
        if own_id is None or own_id == "":
            raise InvalidCommand(
                f"command {type(command).__name__}: {self.definition.id_field} is empty, so it names no "
                f"{self.definition.category}"
            )
        return self.definition.stream_of(own_id)

    def decide(self, state: Aggregate, command: Command) -> list[Event]:
        """The events of a command on this state. Raises `Rejected`, and whatever else the domain's method raises.

        Raises `StateChanged` when the method put something else into a field of the state, or made a list, dict or set
        in one longer or shorter: the state is kept for the commands that follow, and would be wrong for all of them.
        What is changed deeper inside is found by a test (`Scenario`), not here: that would take a copy of each state.
        """
        before = self._values(state)
        lengths = [len(value) for value in before if type(value) in _GROWING]
        try:
            return self.events_of(state, command)
        finally:
            after = self._values(state)
            if before != after or lengths != [len(value) for value in after if type(value) in _GROWING]:
                raise StateChanged(
                    f"{self.definition.cls.__qualname__}.{self._handler.name} changed the state while it decided; only "
                    "@evolve methods may. Nothing was stored"
                )

    def events_of(self, state: Aggregate, command: Command) -> list[Event]:
        """As `decide`, on a state that nobody needs afterwards."""
        outcome: Any = self._handler.function(state, command)
        if outcome is None:
            return []
        if isinstance(outcome, Event):
            return [outcome]
        if isinstance(outcome, Iterable):
            events = list(outcome)
            if all(isinstance(event, Event) for event in events):
                return events
        raise DefinitionError(
            f"{self.definition.cls.__qualname__}.{self._handler.name} returned {outcome!r}; "
            "a @decide method returns an event, several, or None"
        )


def _values_of(fields: tuple[str, ...]) -> Callable[[Aggregate], tuple[Any, ...]]:
    if len(fields) > 1:
        return attrgetter(*fields)
    return lambda state: tuple(getattr(state, field) for field in fields)


class Deciders:
    """All the commands of an app. Raises `DefinitionError` when two aggregates decide the same command."""

    def __init__(self, definitions: Iterable[AggregateDefinition]) -> None:
        found: dict[type[Command], Decider] = {}
        for definition in definitions:
            for command, handler in definition.decides.items():
                if command in found:
                    raise DefinitionError(
                        f"{command.__name__} is decided by both {found[command].definition.cls.__qualname__} "
                        f"and {definition.cls.__qualname__}; one command has one aggregate"
                    )
                found[command] = Decider(definition, handler)
        self._by_command: Mapping[type[Command], Decider] = found

    def of(self, command: object) -> Decider:
        """The decider of a command. Raises `UnknownCommand`."""
        decider = self._by_command.get(type(command))  # type: ignore[arg-type]  # anything may be asked for
        if decider is None:
            known = ", ".join(sorted(each.__name__ for each in self._by_command)) or "none"
            raise UnknownCommand(f"no aggregate of this app decides {type(command).__name__}; it knows: {known}")
        return decider
