"""A subscription sees each event of its filter once and in order, and rests when there are none."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from refold.app import Context
from refold.app.stores import open_store
from refold.errors import LogRegression, StoreUnavailable
from refold.store.event_store import EventFilter, EventStore, LogPage
from refold.store.group_commit import Limits
from refold.subscriptions.pace import Pace
from refold.subscriptions.subscription import pages
from tests.projections.stores import Added, Gone, Noise, Poison, Stock, Total, bulk, shop


async def _take(events: Any, number: int) -> list[Any]:
    found = []
    async for event in events:
        found.append(event)
        if len(found) == number:
            break
    await events.aclose()
    return found


async def test_each_once_and_in_order_while_appending(idle: Context) -> None:
    await bulk(idle, 2_500, size=1_000)

    async def append(name: str) -> None:
        for _ in range(20):
            await idle.append(f"stock-{name}", [Added(count=1), Noise()])

    seen = asyncio.create_task(_take(idle.subscribe(), 2_700))
    await asyncio.gather(*(append(f"{number}") for number in range(5)))
    assert [event.position for event in await seen] == list(range(1, 2_701))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_across_pages(idle: Context, size: int) -> None:
    for number in range(10):
        await idle.append(f"stock-{number}", [Added(count=1), Noise()] if number % 3 else [Noise()])
    where = EventFilter(categories=("stock",))
    found = [
        event.position
        async for page in pages(idle.store, after=2, where=where, follow=False, size=size)
        for event in page.events
    ]
    head = (await idle.store.head()).position
    assert found == list(range(3, head + 1))


async def test_filters(idle: Context) -> None:
    await idle.append("stock-a", [Added(count=1), Noise(), Gone()])
    await idle.append("other-a", [Added(count=2), Poison()])

    async def positions(**where: Any) -> list[int]:
        return [event.position async for event in idle.events(**where)]

    assert await positions() == [1, 2, 3, 4, 5]
    assert await positions(types=[Added]) == [1, 4]
    assert await positions(types=[Added, Gone], after=1) == [3, 4]
    assert await positions(categories=["other"]) == [4, 5]
    assert await positions(categories=["other"], types=[Added]) == [4]
    assert await positions(tags=["x"]) == []
    assert [event.position for event in await _take(idle.subscribe(types=[Poison]), 1)] == [5]


async def test_beyond_the_log(idle: Context) -> None:
    await idle.append("stock-a", [Added(count=1)])
    with pytest.raises(LogRegression, match="ends at position 1, before 5"):
        await _take(idle.subscribe(after=5), 1)


async def test_it_rests_when_idle() -> None:
    """Looks become rarer, up to four a second, and quick again when something came."""
    pace = Pace()
    pauses = [pace.pause() for _ in range(20)]
    assert pauses[0] < 0.01
    assert all(0.2 <= pause <= 0.3 for pause in pauses[-5:])
    pace.found()
    assert pace.pause() < 0.01


async def test_who_leaves_early_gives_the_reader_back_at_once(idle: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    await idle.append("stock-a", [Added(count=1), Added(count=2)])
    opened, closed = idle.store.open_reader, 0

    async def watched() -> Any:
        reader = await opened()
        close = reader.close

        async def closing() -> None:
            nonlocal closed
            await close()
            closed += 1

        monkeypatch.setattr(reader, "close", closing)
        return reader

    monkeypatch.setattr(idle.store, "open_reader", watched)
    await _take(idle.subscribe(), 1)
    assert closed == 1
    await _take(idle.events(), 1)
    assert closed == 2


class Reads:
    """Counts what the readers of a store are asked for."""

    def __init__(self, store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        opened = store.open_reader

        async def counting() -> Any:
            reader = await opened()
            read = reader.read

            async def counted(*arguments: Any) -> LogPage:
                self.number += 1
                page: LogPage = await read(*arguments)
                return page

            monkeypatch.setattr(reader, "read", counted)
            return reader

        monkeypatch.setattr(store, "open_reader", counting)

    async def are_rare(self, followers: int = 1) -> bool:
        """Whether there are few, and some, in two seconds that begin now, or as many as a busy machine makes of them:
        four a second, each up to a fifth sooner, and the quick ones just after an event: 5, 10, 20 … 160 ms.
        """
        before, began = self.number, time.monotonic()
        await asyncio.sleep(2)
        return 1 <= self.number - before <= followers * (5 * (time.monotonic() - began) + 7)


async def test_an_idle_subscription_reads_rarely(idle: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(idle.store, monkeypatch)
    await idle.append("stock-a", [Added(count=1)])
    seen: list[int] = []
    arrived = asyncio.Event()

    async def follow() -> None:
        async for event in idle.subscribe():
            seen.append(event.position)
            arrived.set()

    following = asyncio.create_task(follow())
    await arrived.wait()
    assert await reads.are_rare()

    # It hears of what is appended at once, though it looks rarely.
    arrived.clear()
    await idle.append("stock-a", [Added(count=1)])
    async with asyncio.timeout(10):
        await arrived.wait()
    assert seen == [1, 2]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_idle_read_models_read_rarely_and_write_nothing_but_their_lease(
    where: str | EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = (
        await open_store(where, limits=Limits(), listen_url=None, read_only=False) if isinstance(where, str) else where
    )
    reads = Reads(store, monkeypatch)
    async with shop.connect(store, lease=4.0) as context:
        receipt = await context.append("stock-a", [Added(count=1)])
        for model in (Stock, Total):
            await context.count(model, after=receipt, timeout=20)
        before = await context.projections.sink.checkpoints()
        assert await reads.are_rare(len(shop.read_models))
        after = await context.projections.sink.checkpoints()
        assert [(each.name, each.position, each.epoch) for each in after] == [
            (each.name, each.position, each.epoch) for each in before
        ]
    if isinstance(where, str):
        await store.close()


async def test_a_store_that_was_away_for_a_moment(idle: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription goes on by itself; without `follow` the reader is told."""
    await idle.append("stock-a", [Added(count=1), Added(count=2)])
    opened = idle.store.open_reader
    failures = 2

    async def failing() -> Any:
        reader = await opened()
        read = reader.read

        async def read_or_fail(after: int, limit: int, where: Any) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreUnavailable("away")
            return await read(after, limit, where)

        monkeypatch.setattr(reader, "read", read_or_fail)
        return reader

    monkeypatch.setattr(idle.store, "open_reader", failing)
    assert [event.position for event in await _take(idle.subscribe(), 2)] == [1, 2]
    failures = 1
    with pytest.raises(StoreUnavailable):
        await _take(idle.events(), 2)
