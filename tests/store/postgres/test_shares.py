"""The log is read by several processes: each event by one of them, and those of one id by the same."""

from __future__ import annotations

import pytest

from refold.errors import InvalidQuery, StoreCorrupt
from refold.messages.recorded import StoredEvent
from refold.store.postgres.store import PostgresStore
from tests.store.postgres.events import append, event, run_sql, whole_log

_STREAMS = ["account-1", "card-1", "account-2", "card-2", "account-ž-7", "card-ž-7", "alone", "account-" + "9" * 200]


async def _filled(store: PostgresStore) -> list[StoredEvent]:
    for number in range(200):
        name = _STREAMS[number % len(_STREAMS)]
        await store.append(append(name, number // len(_STREAMS), event(number, tags=[name[:3]])))
        await store.append(append(f"many-{number}", 0))
    return await whole_log(store)


async def _share(store: PostgresStore, number: int, of: int, size: int = 37) -> list[StoredEvent]:
    """All that one process reads, page by page."""
    reader = await store.open_share(number, of)
    found: list[StoredEvent] = []
    after = 0
    while True:
        page = await reader.read(after, size)
        assert page.scanned_to == min(after + size, page.head)
        assert all(after < each.position <= page.scanned_to for each in page.events)
        found += page.events
        after = page.scanned_to
        if after == page.head:
            await reader.close()
            return found


@pytest.mark.parametrize("of", [1, 2, 3, 7])
async def test_each_event_is_in_one_share(of: int, store: PostgresStore) -> None:
    log = await _filled(store)
    shares = [await _share(store, number, of) for number in range(of)]
    assert sorted((each for share in shares for each in share), key=lambda each: each.position) == log
    assert all(share == sorted(share, key=lambda each: each.position) for share in shares)
    assert all(len(share) > 20 for share in shares), "each has its part of the work"
    share_of = {each.stream: number for number, share in enumerate(shares) for each in share}
    assert sum(len({each.stream for each in share}) for share in shares) == len(share_of), "a stream is in one share"
    for one, other in zip(_STREAMS[0:6:2], _STREAMS[1:6:2], strict=True):
        assert share_of[one] == share_of[other], "a row may be made from both"


async def test_beyond_the_end(store: PostgresStore) -> None:
    reader = await store.open_share(0, 2)
    page = await reader.read(0, 10)
    assert (page.events, page.scanned_to, page.head) == ([], 0, 0)
    await store.append(append("a-1", 0))
    page = await reader.read(5, 10)
    assert (page.events, page.scanned_to, page.head) == ([], 5, 1)
    with pytest.raises(InvalidQuery):
        await reader.read(-1, 10)
    await reader.close()


@pytest.mark.parametrize("number", [0, 1])
async def test_a_hole_is_noticed_in_whatever_share_it_is(number: int, store: PostgresStore, fresh_database: str):
    for each in range(20):
        await store.append(append(f"many-{each}", 0))
    run_sql(
        fresh_database,
        "alter table refold.events disable trigger events_are_immutable",
        "delete from refold.events where position = 7",
    )
    reader = await store.open_share(number, 2)
    assert (await reader.read(7, 100)).scanned_to == 20
    with pytest.raises(StoreCorrupt, match="of the positions 1 to 20 only 19 are in the log"):
        await reader.read(0, 100)
    await reader.close()
