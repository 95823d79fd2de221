"""Reading in bounded steps, and refusing a log with a hole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from refold.errors import ConditionFailed, StoreCorrupt, StoreUnavailable
from refold.store.append import ANY, AppendCondition, Matching
from refold.store.event_store import EventFilter, LogPage, LogReader
from refold.store.postgres.store import PostgresStore
from tests.store.postgres.events import append, event, run_sql, whole_log

_MANY = """
insert into refold.events (
    position, recorded_at, append_id, version, append_index, schema_version, stream, type, payload, metadata, tags
)
select n, n * 1000, gen_random_uuid(), 1, 0, 1, 'many-' || n, 'Passed', '{}', '{}',
    case when n % 2 = 0 then array['even', 'n:' || n % 100] end
from generate_series(1, 100000) n;
insert into refold.event_tags (position, tag, type)
select e.position, t.tag, e.type from refold.events e, unnest(e.tags) t (tag)"""


async def read_all(reader: LogReader, where: EventFilter) -> tuple[list[int], int]:
    """The positions that match, and how many reads it took."""
    found: list[int] = []
    after, reads = 0, 0
    while True:
        page = await reader.read(after, 500, where)
        assert page.scanned_to > after or page.scanned_to == page.head
        found += [each.position for each in page.events]
        after, reads = page.scanned_to, reads + 1
        if page.scanned_to == page.head:
            return found, reads


async def test_a_filter_that_hardly_matches_is_scanned_in_bounded_steps(store: PostgresStore, fresh_database: str):
    run_sql(fresh_database, _MANY)
    await store.append(append("rare-1", 0, event(type="Rare")))
    reader = await store.open_reader()
    found, reads = await read_all(reader, EventFilter(matching=(Matching(("Rare",)),)))
    assert (found, reads) == ([100_001], 6)
    found, reads = await read_all(reader, EventFilter(categories=("rare",)))
    assert (found, reads) == ([100_001], 6)
    found, reads = await read_all(reader, EventFilter(matching=(Matching(("Never",)),), categories=("many",)))
    assert (found, reads) == ([], 6)
    await reader.close()


async def test_a_filter_by_tag_goes_straight_to_what_is_tagged(store: PostgresStore, fresh_database: str):
    run_sql(fresh_database, _MANY)
    await store.append(append("last", 0, event(tags=["rare", "even"])))
    reader = await store.open_reader()
    assert await read_all(reader, EventFilter(matching=(Matching((), ("rare",)),))) == ([100_001], 1)
    found, _ = await read_all(reader, EventFilter(matching=(Matching((), ("n:42",)), Matching((), ("n:44", "even")))))
    assert found == [position for position in range(1, 100_001) if position % 100 in (42, 44)]
    found, _ = await read_all(reader, EventFilter(matching=(Matching(("Passed",), ("even", "n:43")),)))
    assert found == []
    await reader.close()


async def test_time_is_found_by_a_binary_search(store: PostgresStore, fresh_database: str):
    run_sql(fresh_database, _MANY)
    page = await store.read_log(where=EventFilter(recorded_from=50_000_000, recorded_until=50_003_000))
    assert [each.position for each in page.events] == [50_000, 50_001, 50_002]
    assert page.scanned_to == page.head == 100_000
    page = await store.read_log(where=EventFilter(recorded_from=50_000_000, recorded_until=50_003_000), backward=True)
    assert [each.position for each in page.events] == [50_002, 50_001, 50_000]
    for moment, position in [(0, 0), (999, 0), (1000, 1), (1001, 1), (77_777_777, 77_777), (2**60, 100_000)]:
        assert await store.position_at(moment) == position


async def test_a_condition_near_the_head_of_a_long_log_is_quick(store: PostgresStore, fresh_database: str):
    run_sql(fresh_database, _MANY, "analyze refold.events")
    matching = (Matching(("Passed",), ("even", "n:42")), Matching(("Never",), ()), Matching((), ("nobody",)))
    seconds = []
    for number in range(100):
        begun = time.monotonic()
        await store.append(append("a", ANY, event(tags=["mine"]), condition=AppendCondition(matching, 99_942 + number)))
        seconds.append(time.monotonic() - begun)
    # Of a machine that stands still for a moment, only a few of them tell.
    assert sorted(seconds)[50] < 0.05
    with pytest.raises(ConditionFailed) as failed:
        await store.append(append("a", condition=AppendCondition(matching, 99_941)))
    assert failed.value.found == 99_942


async def test_a_long_check_of_a_condition_does_not_hold_the_lock(store: PostgresStore, fresh_database: str):
    """What is in the log already can be looked through before the lock is taken."""
    run_sql(fresh_database, _MANY)
    with psycopg.connect(fresh_database) as holder:
        holder.execute("select pg_advisory_xact_lock(%s)", (store._address.lock,))
        with psycopg.connect(fresh_database) as other, pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("set lock_timeout to '50ms'")
            other.execute(
                """select refold.append(array['s'], array[0], array[gen_random_uuid()],
                array['{"after": 0, "matching": [{"types": ["Never"], "tags": []}]}']::jsonb[], null, array[1],
                array[1], array[-1], array[0], array[0], array[1]::smallint[], array['T'], array['{}'], array['{}'],
                array[null]::bigint[], null, false)"""
            )
        [(scans,)] = run_sql(fresh_database, "select refold.first_match('{\"matching\": []}', 0, 1)")
    assert scans is None


@pytest.mark.parametrize("missing", [1, 500, 999])
async def test_a_log_with_a_hole_is_refused(store: PostgresStore, fresh_database: str, missing: int):
    run_sql(
        fresh_database,
        _MANY.replace("100000", "1000"),
        "alter table refold.events disable trigger events_are_immutable",
        f"delete from refold.events where position = {missing}",
    )
    reader = await store.open_reader()
    with pytest.raises(StoreCorrupt, match=f"position {missing} is missing"):
        after = 0
        while after < 1000:
            after = (await reader.read(after, 300)).scanned_to
    with pytest.raises(StoreCorrupt, match=f"position {missing} is missing"):
        await whole_log(store)
    with pytest.raises(StoreCorrupt, match=f"position {missing} is missing"):
        await store.read_log(backward=True, limit=1000)
    await reader.close()


@pytest.mark.parametrize("behind", [0, 3], ids=["at the end", "behind"])
async def test_a_reader_ends_a_read_that_waits_when_it_is_closed(
    behind: int, store: PostgresStore, fresh_database: str
):
    async with _held_up(store, behind, fresh_database) as (reader, waiting):
        async with asyncio.timeout(20):
            await reader.close()
            with pytest.raises(StoreUnavailable):
                await waiting
    with pytest.raises(StoreUnavailable, match="closed"):
        await reader.read(0, 1)


@pytest.mark.parametrize("behind", [0, 3], ids=["at the end", "behind"])
async def test_a_read_that_is_given_up_disturbs_no_other(behind: int, store: PostgresStore, fresh_database: str):
    async with _held_up(store, behind, fresh_database) as (reader, waiting):
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        others = [asyncio.create_task(reader.read(after, 2)) for after in (1, 2)]
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        pages = await asyncio.gather(*others)
    assert [[each.position for each in page.events] for page in pages] == ([[2, 3], [3]] if behind else [[], []])
    await reader.close()


@asynccontextmanager
async def _held_up(
    store: PostgresStore, behind: int, database: str
) -> AsyncIterator[tuple[LogReader, asyncio.Task[LogPage]]]:
    """A reader that has read one of so many events, and a read of it that waits in the server."""
    for number in range(behind):
        await store.append(append(f"s-{number}", 0))
    reader = await store.open_reader()
    await reader.read(0, 1)
    with psycopg.connect(database) as blocker:
        blocker.execute("lock table refold.events in access exclusive mode")
        waiting = asyncio.create_task(reader.read(0, 1))
        async with asyncio.timeout(20):
            while not run_sql(database, "select 1 from pg_locks where not granted"):
                await asyncio.sleep(0.01)
        yield reader, waiting


async def test_reads_that_are_given_up_leave_the_store_usable(store: PostgresStore, fresh_database: str):
    await store.append(append("a"))
    with psycopg.connect(fresh_database) as blocker:
        blocker.execute("lock table refold.events in access exclusive mode")
        for _ in range(12):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await store.read_stream("a")
    assert len(await store.read_stream("a")) == 1
