"""Deciding: pure functions from a command and a state to events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from refold.errors import DefinitionError, InvalidCommand, UnknownCommand
from refold.folds.aggregate import Aggregate, AggregateDefinition
from refold.folds.dispatch import DecideHandler
from refold.messages.event import Command, Event
from refold.messages.event_types import decoder_of
from refold.messages.misfits import misfit_decimal_in, naive_moment_in, refuse_what_json_changes

__all__ = ["Decider", "Deciders"]

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


class Decider:
    """How one type of command is validated, routed and decided."""

    def __init__(self, definition: AggregateDefinition, handler: DecideHandler) -> None:
        self.definition = definition
        self._handler = handler
        self._decode = decoder_of(handler.command)
        self._naive_moment = naive_moment_in(handler.command)

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
        if self._naive_moment is not None and (field := self._naive_moment(valid)) is not None:
            raise InvalidCommand(
                f"command {type(command).__name__}: {field} has no time zone; give one, as in datetime(…, tzinfo=UTC)"
            )
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
        """The events of a command on this state. Raises `Rejected`, and whatever else the domain's method raises."""
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
