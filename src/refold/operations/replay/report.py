"""What a replay found: for each aggregate and read model, how many states differ, and where the first ones part."""

from __future__ import annotations

from typing import Literal

import msgspec

from refold.messages.recorded import StoredEvent

__all__ = ["Difference", "EventFailure", "FoldReport", "Kind", "RecordedSummary", "ReplayReport", "summary_of"]

Kind = Literal["aggregate", "read model"]

_PAYLOAD = 300


class RecordedSummary(msgspec.Struct, frozen=True):
    """An event at a glance. `recorded_at` is microseconds since 1970; a long payload is cut."""

    position: int
    stream: str
    version: int
    type: str
    recorded_at: int
    payload: str


def summary_of(event: StoredEvent) -> RecordedSummary:
    """An event at a glance."""
    payload = event.payload.decode("utf-8", "replace")
    shown = payload if len(payload) <= _PAYLOAD else f"{payload[: _PAYLOAD - 1]}…"
    return RecordedSummary(event.position, event.stream, event.version, event.type, event.recorded_at, shown)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A state that is not what it was: they part after position `after`, at `until` at the latest.

    `event` is the event at which they part when `exact`; else it is the first of today's fold in that interval (None:
    it has none there). `before` and `then` are today's states before and after that interval, `now` is today's at the
    end (None: no state); `same_now`: at the end it is again what it was.
    """

    key: str
    after: int
    until: int
    exact: bool
    event: RecordedSummary | None
    before: msgspec.Raw | None
    then: msgspec.Raw | None
    now: msgspec.Raw | None
    same_now: bool


class EventFailure(msgspec.Struct, frozen=True):
    """An event that today's code cannot decode or fold, and why. `key` is the state that it belongs to, if known."""

    event: RecordedSummary
    key: str
    problem: str


class FoldReport(msgspec.Struct, kw_only=True):
    """One aggregate or read model: its states in this log, and those of them that differ (or differed on the way).

    `compared` is None when there is no baseline of it; `gone`: the baseline has it and the app has it no more.
    """

    kind: Kind
    name: str
    states: int = 0
    compared: int | None = None
    differing: int = 0
    differing_now: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)
    failed: int = 0
    failures: list[EventFailure] = msgspec.field(default_factory=list)
    same_code: bool | None = None
    new_fields: list[str] = msgspec.field(default_factory=list)
    lost_fields: list[str] = msgspec.field(default_factory=list)
    gone: bool = False

    @property
    def ok(self) -> bool:
        """Whether its fold raises nowhere and gives the same states as before."""
        return not (self.differing or self.failed or self.lost_fields or self.gone)


class ReplayReport(msgspec.Struct, kw_only=True):
    """A replay of the log up to `position`; `head` is where the log ends. `every`: states were looked at after each so
    many positions. `undecodable` events were left out of every fold; the first of them are in `unread`.
    """

    source: str
    app: str
    position: int
    head: int
    every: int
    baseline: str | None = None
    saved: str | None = None
    undecodable: int = 0
    unread: list[EventFailure] = msgspec.field(default_factory=list)
    folds: list[FoldReport] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything could be decoded and folded, and nothing differs."""
        return not self.undecodable and all(fold.ok for fold in self.folds)
