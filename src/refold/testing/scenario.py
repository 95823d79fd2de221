"""Given, when, then: rules of aggregates and rows of read models, tested as plain functions. No database, no loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from refold.app import App
from refold.commands.decision import Decider, Deciders
from refold.errors import DefinitionError, Rejected
from refold.folds.aggregate import Aggregate, AggregateDefinition, definition_of
from refold.folds.engine import AggregateFold, RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey, read_model_of
from refold.messages.event import Command, Event
from refold.messages.event_types import EventTypes, encode_json
from refold.messages.recorded import Recorded
from refold.testing.difference import fields_that_differ, listed, lists_compared
from refold.testing.past import GivenEvent, GivenEvents, as_given, record

__all__ = ["Decision", "Given", "Scenario"]

A = TypeVar("A", bound=Aggregate)
R = TypeVar("R", bound=ReadModel)


class Scenario:
    """What is tested: an aggregate, a read model, several of both, or a whole `App`.

        given = Scenario(Account).given

        def test_nobody_withdraws_more_than_there_is():
            given(AccountOpened(owner="alice")).when(Withdraw(account_id="42", amount=5)).rejects("insufficient funds")

    Beside what a test asserts, each scenario fails when a `@decide` method changes the state, when an event or a state
    is not the same after having been kept as JSON, and when the events that were decided cannot be folded.
    """

    def __init__(self, *subjects: type[Aggregate] | type[ReadModel] | App) -> None:
        aggregates: dict[type[Aggregate], AggregateDefinition] = {}
        read_models: dict[type[ReadModel], ReadModelDefinition] = {}
        apps: list[App] = []
        for subject in subjects:
            if isinstance(subject, App):
                aggregates.update(subject.aggregates)
                read_models.update(subject.read_models)
                apps.append(subject)
            elif issubclass(subject, Aggregate):
                aggregates[subject] = definition_of(subject)
            elif issubclass(subject, ReadModel):
                read_models[subject] = read_model_of(subject)
        if not aggregates and not read_models:
            raise DefinitionError("Scenario(…) needs an aggregate, a read model or an app to test")
        self._aggregates = aggregates
        self._read_models = read_models
        self._deciders = Deciders(aggregates.values())
        said = [event for aggregate in aggregates.values() for event in aggregate.events]
        seen = [event for model in read_models.values() for event in model.evolves]
        registered = [event for app in apps for event in app.types]
        self._types = EventTypes([*said, *seen, *registered])
        self._knows_all_events = bool(apps)

    def given(self, *events: Event | GivenEvents) -> Given:
        """What has happened, in order: events, or `on(stream, event, …)` to say of which stream, when, and by whom.

        Plain events belong to the stream of the command that follows. What no store would take raises `InvalidAppend`.
        """
        return Given(self, as_given(events))

    def when(self, command: Command) -> Decision:
        """Decides a command before which nothing has happened."""
        return self.given().when(command)

    # --- for Given and Decision ---

    def _only_aggregate(self) -> AggregateDefinition:
        if len(self._aggregates) != 1:
            names = ", ".join(cls.__name__ for cls in self._aggregates) or "none"
            raise TypeError(f"which aggregate's state? This scenario has {names}; make a Scenario(…) of the one")
        return next(iter(self._aggregates.values()))

    def _record(self, past: tuple[GivenEvent, ...], stream: str | None) -> list[Recorded[Any]]:
        """The past as recorded events; `stream` is where plain events belong, None when no command tells."""
        if not self._knows_all_events:
            for given in past:
                self._types.add(type(given.event))
        return record(past, self._types, lambda given: stream or self._stream_of(given.event))

    def _stream_of(self, event: Event) -> str:
        for model in self._read_models.values():
            handler = model.evolves.get(type(event))
            if handler is not None and handler.key is None:
                raise TypeError(
                    f"of which stream is {event!r}? {model.cls.__name__} has a row for each; "
                    "say it with on('account-42', event)"
                )
        categories = [each.category for each in self._aggregates.values() if type(event) in each.events]
        return f"{categories[0] if categories else 'given'}-1"

    def _rows(self, cls: type[R], events: list[Recorded[Any]]) -> dict[RowKey, R]:
        definition = self._read_models.get(cls)
        if definition is None:
            raise TypeError(f"{cls.__name__} is not in this scenario; make it Scenario(…, {cls.__name__})")
        rows: dict[RowKey, Any] = {}
        fold = RowFold(definition)
        fold.changes(rows, fold.fold(rows, events))
        kept = {key: row for key, row in rows.items() if row is not None}
        for row in kept.values():
            _must_survive(row, f"a row of {cls.__name__}")
        return dict(sorted(kept.items()))

    def _fold(self, definition: AggregateDefinition, state: Any, events: list[Recorded[Any]], said: str) -> Any:
        fold: AggregateFold[Any] = AggregateFold(definition, self._types)
        _must_survive(state, f"the state of {definition.cls.__name__}")
        for recorded in events:
            try:
                state = fold.apply(state, recorded.event, recorded)
                _must_survive(state, f"the state of {definition.cls.__name__}")
            except Exception as problem:
                problem.add_note(f"while {definition.cls.__name__} evolved by {recorded.event!r}, {said}")
                raise
        return state


class Given:
    """What has happened in a scenario. Go on with `when(command)`, or look at what follows from it."""

    def __init__(self, scenario: Scenario, past: tuple[GivenEvent, ...]) -> None:
        self._scenario = scenario
        self._past = past

    def when(self, command: Command) -> Decision:
        """Decides a command on the state after what was given. Assert on what it gives: `.then(…)`, `.rejects(…)`.

        Raises `UnknownCommand`, `InvalidCommand`, and whatever else than `Rejected` the `@decide` method raises.
        """
        decider = self._scenario._deciders.of(command)
        return _decided(self._scenario, self._past, decider, decider.validated(command))

    def then(self, *rows: ReadModel) -> Given:
        """Asserts that the rows of these rows' read models are these and no others, in any order."""
        __tracebackhide__ = True
        if not rows or not all(isinstance(row, ReadModel) for row in rows):
            raise TypeError("given(…).then(…) takes rows of a read model; for events, say first when(command)")
        _assert_rows(self._scenario, self._scenario._record(self._past, None), rows)
        return self

    def then_nothing(self) -> Given:
        """Asserts that no read model of the scenario has a row."""
        __tracebackhide__ = True
        events = self._scenario._record(self._past, None)
        for cls in self._scenario._read_models:
            rows = self._scenario._rows(cls, events)
            if rows:
                raise AssertionError(f"expected no row of {cls.__name__}, there are\n{listed(list(rows.values()))}")
        return self

    def rows(self, cls: type[R]) -> list[R]:
        """The rows of a read model, in order of their keys."""
        return list(self._scenario._rows(cls, self._scenario._record(self._past, None)).values())

    @property
    def state(self) -> Any:
        """The state of the scenario's aggregate after what was given."""
        definition = self._scenario._only_aggregate()
        streams = {given.stream for given in self._past} - {None}
        if len(streams) > 1:
            raise TypeError(f"the state of which stream? Events of several were given: {sorted(map(str, streams))}")
        stream = str(streams.pop()) if streams else definition.stream_of(1)
        return self._scenario._fold(
            definition, definition.cls(), self._scenario._record(self._past, stream), "which was given"
        )

    def then_state(self, check: Callable[[Any], object] | None = None, /, **fields: object) -> Given:
        """Asserts on the state, by a function (`lambda account: account.balance > 0`) or by values of fields."""
        __tracebackhide__ = True
        _assert_state(self.state, check, fields)
        return self


