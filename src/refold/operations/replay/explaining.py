"""Where the first differing states part: the event, and today's states around it, from one more look at the log."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import msgspec

from refold.errors import DecodeError, UnknownEvent
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, StoredEvent
from refold.operations.progress import Progress
from refold.operations.replay.comparison import Parting
from refold.operations.replay.digests import shown_state
from refold.operations.replay.recorded_log import RecordedLog
from refold.operations.replay.report import Difference, summary_of
from refold.operations.replay.subjects import Fold, Subject

__all__ = ["explain"]


class _Case:
    """One state, watched until it parts from what it was."""

    def __init__(self, fold: Fold, parting: Parting, every: int, head: int) -> None:
        self.fold = fold
        self.parting = parting
        self.after = (parting.interval - 1) * every
        self.until = min(parting.interval * every, head)
        self._subject = Subject(fold, 1, keys=(parting.key,))
        self._before: msgspec.Raw | None = None
        self._known_before = False
        self._candidates = 0
        self._event: StoredEvent | None = None

    def see(self, stored: StoredEvent, types: EventTypes) -> None:
        if stored.position > self.after and not self._known_before:
            self._before, self._known_before = self._state(), True
        recorded = _decoded(stored, types)
        # The only event of the interval it is, whoever reads it; else one of those that are folded here today.
        alone = self.until == self.after + 1
        if stored.position > self.after and (alone or (recorded is not None and self._belongs(recorded))):
            self._candidates += 1
            self._event = self._event or stored
        if recorded is not None:
            self._subject.take(recorded)

    def difference(self) -> Difference:
        alone = self._candidates == 1 and self.fold.kind == "aggregate"
        return Difference(
            key=self.parting.key.decode(),
            after=self.after,
            until=self.until,
            # An aggregate's events are all those of its stream; a row may have been changed by any event, before.
            exact=self.until == self.after + 1 or alone,
            event=None if self._event is None else summary_of(self._event),
            before=self._before,
            then=self._state(),
            now=self.parting.now,
            same_now=self.parting.same_now,
        )

    def _belongs(self, recorded: Recorded[Any]) -> bool:
        try:
            return any(self.fold.key_text(key) == self.parting.key for key in self.fold.keys(recorded))
        except Exception:  # noqa: BLE001  # it was told of when the log was folded
            return False

    def _state(self) -> msgspec.Raw | None:
        self._subject.settle()
        state = self._subject.state(self.parting.key)
        return None if state is None else shown_state(state)


async def explain(
    log: RecordedLog,
    types: EventTypes,
    partings: list[tuple[Fold, Parting]],
    every: int,
    head: int,
    progress: Progress,
) -> list[Difference]:
    """The differences, in the order of `partings`. Reads the log up to the last of them."""
    cases = [_Case(fold, parting, every, head) for fold, parting in partings]
    last = max((case.until for case in cases), default=0)
    waiting = list(cases)
    if waiting:
        async with aclosing(log.pages(last)) as pages:
            async for page in pages:
                for stored in page:
                    for case in waiting:
                        case.see(stored, types)
                    if any(case.until == stored.position for case in waiting):
                        waiting = [case for case in waiting if case.until > stored.position]
                progress("look at the differences", page[-1].position if page else 0, last)
    return [case.difference() for case in cases]


def _decoded(stored: StoredEvent, types: EventTypes) -> Recorded[Any] | None:
    try:
        return types.decode(stored)
    except (UnknownEvent, DecodeError):
        return None
