"""The database itself keeps the promises: events never change, whoever asks, and what is committed is on the disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from refold.errors import StoreCorrupt, StoreError
from refold.operations.verify import verify
from refold.store.event_store import EventFilter, Snapshot
from refold.store.sqlite import SqliteStore, open_sqlite
from tests.store.postgres.events import append, assert_sound, event, whole_log
from tests.store.sqlite.files import drop_guards, run_sql

_COLUMNS = "position, stream, version, type, schema_version, payload, metadata, recorded_at, append_id, append_index"
CHANGES = [
    "update events set payload = '{}' where position = 1",
    "update events set position = 9 where position = 2",
    "delete from events",
    "delete from events where position = 2",
    f"replace into events ({_COLUMNS}) select {_COLUMNS} from events where position = 1",
    f"insert or replace into events ({_COLUMNS}) "
    "select 1, 'b', 1, type, 1, payload, metadata, recorded_at, x'00', 0 from events where position = 1",
    # A new position, but the place of another event in its stream, or the id of another append.
    f"replace into events ({_COLUMNS}) "
    "select 3, 'a', 1, type, 1, payload, metadata, recorded_at, x'00', 0 from events where position = 1",
    f"replace into events ({_COLUMNS}) "
    "select 3, 'a', 3, type, 1, payload, metadata, recorded_at, append_id, 0 from events where position = 1",
    "insert into events (position, stream, version, type, schema_version, payload, metadata, recorded_at, append_id, "
    "append_index) values (4, 'a', 3, 'T', 1, '{}', '{}', 1, x'00', 0)",
    "update event_tags set tag = 'y'",
    "delete from event_tags",
]


@pytest.fixture
async def two_events(store: SqliteStore) -> SqliteStore:
    await store.append(append("a", 0, event(1, tags=["x"])))
    await store.append(append("a", 1, event(2, tags=["x"])))
    return store


@pytest.mark.parametrize("change", CHANGES)
async def test_nothing_changes_an_event_on_our_own_connection(two_events: SqliteStore, change: str):
    before = await whole_log(two_events)
    with pytest.raises(StoreError, match=r"events are (never|only)|tags of events are never"):
        async with two_events.transaction() as transaction:
            await transaction.execute(change)
    assert await whole_log(two_events) == before


@pytest.mark.parametrize("setting", ["pragma recursive_triggers = off", "pragma recursive_triggers = on"])
@pytest.mark.parametrize("change", CHANGES)
async def test_nothing_changes_an_event_from_another_program(
    two_events: SqliteStore, file: Path, change: str, setting: str
):
    """Its connection has none of our settings; REPLACE then deletes without asking the triggers against deleting."""
    before = await whole_log(two_events)
    with pytest.raises(sqlite3.IntegrityError, match=r"events are (never|only)|tags of events are never"):
        run_sql(file, setting, change)
    assert await whole_log(two_events) == before
    await two_events.append(append("a", 2))
    assert_sound(await whole_log(two_events))


async def _settings(store: SqliteStore) -> tuple[str, int]:
    async with store.transaction() as transaction:
        [(journal,)] = await transaction.execute("pragma journal_mode")
        [(synchronous,)] = await transaction.execute("pragma synchronous")
    return journal, synchronous


async def test_each_commit_of_events_survives_a_power_cut(store: SqliteStore):
    """The write-ahead log, flushed by each commit: FULL is 2."""
    assert await _settings(store) == ("wal", 2)
    # A snapshot can be made again, so its commit is not flushed; that must not stay so for the events after it.
    await store.append(append("a"))
    await store.save_snapshot(Snapshot("a", 1, 1, bytes(16), "f", b"{}"))
    assert await _settings(store) == ("wal", 2)

    def fail(connection: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.transact(fail, durable=False)
    assert await _settings(store) == ("wal", 2)


async def test_a_file_that_was_made_without_a_write_ahead_log_gets_one(file: Path, url: str):
    store = await open_sqlite(url)
    await store.append(append("a"))
    await store.close()
    assert run_sql(file, "pragma journal_mode = delete") == [("delete",)]
    store = await open_sqlite(url)
    assert await _settings(store) == ("wal", 2)
    assert len(await whole_log(store)) == 1
    await store.close()


@pytest.mark.parametrize(("gone", "missing"), [(1, "position 1 is"), (3, "position 3 is"), (4, "position 4 is")])
async def test_a_hole_that_was_made_without_the_guards_is_noticed(
    store: SqliteStore, file: Path, gone: int, missing: str
):
    for number in range(5):
        await store.append(append("a", number, event(number)))
    drop_guards(file)
    run_sql(file, f"delete from events where position = {gone}")

    with pytest.raises(StoreCorrupt, match=f"{missing} missing in the log"):
        await store.read_log()
    with pytest.raises(StoreCorrupt, match=f"{missing} missing in the log"):
        await store.read_log(backward=True)
    reader = await store.open_reader()
    with pytest.raises(StoreCorrupt, match=f"{missing} missing in the log"):
        await reader.read(0, 1000)
    await reader.close()
    # What does not go over the hole can still be read, and so can the rest of the log with a filter.
    assert [each.position for each in (await store.read_log(after=gone)).events] == list(range(gone + 1, 6))
    page = await store.read_log(where=EventFilter(categories=("a",)))
    assert gone not in [each.position for each in page.events]

    report = await verify(store, None, None)
    broken = {check.name: str(check.findings) for check in report.checks if not check.ok}
    assert set(broken) >= {"positions", "guards"}
    assert f"position {gone} is missing" in broken["positions"]


async def test_a_person_reads_the_events_in_the_sqlite_shell(store: SqliteStore, file: Path):
    await store.append(append("a-1", 0, event(7, tags=["x:1"])))
    [row] = run_sql(file, "select position, stream, version, type, payload from log")
    assert row == (1, "a-1", 1, "Counted", '{"number":7}')
