"""Why a row differs: the first of its events that makes the difference, found by one more look at the log.

Today's code is at hand, and the rows that earlier code made. That code itself mostly is not, only a hash of each of its
evolve methods: then the first event whose method changed is named, and it is said that this is what is known.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, StoredEvent
from refold.projections.parking.gate import Gate
from refold.projections.parking.records import ParkedKey
from refold.projections.review.changes import RowChange, Why
from refold.projections.review.comparing import Built
from refold.projections.review.earlier import Earlier
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["explained"]

_PAGE = 2_000
_ABSENT = object()


async def explained(
    store: EventStore,
    types: EventTypes,
    definition: ReadModelDefinition,
    earlier: Earlier,
    gate: Gate,
    parked: dict[RowKey, ParkedKey],
    changes: Sequence[RowChange],
    built: Built,
) -> list[RowChange]:
    """The same changes, each with its reason. `parked` are the live rows that wait, `gate` keeps back what an operator
    left out.
    """
    cases = {change.key: _Case(definition, earlier, change) for change in changes}
    fold = RowFold(definition)
    then = None if earlier.code is None else RowFold(earlier.code)
    last = max((change.position for change in changes), default=0)
    wanted = {*definition.evolves, *(() if earlier.code is None else earlier.code.evolves)}
    async for page in _pages(store, frozenset(event.__message_name__ for event in wanted), last):
        for stored in page:
            recorded = types.decode(stored)
            keys = dict.fromkeys((*fold.keys([recorded]), *(() if then is None else then.keys([recorded]))))
            for key in keys:
                case = cases.get(key)
                if case is not None and stored.position <= case.change.position:
                    case.see(recorded, fold, then, gate)
        await built.keep()
    return [
        msgspec.structs.replace(case.change, why=_waits(parked[key]) if key in parked else case.why())
        for key, case in cases.items()
    ]


async def _pages(store: EventStore, names: frozenset[str], until: int) -> AsyncIterator[list[StoredEvent]]:
    where, after = EventFilter(matching=(Matching(tuple(sorted(names))),)), 0
    while after < until:
        page = await store.read_log(after=after, limit=_PAGE, where=where)
        yield [stored for stored in page.events if stored.position <= until]
        if page.scanned_to >= page.head:
            return
        after = page.scanned_to


def _waits(parked: ParkedKey) -> Why:
    why = f"the row waits since this event, which could not be folded ({parked.error})"
    return Why(why, True, parked.position, parked.stream, parked.type)


class _Case:
    """One row that differs, folded again event by event."""

    def __init__(self, definition: ReadModelDefinition, earlier: Earlier, change: RowChange) -> None:
        self.change = change
        self._definition = definition
        self._earlier = earlier
        self._fields = tuple(change.new)
        self._row: dict[RowKey, ReadModel | None] = {}
        self._then: dict[RowKey, ReadModel | None] = {}
        self._parted: StoredEvent | None = None
        self._other_method: StoredEvent | None = None
        self._made: StoredEvent | None = None
        self._deleted: StoredEvent | None = None
        self._set: StoredEvent | None = None
        self._missed: StoredEvent | None = None
        self._stands_as_it_was = False
        self._met = False

    def see(self, recorded: Recorded[Any], fold: RowFold, then: RowFold | None, gate: Gate) -> None:
        """One event of the row."""
        key, stored = self.change.key, recorded.stored
        passes = gate.passes if gate else None
        before = self._shown(self._row.get(key), self._fields)
        was_there = self._row.get(key) is not None
        if fold.fold(self._row, [recorded], only=lambda each: each == key, passes=passes):
            self._met = True
        now = self._row.get(key)
        if self._earlier.evolves and stored.type in self._earlier.evolves:
            self._other_method = self._other_method or stored
        if now is not None and not was_there:
            self._made = stored
        if now is None and was_there:
            self._deleted = stored
        if self._set is None and self._shown(now, self._fields) != before:
            self._set = stored
        if self._is_old_row(now):
            self._stands_as_it_was, self._missed = True, None
        elif self._stands_as_it_was:
            self._missed = self._missed or stored
        if then is not None:
            # One event for both: each may keep what it is given.
            then.fold(self._then, [copy.deepcopy(recorded)], only=lambda each: each == key)
            if self._agree(now, self._then.get(key)):
                self._parted = None
            else:
                self._parted = self._parted or stored

    def _shown(self, row: ReadModel | None, names: Sequence[str]) -> list[Any]:
        # A copy: an evolve method may change what a field holds.
        shown = row if row is not None else self._definition.new_row(self.change.key)
        return [copy.deepcopy(getattr(shown, name, _ABSENT)) for name in names]

    def _is_old_row(self, row: ReadModel | None) -> bool:
        old = self.change.old
        return row is not None and bool(old) and all(getattr(row, name) == value for name, value in old.items())

    def _agree(self, now: ReadModel | None, then: ReadModel | None) -> bool:
        if now is None or then is None:
            return now is then
        names = self._earlier.compared
        fresh = self._definition.new_row(self.change.key)
        return all(getattr(now, name) == getattr(then, name) for name in names) and (
            self.change.kind != "extended"
            or all(getattr(now, name) == getattr(fresh, name) for name in self._earlier.new)
        )

    def why(self) -> Why:
        """What is known."""
        kind = self.change.kind
        if self._earlier.code is not None and self._parted is not None:
            return _named("the code that made the row and today's fold this event differently", self._parted, True)
        if kind == "extended" and self._set is not None:
            return _named(
                f"it sets {' and '.join(self._fields)} first, which the old rows do not have", self._set, True
            )
        if self._other_method is not None:
            why = "it is the first of the row's events whose evolve method is another than when the row was made"
            return _named(why, self._other_method, False)
        if not self._earlier.said and self._missed is not None and kind == "changed":
            return _named("the fields are as they were before this event: the row has not seen it", self._missed, True)
        if kind == "added" and self._made is not None:
            return _named("it makes the row", self._made, True)
        if kind == "removed" and self._deleted is not None:
            return _named("it deletes the row", self._deleted, True)
        if kind == "removed" and not self._met:
            return Why("today's code folds no event into this row", True)
        if not self._earlier.said:
            return self._changed_behind_our_back()
        return Why(f"no event: the definition itself changed ({self._earlier.said})", False)

    def _changed_behind_our_back(self) -> Why:
        why = (
            "the definition is the same, and no state of its fold has these values: somebody else changed the row, or "
            "code changed that the evolve methods only call (raise its fold_version)"
        )
        if self._set is None:
            return Why(why, False)
        return _named(f"{why}; this event sets {' and '.join(self._fields)} first", self._set, False)


def _named(because: str, event: StoredEvent, exact: bool) -> Why:
    return Why(because, exact, event.position, event.stream, event.type)
