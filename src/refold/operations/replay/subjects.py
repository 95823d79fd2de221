"""A subject of a replay: one aggregate or one read model, with the states that its fold makes of the log."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from refold.app import App
from refold.folds.aggregate import AggregateDefinition
from refold.folds.engine import AggregateFold, RowFold
from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes, encode_json
from refold.messages.recorded import Recorded, StoredEvent, category_of
from refold.operations.replay.digests import ABSENT, FAILED, Track, digester
from refold.operations.replay.report import EventFailure, Kind, summary_of

__all__ = ["Fold", "Subject", "folds_of"]

_FAILED = object()
_NOTED = 1_000


class Fold(Protocol):
    """How events become the states of one aggregate or read model."""

    kind: Kind
    name: str
    fields: tuple[str, ...]
    fingerprint: str

    def keys(self, recorded: Recorded[Any]) -> Collection[Any]:
        """The keys of the states that an event belongs to."""
        ...

    def step(self, key: Any, state: Any, recorded: Recorded[Any]) -> Any:
        """The state after one more event; None: there is none."""
        ...

    def key_text(self, key: Any) -> bytes:
        """A key as JSON."""
        ...


class _AggregateStates:
    kind: Kind = "aggregate"

    def __init__(self, definition: AggregateDefinition, types: EventTypes) -> None:
        self.name = definition.category
        self.fields = definition.cls.__struct_fields__
        self.fingerprint = definition.fingerprint
        self._definition = definition
        self._fold = AggregateFold[Any](definition, types)

    def keys(self, recorded: Recorded[Any]) -> Collection[str]:
        stream = recorded.stored.stream
        return (stream,) if category_of(stream) == self.name else ()

    def step(self, key: Any, state: Any, recorded: Recorded[Any]) -> Any:
        after = self._fold.fold(self._definition.cls() if state is None else state, (recorded.stored,))
        every = self._definition.snapshot_every
        if every is not None and recorded.stored.version % every == 0:
            # As from a snapshot: the next event is folded onto what JSON has kept of the state.
            kept = msgspec.json.decode(encode_json(after), type=self._definition.cls)
            if kept == after:  # no snapshot is taken of a state that JSON would change
                return kept
        return after

    def key_text(self, key: str) -> bytes:
        return encode_json(key)


class _Rows:
    kind: Kind = "read model"

    def __init__(self, definition: ReadModelDefinition) -> None:
        self.name = definition.name
        self.fields = definition.cls.__struct_fields__
        self.fingerprint = definition.fingerprint
        self._fold = RowFold(definition)

    def keys(self, recorded: Recorded[Any]) -> Collection[RowKey]:
        return self._fold.keys((recorded,))

    def step(self, key: RowKey, state: Any, recorded: Recorded[Any]) -> Any:
        rows = {key: state}
        self._fold.fold(rows, (recorded,), only=partial(operator.eq, key))
        self._fold.changes(rows, (key,))
        return rows[key]

    def key_text(self, key: RowKey) -> bytes:
        return encode_json(key)


def folds_of(app: App) -> list[Fold]:
    """The folds of an app: its aggregates, and then its read models, each in the order of their names."""
    aggregates: list[Fold] = [_AggregateStates(definition, app.types) for definition in app.aggregates.values()]
    read_models: list[Fold] = [_Rows(definition) for definition in app.read_models.values()]
    by_name = operator.attrgetter("name")
    return [*sorted(aggregates, key=by_name), *sorted(read_models, key=by_name)]


class Subject:
    """The states of one fold in a range of its keys, while the log is read. When they are too many, `shrink` leaves the
    upper half to a later pass over the log; `next_range` turns to what was left.

    With `keys` (as JSON) it is only about those.
    """

    def __init__(
        self, fold: Fold, every: int, fields: Sequence[str] | None = None, keys: Collection[bytes] | None = None
    ) -> None:
        self.fold = fold
        self.done = False
        self._every = every
        self._digest = digester(fold.fields if fields is None else fields)
        self._only = keys
        self._low = b""
        self._high: bytes | None = None
        self._first_pass = True
        self._begin()

    def _begin(self) -> None:
        self._tracks: dict[Any, Track] = {}
        self._states: dict[Any, Any] = {}
        self._stuck: dict[Any, EventFailure] = {}
        self._touched: dict[Any, StoredEvent] = {}
        self._interval = 0
        self.bytes = 0
        self.unrouted = 0
        self.unrouted_failures: list[EventFailure] = []

    @property
    def size(self) -> int:
        """How many states it has in memory."""
        return len(self._tracks)

    def take(self, recorded: Recorded[Any]) -> None:
        """Folds one event."""
        interval = -(-recorded.stored.position // self._every)
        if interval != self._interval:
            self.settle()
            self._interval = interval
        try:
            keys = self.fold.keys(recorded)
        except Exception as problem:  # noqa: BLE001  # the user's own function gives the key
            if self._first_pass:
                self.unrouted += 1
                if len(self.unrouted_failures) < _NOTED:
                    self.unrouted_failures.append(
                        EventFailure(summary_of(recorded.stored), "", f"its key cannot be found: {problem!r}")
                    )
            return
        for key in keys:
            if key not in self._tracks:
                if not self._has(key):
                    continue
                self._tracks[key] = Track()
            elif key in self._stuck:
                continue
            try:
                self._states[key] = self.fold.step(key, self._states.get(key), recorded)
            except Exception as problem:  # noqa: BLE001  # whatever a fold of the user's raises ends this state only
                self._fail(key, recorded.stored, problem)
            self._touched[key] = recorded.stored

    def settle(self) -> None:
        """Notes the states that changed in the interval that is over."""
        for key, last in self._touched.items():
            self.bytes += self._tracks[key].see(self._interval, self._digest_of(key, last))
        self._touched.clear()

    def _digest_of(self, key: Any, last: StoredEvent) -> bytes:
        state = self._states.get(key)
        if state is None:
            self._states.pop(key, None)
            return ABSENT
        if state is _FAILED:
            return FAILED
        try:
            return self._digest(state)
        except Exception as problem:  # noqa: BLE001  # a state may hold what no JSON can
            self._fail(key, last, problem)
            return FAILED

    def state(self, key_text: bytes) -> Any:
        """The state of a key now; None: there is none, or it could not be folded."""
        for key, state in self._states.items():
            if self.fold.key_text(key) == key_text:
                return None if state is _FAILED else state
        return None

    def tracks(self) -> Iterator[tuple[bytes, Track, Any]]:
        """Key (as JSON), track and state of each, in the order of the keys as JSON."""
        by_text = sorted((self.fold.key_text(key), key) for key in self._tracks)
        for text, key in by_text:
            state = self._states.get(key)
            yield text, self._tracks[key], None if state is _FAILED else state

    def failures(self) -> Iterable[EventFailure]:
        """The events at which a state of this range could not be folded any further."""
        return self._stuck.values()

    def shrink(self) -> bool:
        """Leaves the upper half of the keys to a later pass. False: there is only one."""
        texts = {self.fold.key_text(key): key for key in self._tracks}
        if len(texts) < 2:
            return False
        self._high = sorted(texts)[len(texts) // 2]
        for text, key in texts.items():
            if text >= self._high:
                self.bytes -= len(self._tracks[key].steps)
                for kept in (self._tracks, self._states, self._stuck, self._touched):
                    kept.pop(key, None)
        return True

    def next_range(self) -> None:
        """Ends a pass over the log: what was left to a later one is next."""
        self.done = self._high is None
        self._low, self._high = self._high or self._low, None
        self._first_pass = False
        self._begin()

    def _has(self, key: Any) -> bool:
        if self._only is None and not self._low and self._high is None:
            return True
        text = self.fold.key_text(key)
        if self._only is not None:
            return text in self._only
        return self._low <= text and (self._high is None or text < self._high)

    def _fail(self, key: Any, stored: StoredEvent, problem: Exception) -> None:
        cause = problem.__cause__ if problem.__cause__ is not None else problem
        self._states[key] = _FAILED
        self._stuck[key] = EventFailure(summary_of(stored), self.fold.key_text(key).decode(), repr(cause))