class Decision:
    """What a command led to: events, or a rejection. Each assertion gives the decision back, to be chained."""

    def __init__(
        self,
        scenario: Scenario,
        command: Command,
        past: tuple[GivenEvent, ...],
        events: tuple[Event, ...],
        rejected: Rejected | None,
        state: Any,
    ) -> None:
        self._scenario = scenario
        self._command = command
        self._past = past
        self.events = events
        """The events that were decided; none for a rejected command."""
        self.rejected = rejected
        """The rejection, or None when the command was accepted."""
        self.state = state
        """The state of the aggregate after the command."""

    def when(self, command: Command) -> Decision:
        """Decides a further command, after everything so far."""
        return Given(self._scenario, self._past).when(command)

    def then(self, *expected: Event | ReadModel) -> Decision:
        """Asserts exactly what follows: the events of the command, in order, and/or all rows of a read model."""
        __tracebackhide__ = True
        events = [each for each in expected if isinstance(each, Event)]
        rows = [each for each in expected if isinstance(each, ReadModel)]
        if not expected or len(events) + len(rows) != len(expected):
            raise TypeError("then(…) takes events and rows of read models; for no event at all, say then_nothing()")
        self._assert_accepted(events)
        if events and events != list(self.events):
            raise AssertionError(f"{self._command!r} led to other events:\n{lists_compared(events, self.events)}")
        if rows:
            _assert_rows(self._scenario, self._scenario._record(self._past, None), rows)
        return self

    def then_nothing(self) -> Decision:
        """Asserts that the command was accepted and nothing had to happen."""
        __tracebackhide__ = True
        self._assert_accepted(())
        if self.events:
            raise AssertionError(f"{self._command!r} was to change nothing, but led to\n{listed(self.events)}")
        return self

    def rejects(self, reason: str = "") -> Decision:
        """Asserts that the command was rejected with a reason that contains this text."""
        __tracebackhide__ = True
        if self.rejected is None:
            raise AssertionError(f"{self._command!r} was to be rejected, but led to\n{listed(self.events)}")
        if reason not in self.rejected.reason:
            raise AssertionError(
                f"{self._command!r} was rejected for another reason:\n"
                f"{lists_compared([reason], [self.rejected.reason])}"
            )
        return self

    def then_state(self, check: Callable[[Any], object] | None = None, /, **fields: object) -> Decision:
        """Asserts on the state after the command, as `Given.then_state` does."""
        __tracebackhide__ = True
        _assert_state(self.state, check, fields)
        return self

    def rows(self, cls: type[R]) -> list[R]:
        """The rows of a read model after the command, in order of their keys."""
        return list(self._scenario._rows(cls, self._scenario._record(self._past, None)).values())

    def _assert_accepted(self, expected: list[Event] | tuple[()]) -> None:
        __tracebackhide__ = True
        if self.rejected is not None:
            raise AssertionError(
                f"{self._command!r} was rejected: {self.rejected.reason}; expected were\n{listed(expected)}"
            )


