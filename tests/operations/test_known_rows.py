"""Rows as they were, that were folded before: a head start in a long log that changes no answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from refold import App, Deleted, Event, ReadModel, evolve
from refold.app import Context
from refold.folds.read_model import ReadModelDefinition, read_model_of
from refold.operations import known_rows
from refold.operations.known_rows import KnownRows
from refold.operations.rows import NotYetFolded, row_at
from refold.projections.parking import waiting
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.operations.counting import Counting


class Counted(Event):
    number: int


class Removed(Event):
    pass


class Tally(ReadModel, key="id"):
    """Its events are in the streams of its id."""

    id: str
    numbers: tuple[int, ...] = ()

    @evolve
    def counted(self, event: Counted) -> None:
        self.numbers = (*self.numbers, event.number)

    @evolve
    def removed(self, event: Removed) -> object:
        return Deleted


class Odds(ReadModel, key="odd"):
    """Its events may be anywhere."""

    odd: int
    numbers: tuple[int, ...] = ()

    @evolve(key=lambda event: event.number % 2)
    def counted(self, event: Counted) -> None:
        self.numbers = (*self.numbers, event.number)


class Strange(ReadModel, key="id"):
    """JSON gives it back as another."""

    id: str
    seen: Any = None

    @evolve
    def counted(self, event: Counted) -> None:
        self.seen = (event.number,)


app = App("tally", read_models=[Tally, Odds, Strange])
ROWS = [(read_model_of(Tally), "1"), (read_model_of(Odds), 1), (read_model_of(Strange), "1")]
NAMES = ["of its stream", "of any stream", "that JSON changes"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and distances at which 40 events are many."""
    monkeypatch.setattr(waiting, "_PAGE", 3)
    monkeypatch.setattr(known_rows, "_EVERY", 5)


@asynccontextmanager
async def _filled(store: EventStore, first: int = 1) -> AsyncIterator[Context]:
    async with app.connect(store, projections=False) as context:
        for number in range(first, first + 40):
            event = Removed() if number == first + 20 else Counted(number=number)
            await context.append(f"box-{number % 3}", [event])
        yield context


@pytest.mark.parametrize(("definition", "key"), ROWS, ids=NAMES)
async def test_rows_are_the_same_with_and_without(
    store: EventStore, definition: ReadModelDefinition, key: object
) -> None:
    async with _filled(store) as context:
        known = KnownRows()
        for position in (*range(41), *range(40, -1, -1)):
            plain = await row_at(context, definition, key, position)
            assert await row_at(context, definition, key, position, known=known) == plain


@pytest.mark.parametrize(("definition", "key"), ROWS[:2], ids=NAMES[:2])
async def test_what_is_before_a_known_row_is_not_read_again(
    store: EventStore, definition: ReadModelDefinition, key: object
) -> None:
    async with _filled(store) as context:
        counting = context.store = Counting(store)
        known = KnownRows()
        await row_at(context, definition, key, 40, known=known)
        counting.events = 0
        await row_at(context, definition, key, 40, known=known)
        assert counting.events <= 1 + 5 + 7  # the event that it is checked by, those behind it, halves of the stream
        context.store = store


@pytest.mark.parametrize(("definition", "key"), ROWS[:2], ids=NAMES[:2])
async def test_what_takes_too_long_goes_on_where_it_was(
    store: EventStore, definition: ReadModelDefinition, key: object
) -> None:
    async with _filled(store) as context:
        known = KnownRows()
        reached: list[int] = []

        async def asked() -> ReadModel | None:
            try:
                return await row_at(context, definition, key, 40, known=known, seconds=0.0)
            except NotYetFolded as problem:
                reached.append(problem.reached)
                return await asked()

        assert await asked() == await row_at(context, definition, key, 40)
        assert len(reached) > 3
        assert reached == sorted(set(reached))
        assert max(reached) < 40


@pytest.mark.parametrize(("definition", "key"), ROWS[:2], ids=NAMES[:2])
async def test_another_log_of_that_length_is_folded_from_its_beginning(
    definition: ReadModelDefinition, key: object
) -> None:
    known = KnownRows()
    async with _filled(MemoryStore()) as context:
        await row_at(context, definition, key, 40, known=known)
    async with _filled(MemoryStore(), first=100) as restored:
        plain = await row_at(restored, definition, key, 39)
        assert await row_at(restored, definition, key, 39, known=known) == plain
