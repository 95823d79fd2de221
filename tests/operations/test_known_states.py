"""States that were folded before: a head start in a long stream that changes no answer, and takes little memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from refold import Aggregate, App, Event, evolve
from refold.app import Context
from refold.messages.recorded import from_microseconds
from refold.operations import changes, known_states, state
from refold.operations.changes import changes_of
from refold.operations.known_states import KnownStates
from refold.operations.shelf import Shelf
from refold.operations.state import state_of
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.operations.counting import Counting


class Added(Event):
    number: int


class Flagged(Event):
    pass


class Sum(Aggregate, stream="sum", id="sum_id"):
    total: int = 0
    numbers: tuple[int, ...] = ()
    flagged: bool = False

    @evolve
    def added(self, event: Added) -> None:
        self.total += event.number
        self.numbers = (*self.numbers, event.number)

    @evolve
    def flag(self, event: Flagged) -> None:
        self.flagged = True


class Odd(Aggregate, stream="odd", id="odd_id"):
    seen: Any = None

    @evolve
    def added(self, event: Added) -> None:
        self.seen = (event.number,)


app = App("sums", aggregates=[Sum, Odd])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and distances at which 35 events are many."""
    monkeypatch.setattr(state, "_PAGE", 10)
    monkeypatch.setattr(changes, "_PAGE", 5)
    monkeypatch.setattr(known_states, "_EVERY", 10)


@asynccontextmanager
async def _filled(store: EventStore, count: int = 35, first: int = 1) -> AsyncIterator[Context]:
    async with app.connect(store, projections=False) as context:
        for number in range(first, first + count):
            event = Flagged() if number == 33 else Added(number=number)
            await context.append("sum-1", [event])
        yield context


async def test_states_are_the_same_with_and_without(store: EventStore) -> None:
    async with _filled(store):
        known = KnownStates()
        for version in (*range(36), *range(35, -1, -1)):
            plain = await state_of(store, app, "sum-1", at_version=version)
            assert await state_of(store, app, "sum-1", at_version=version, known=known) == plain
        for event in await store.read_stream("sum-1"):
            moment = from_microseconds(event.recorded_at)
            for at in ({"at_position": event.position}, {"as_of": moment}, {"as_of": moment, "time": "occurred"}, {}):
                plain = await state_of(store, app, "sum-1", **at)
                found = await state_of(store, app, "sum-1", known=known, **at)
                assert found == plain


async def test_changes_are_the_same_with_and_without(store: EventStore) -> None:
    async with _filled(store):
        known = KnownStates()
        for _ in range(2):
            for after in range(36):
                for field in ("", "flagged"):
                    plain = await changes_of(store, app, "sum-1", after=after, limit=3, field=field)
                    found = await changes_of(store, app, "sum-1", after=after, limit=3, field=field, known=known)
                    assert found == plain


async def test_a_search_for_changes_that_runs_out_of_time_goes_on_where_it_was(store: EventStore) -> None:
    async with _filled(store):
        known = KnownStates()
        found: list[int] = []
        calls = 0
        after: int | None = 0
        while after is not None:
            steps, after = await changes_of(store, app, "sum-1", after=after, field="flagged", seconds=0.0, known=known)
            found += [stored.version for stored, _ in steps]
            calls += 1
        assert found == [33]
        assert calls == 8


async def test_the_events_before_a_known_state_are_not_read_again(store: EventStore) -> None:
    async with _filled(store):
        known, counting = KnownStates(), Counting(store)
        await state_of(counting, app, "sum-1", known=known)
        assert counting.events == 35
        counting.events = 0

        await state_of(counting, app, "sum-1", at_version=34, known=known)
        await changes_of(counting, app, "sum-1", after=33, limit=1, known=known)

        assert counting.events == (1 + 5) + (1 + 5)


async def test_another_stream_of_that_name_is_folded_from_its_first_event() -> None:
    known = KnownStates()
    async with _filled(MemoryStore()) as context:
        await state_of(context.store, app, "sum-1", known=known)
    async with _filled(MemoryStore(), first=100) as restored:
        shown = await state_of(restored.store, app, "sum-1", at_version=31, known=known)
        assert shown == await state_of(restored.store, app, "sum-1", at_version=31)


async def test_they_take_no_more_than_they_may(store: EventStore) -> None:
    async with _filled(store) as context:
        shelf: Shelf[str] = Shelf(limit=600)
        known = KnownStates(shelf)
        for number in range(20):
            for _ in range(10):
                await context.append(f"sum-x{number}", [Added(number=1)])
            await state_of(store, app, f"sum-x{number}", known=known)
            assert sum(each.size for name in range(20) for each in shelf.of(f"sum-x{name}")) <= 600
        assert shelf.of("sum-x19")


async def test_what_json_does_not_give_back_is_not_kept(store: EventStore) -> None:
    async with app.connect(store, projections=False) as context:
        for number in range(12):
            await context.append("odd-1", [Added(number=number)])
        known = KnownStates()
        for version in (12, 11):
            shown = await state_of(store, app, "odd-1", at_version=version, known=known)
            assert shown.state.seen == (version - 1,)
