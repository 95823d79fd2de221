"""Appending the same id again: stored once, and the first result."""

from __future__ import annotations

import asyncio

import pytest

from refold.errors import Conflict
from refold.messages.ids import new_id
from refold.store.append import AppendResult
from refold.store.event_store import EventStore
from refold.testing.contract.events import append_of, event, part

__all__ = ["Repeating"]


class Repeating:
    """What an append id does."""

    async def test_the_same_id_gives_the_first_result(self, store: EventStore) -> None:
        append = append_of(part("a-1", event(1), event(2), expected=0), part("b-1", event(3)))
        first = await store.append(append)
        again = await store.append(append)
        assert again == first
        assert (first.repeated, again.repeated) == (False, True)
        assert (await store.head()).position == 3

    async def test_it_does_not_matter_what_comes_with_it(self, store: EventStore) -> None:
        same = new_id()
        first = await store.append(append_of(part("a-1", event(1)), id=same))
        await store.append(append_of(part("a-1", event(2))))
        again = await store.append(append_of(part("z-1", event(3), expected=77), id=same))
        assert again == first
        assert (await store.head()).position == 2

    async def test_a_stale_expected_version_does_not_matter(self, store: EventStore) -> None:
        append = append_of(part("a-1", event(1), expected=0))
        first = await store.append(append)
        await store.append(append_of(part("a-1", event(2))))
        assert await store.append(append) == first

    async def test_the_same_id_twice_at_once_is_stored_once(self, store: EventStore) -> None:
        append = append_of(part("a-1", event(1), expected=0))
        results = await asyncio.gather(*(store.append(append) for _ in range(10)))
        assert all(result == results[0] for result in results)
        assert (await store.head()).position == 1

    async def test_a_repetition_in_a_chain_leaves_the_others_alone(self, store: EventStore) -> None:
        first = append_of(part("a-1", event(0), expected=0))
        done = await store.append(first)
        waiting = [
            append_of(part("a-1", event(1), expected=1)),
            first,
            append_of(part("a-1", event(2), expected=2)),
            append_of(part("b-1", event(3), expected=0)),
        ]
        results = await asyncio.gather(*(store.append(append) for append in waiting))
        assert results[1] == done
        assert [result.versions for result in results] == [{"a-1": 2}, {"a-1": 1}, {"a-1": 3}, {"b-1": 1}]
        assert [each.payload for each in await store.read_stream("a-1")] == [event(n).payload for n in range(3)]

    async def test_a_refused_append_may_be_tried_again(self, store: EventStore) -> None:
        append = append_of(part("a-1", event(1), expected=1))
        with pytest.raises(Conflict):
            await store.append(append)
        await store.append(append_of(part("a-1", event(0))))
        result = await store.append(append)
        assert isinstance(result, AppendResult)
        assert not result.repeated

    async def test_an_append_is_found_by_its_id(self, store: EventStore) -> None:
        await store.append(append_of(part("x-1")))
        append = append_of(part("a-1", event(1), event(2)), part("b-1", event(3)))
        result = await store.append(append)
        await store.append(append_of(part("x-1")))
        assert await store.find_append(append.id.bytes) == result
        assert [each.position for each in await store.read_append(append.id.bytes)] == [2, 3, 4]
        assert await store.find_append(new_id().bytes) is None
        assert await store.read_append(new_id().bytes) == []
