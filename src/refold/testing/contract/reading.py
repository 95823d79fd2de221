"""Reading: streams and the log, forward and backward, filtered, and in pages that miss nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from refold.errors import InvalidQuery
from refold.messages.recorded import StoredEvent
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore
from refold.testing.contract.events import append_of, event, part

__all__ = ["Reading"]


async def _some(store: EventStore) -> list[StoredEvent]:
    """A log of 60 events of three types in four streams of three categories, some of them tagged."""
    streams = ["a-1", "a-2", "b-1", "c"]
    for number in range(60):
        tags = tuple(f"t:{n}" for n in (2, 3, 5) if number % n == 0)
        kind = ("Red", "Green", "Blue")[number % 3]
        await store.append(append_of(part(streams[number % 4], event(number, type=kind, tags=tags))))
    return (await store.read_log(limit=100)).events


async def _all(store: EventStore, where: EventFilter, limit: int, *, backward: bool = False) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    after = 0
    while True:
        page = await store.read_log(after=after, limit=limit, where=where, backward=backward)
        assert len(page.events) <= limit
        found += page.events
        if page.scanned_to == after or (backward and page.scanned_to <= 1):
            return found
        assert page.scanned_to < after or not backward or after == 0
        after = page.scanned_to


class Reading:
    """What a read gives."""

    @pytest.mark.parametrize(("after", "limit"), [(-1, 10), (2**63, 10), ("1", 10), (None, 10), (0, 0), (0, -1)])
    async def test_pages_that_no_log_has(self, store: EventStore, after: Any, limit: Any) -> None:
        await store.append(append_of(part("a-1")))
        reader = await store.open_reader()
        for backward in (False, True):
            with pytest.raises(InvalidQuery):
                await store.read_stream("a-1", after=after, limit=limit, backward=backward)
            with pytest.raises(InvalidQuery):
                await store.read_log(after=after, limit=limit, backward=backward)
        with pytest.raises(InvalidQuery):
            await reader.read(after, limit)
        await reader.close()

    async def test_an_empty_log(self, store: EventStore) -> None:
        page = await store.read_log()
        assert (page.events, page.scanned_to, page.head) == ([], 0, 0)
        assert (await store.read_log(backward=True)).events == []
        assert (await store.head()).position == 0
        assert await store.read_stream("a-1") == []
        assert await store.streams() == []
        assert await store.position_at(2**60) == 0

    async def test_a_stream_forward_and_backward(self, store: EventStore) -> None:
        log = await _some(store)
        mine = [each for each in log if each.stream == "a-2"]
        assert await store.read_stream("a-2", limit=100) == mine
        assert await store.read_stream("a-2", after=5, limit=3) == mine[5:8]
        assert await store.read_stream("a-2", after=100) == []
        assert await store.read_stream("a-2", backward=True, limit=100) == mine[::-1]
        assert await store.read_stream("a-2", after=5, backward=True, limit=2) == [mine[3], mine[2]]
        assert await store.read_stream("a-2", after=1, backward=True) == []
        assert await store.read_stream("a") == []

    async def test_the_log_in_pages(self, store: EventStore) -> None:
        log = await _some(store)
        assert [each.position for each in log] == list(range(1, 61))
        everything = EventFilter()
        for limit in (1, 7, 20, 60, 1000):
            assert await _all(store, everything, limit) == log
            assert await _all(store, everything, limit, backward=True) == log[::-1]
        page = await store.read_log(after=58, limit=10)
        assert ([each.position for each in page.events], page.scanned_to, page.head) == ([59, 60], 60, 60)
        page = await store.read_log(after=60)
        assert (page.events, page.scanned_to, page.head) == ([], 60, 60)
        page = await store.read_log(after=100)
        assert (page.events, page.head) == ([], 60)

    async def test_filters(self, store: EventStore) -> None:
        log = await _some(store)
        cases: list[tuple[EventFilter, Callable[[StoredEvent], bool]]] = [
            (EventFilter(matching=(Matching(("Red",)),)), lambda e: e.type == "Red"),
            (EventFilter(matching=(Matching(("Red", "Blue")),)), lambda e: e.type != "Green"),
            (EventFilter(matching=(Matching((), ("t:2",)),)), lambda e: "t:2" in e.tags),
            (EventFilter(matching=(Matching((), ("t:2", "t:5")),)), lambda e: {"t:2", "t:5"} <= set(e.tags)),
            (
                EventFilter(matching=(Matching(("Red",), ("t:5",)), Matching(("Green",)))),
                lambda e: e.type == "Green" or (e.type == "Red" and "t:5" in e.tags),
            ),
            (EventFilter(categories=("a",)), lambda e: e.stream.startswith("a-")),
            (EventFilter(categories=("b", "c")), lambda e: e.stream in ("b-1", "c")),
            (
                EventFilter(matching=(Matching(("Red",)),), categories=("a",)),
                lambda e: e.type == "Red" and e.stream.startswith("a-"),
            ),
            (
                EventFilter(recorded_from=log[10].recorded_at, recorded_until=log[30].recorded_at),
                lambda e: log[10].recorded_at <= e.recorded_at < log[30].recorded_at,
            ),
            (EventFilter(matching=(Matching(("Never",)),)), lambda e: False),
        ]
        for where, wanted in cases:
            right = [each for each in log if wanted(each)]
            for limit in (1, 4, 100):
                assert await _all(store, where, limit) == right, where
                assert await _all(store, where, limit, backward=True) == right[::-1], where

    async def test_names_are_taken_literally(self, store: EventStore) -> None:
        odd = ["a%-1", "a_-1", "ab-1", "a*-1", "a[b]-1", "a\\-1", "'-1", "A-1"]
        for stream in odd:
            await store.append(append_of(part(stream, event(1, type=stream, tags=(stream,)))))
        for stream in odd:
            category = stream[:-2]
            for where in (
                EventFilter(categories=(category,)),
                EventFilter(matching=(Matching((stream,)),)),
                EventFilter(matching=(Matching((), (stream,)),)),
            ):
                assert [each.stream for each in await _all(store, where, 10)] == [stream]
            assert [info.stream for info in await store.streams(category=category)] == [stream]

    async def test_scanning_moves_on_when_nothing_matches(self, store: EventStore) -> None:
        await _some(store)
        never = EventFilter(matching=(Matching(("Never",)),))
        after = 0
        while after < 60:
            page = await store.read_log(after=after, where=never)
            assert page.events == []
            assert after < page.scanned_to <= page.head == 60
            after = page.scanned_to

    async def test_the_position_of_a_moment(self, store: EventStore) -> None:
        log = await _some(store)
        assert await store.position_at(log[0].recorded_at - 1) == 0
        assert await store.position_at(2**60) == 60
        for moment in {each.recorded_at for each in log}:
            right = max(each.position for each in log if each.recorded_at <= moment)
            assert await store.position_at(moment) == right

    async def test_streams_in_order(self, store: EventStore) -> None:
        log = await _some(store)
        infos = await store.streams(limit=100)
        assert [info.stream for info in infos] == ["a-1", "a-2", "b-1", "c"]
        for info in infos:
            last = [each for each in log if each.stream == info.stream][-1]
            assert (info.version, info.position, info.recorded_at) == (last.version, last.position, last.recorded_at)
        assert [info.stream for info in await store.streams(limit=2)] == ["a-1", "a-2"]
        assert [info.stream for info in await store.streams(after="a-2")] == ["b-1", "c"]
        assert [info.stream for info in await store.streams(category="a")] == ["a-1", "a-2"]
        assert [info.stream for info in await store.streams(category="a", after="a-1")] == ["a-2"]
        assert [info.stream for info in await store.streams(category="c")] == ["c"]
        assert await store.streams(category="nothing") == []

    async def test_a_reader_of_its_own(self, store: EventStore) -> None:
        log = await _some(store)
        reader = await store.open_reader()
        try:
            page = await reader.read(50, 5)
            assert (page.events, page.scanned_to, page.head) == (log[50:55], 55, 60)
            page = await reader.read(0, 5, EventFilter(matching=(Matching(("Red",)),)))
            red = [each for each in log if each.type == "Red"]
            assert page.events
            assert page.events == red[: len(page.events)]
        finally:
            await reader.close()
