"""A row as it was and the events behind it: from the streams that can change it, where these are known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from refold import App, Event, ReadModel, evolve
from refold.app import Context
from refold.errors import InvalidQuery
from refold.folds.read_model import ReadModelDefinition, read_model_of
from refold.operations.rows import events_behind, row_at
from refold.projections.parking import waiting
from refold.store.event_store import EventStore


class Counted(Event):
    number: int


class Named(Event):
    name: str


class Tally(ReadModel, key="id"):
    id: str
    numbers: tuple[int, ...] = ()

    @evolve
    def counted(self, event: Counted) -> None:
        self.numbers = (*self.numbers, event.number)


class ByName(ReadModel, key="name"):
    name: str
    named: int = 0

    @evolve(key="name")
    def was(self, event: Named) -> None:
        self.named += 1


class ByNumber(ReadModel, key="id"):
    id: int
    counted: int = 0

    @evolve
    def was(self, event: Counted) -> None:
        self.counted += 1


app = App("tally", events=[Counted, Named], read_models=[Tally, ByName, ByNumber])
TALLY = read_model_of(Tally)


class _Unread:
    """A store that is as the other, but counts the pages of the log that are asked for."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.pages = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read_log(self, **asked: Any) -> Any:
        self.pages += 1
        return await self._store.read_log(**asked)


@asynccontextmanager
async def _filled(store: EventStore) -> AsyncIterator[Context]:
    """Three categories that share ids, one whose name begins as another's, and a stream without a dash."""
    async with app.connect(store, projections=False) as context:
        number = 0
        for _ in range(4):
            for stream in ("box-1", "box-2", "box+small-1", "box", "can-1", "can-1-1", "can-2"):
                number += 1
                await context.append(stream, [Counted(number=number), Named(name=stream)])
        yield context


async def _by_hand(store: EventStore, upto: int, row: str) -> list[int]:
    page = await store.read_log(limit=1_000)
    return [
        each.position
        for each in page.events
        if each.position <= upto and each.type == "Counted" and each.stream.partition("-")[2] == row
    ]


@pytest.mark.parametrize("page", [1, 2, 1_000])
async def test_events_of_all_categories_come_in_the_order_of_the_log(
    store: EventStore, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_PAGE", page)
    async with _filled(store) as context:
        head = (await store.head()).position
        for row in ("1", "2", "1-1", "none"):
            for after in (0, 1, 13, 14, head):
                events, following = await events_behind(context, TALLY, row, after=after)
                expected = [each for each in await _by_hand(store, head, row) if each > after]
                assert [each.position for each in events] == expected
                assert following is None


async def test_pages_of_events_go_on_where_they_ended(store: EventStore) -> None:
    async with _filled(store) as context:
        found: list[int] = []
        following: int | None = 0
        while following is not None:
            events, following = await events_behind(context, TALLY, "1", after=following, limit=5)
            found += [each.position for each in events]
        assert found == await _by_hand(store, (await store.head()).position, "1")


async def test_a_row_at_each_position_is_what_the_log_says(store: EventStore) -> None:
    async with _filled(store) as context:
        for position in range((await store.head()).position + 1):
            row = await row_at(context, TALLY, "1", position)
            expected = await _by_hand(store, position, "1")
            assert len(row.numbers if isinstance(row, Tally) else ()) == len(expected)
            assert (row is None) == (not expected)


async def test_a_row_of_its_streams_id_does_not_read_the_log(store: EventStore) -> None:
    unread = _Unread(store)
    async with _filled(store) as context:
        context.store = unread
        row = await row_at(context, TALLY, "2", (await store.head()).position)
        events, _ = await events_behind(context, TALLY, "2")
        assert isinstance(row, Tally)
        assert len(row.numbers) == len(events) == 8
        assert unread.pages == 0
        context.store = store


@pytest.mark.parametrize(
    ("definition", "key", "count"),
    [(read_model_of(ByName), "box-1", 4), (read_model_of(ByNumber), 1, 12)],
    ids=["by a field of the event", "by an id that is no text"],
)
async def test_rows_of_which_the_streams_are_not_known_are_read_from_the_log(
    store: EventStore, definition: ReadModelDefinition, key: object, count: int
) -> None:
    async with app.connect(store, projections=False) as context:
        for stream in ("box-1", "can-1", "jar-1"):
            for number in range(4):
                await context.append(stream, [Counted(number=number), Named(name=stream)])
        events, following = await events_behind(context, definition, key)
        assert (len(events), following) == (count, None)
        assert await row_at(context, definition, key, events[-1].position) is not None


async def test_what_is_no_key_is_refused(store: EventStore) -> None:
    async with _filled(store) as context:
        with pytest.raises(InvalidQuery, match="cannot be a key"):
            await events_behind(context, read_model_of(ByNumber), "no number")