def _decided(scenario: Scenario, past: tuple[GivenEvent, ...], decider: Decider, command: Command) -> Decision:
    definition = decider.definition
    stream = decider.stream_of(command)
    placed = tuple(
        given if given.stream else msgspec.structs.replace(given, stream=_stream_for(given, definition, stream))
        for given in past
    )
    before = [recorded for recorded in scenario._record(placed, stream) if recorded.stream == stream]
    state = scenario._fold(definition, definition.cls(), before, "which was given")
    untouched = msgspec.json.decode(encode_json(state), type=definition.cls)
    rejected: Rejected | None = None
    events: tuple[Event, ...] = ()
    try:
        events = tuple(decider.events_of(state, command))
    except Rejected as refusal:
        rejected = refusal
    if state != untouched:
        raise AssertionError(
            f"{definition.cls.__name__} changed its state while it decided {command!r}; only @evolve methods may: "
            f"{fields_that_differ(untouched, state)}"
        )
    after = (*placed, *(GivenEvent(event=event, stream=stream) for event in events))
    decided = scenario._record(after, stream)[len(placed) :]
    state = scenario._fold(definition, state, decided, "which it had just decided")
    return Decision(scenario, command, after, events, rejected, state)


def _stream_for(given: GivenEvent, definition: AggregateDefinition, stream: str) -> str:
    if type(given.event) not in definition.events:
        raise TypeError(
            f"of which stream is {given.event!r}? It is not an event of {definition.cls.__name__}; "
            "say it with on('stream-1', event)"
        )
    return stream


def _must_survive(value: msgspec.Struct, what: str) -> None:
    """States are kept as snapshots, rows in tables: what does not fit its own definition is found here."""
    try:
        as_read = msgspec.json.decode(encode_json(value), type=type(value))
    except (msgspec.DecodeError, TypeError, ValueError, UnicodeEncodeError) as problem:
        raise AssertionError(f"{what} does not fit its own definition: {problem}\n    {value!r}") from problem
    if as_read != value:
        raise AssertionError(
            f"{what} is not the same after having been kept as JSON: {fields_that_differ(value, as_read)}"
        )


def _assert_rows(
    scenario: Scenario, events: list[Recorded[Any]], rows: tuple[ReadModel, ...] | list[ReadModel]
) -> None:
    __tracebackhide__ = True
    for cls in dict.fromkeys(type(row) for row in rows):
        definition = read_model_of(cls)
        there = list(scenario._rows(cls, events).values())
        wanted = sorted((row for row in rows if type(row) is cls), key=definition.key_of)
        if wanted != there:
            raise AssertionError(f"{cls.__name__} has other rows:\n{lists_compared(wanted, there)}")


def _assert_state(state: Aggregate, check: Callable[[Any], object] | None, fields: Mapping[str, object]) -> None:
    __tracebackhide__ = True
    unknown = sorted(fields.keys() - set(state.__struct_fields__))
    if unknown:
        raise TypeError(f"{type(state).__name__} has no field {', '.join(unknown)}; it has {state.__struct_fields__}")
    wrong = {name: value for name, value in fields.items() if getattr(state, name) != value}
    if wrong:
        differences = ", ".join(f"{name} is {getattr(state, name)!r}, not {value!r}" for name, value in wrong.items())
        raise AssertionError(f"{differences}; the state is\n    {state!r}")
    # A check that asserts by itself returns None.
    if check is not None and check(state) is False:
        raise AssertionError(f"the check does not hold for\n    {state!r}")
