"""Transactions of the user's: their appends are all done, or none of them."""

from __future__ import annotations

import asyncio

import pytest

from refold.errors import AlreadyAppended, Conflict, InvalidAppend, StoreError
from refold.store.event_store import EventStore
from refold.testing.contract.events import append_of, event, part

__all__ = ["Transactions"]


class Transactions:
    """What a transaction does with appends. What it does with tables is for stores that have some."""

    async def test_staged_appends_are_done_at_the_end(self, store: EventStore) -> None:
        async with store.transaction() as transaction:
            transaction.append(append_of(part("a-1", event(1), expected=0)))
            transaction.append(append_of(part("a-1", event(2), expected=1), part("b-1", event(3))))
            assert not transaction.results
        assert [(each.first, each.last, each.versions) for each in transaction.results] == [
            (1, 1, {"a-1": 1}),
            (2, 3, {"a-1": 2, "b-1": 1}),
        ]
        assert [each.payload for each in await store.read_stream("a-1")] == [event(1).payload, event(2).payload]
        assert (await store.head()).position == 3

    async def test_nothing_is_staged_after_the_end(self, store: EventStore) -> None:
        async with store.transaction() as transaction:
            transaction.append(append_of(part("a-1", event(1))))
        with pytest.raises(StoreError, match="is over"):
            transaction.append(append_of(part("a-1", event(2))))
        with pytest.raises(StoreError, match="is over"):
            await transaction.execute("select 1")
        with pytest.raises(ZeroDivisionError):  # the block is what is tested
            async with store.transaction() as failed:
                raise ZeroDivisionError
        with pytest.raises(StoreError, match="is over"):
            failed.append(append_of(part("a-1", event(2))))
        assert (await store.head()).position == 1

    async def test_an_exception_stores_nothing(self, store: EventStore) -> None:
        with pytest.raises(ZeroDivisionError):  # the block is what is tested
            async with store.transaction() as transaction:
                transaction.append(append_of(part("a-1")))
                raise ZeroDivisionError
        assert (await store.head()).position == 0

    async def test_one_conflict_stores_nothing(self, store: EventStore) -> None:
        with pytest.raises(Conflict) as conflict:  # the block is what is tested
            async with store.transaction() as transaction:
                transaction.append(append_of(part("a-1", event(1))))
                transaction.append(append_of(part("b-1", event(2), expected=3)))
        assert not transaction.results
        assert (conflict.value.stream, conflict.value.expected, conflict.value.actual) == ("b-1", 3, 0)
        assert (await store.head()).position == 0
        result = await store.append(append_of(part("a-1", expected=0)))
        assert result.first == 1

    async def test_a_transaction_that_was_done_before_is_rolled_back(self, store: EventStore) -> None:
        done = append_of(part("a-1", event(1)))
        await store.append(done)
        with pytest.raises(AlreadyAppended) as again:
            async with store.transaction() as transaction:
                transaction.append(append_of(part("b-1", event(2))))
                transaction.append(done)
        assert again.value.append_id == done.id
        assert (await store.head()).position == 1
        await store.append(append_of(part("b-1", event(2), expected=0)))

    async def test_what_cannot_be_stored_is_refused_at_once(self, store: EventStore) -> None:
        async with store.transaction() as transaction:
            with pytest.raises(InvalidAppend):
                transaction.append(append_of(part("")))
        assert (await store.head()).position == 0

    async def test_transactions_and_appends_share_the_log(self, store: EventStore) -> None:
        async def in_transaction(number: int) -> None:
            async with store.transaction() as transaction:
                transaction.append(append_of(part(f"t-{number}", event(number), event(number))))

        async def alone(number: int) -> None:
            await store.append(append_of(part(f"a-{number}", event(number))))

        await asyncio.gather(*(in_transaction(n) for n in range(10)), *(alone(n) for n in range(20)))
        page = await store.read_log(limit=100)
        assert [each.position for each in page.events] == list(range(1, 41))
