"""A file that cannot be used is one line that says what, where and what to do, and is left as it was."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from refold.errors import (
    ConfigurationError,
    SchemaMismatch,
    StoreCorrupt,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
)
from refold.store.sqlite import SqliteStore, connection, examine_sqlite, migrate_sqlite, open_sqlite, schema
from tests.store.postgres.events import append, assert_sound, event, whole_log
from tests.store.sqlite.files import contents, run_sql, write

_ROOT = Path(__file__).parents[3]
_WRITER = """
import asyncio, sys
from refold.store.sqlite import open_sqlite

async def main():
    store = await open_sqlite(sys.argv[1])
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.close()

asyncio.run(main())
"""


@contextmanager
def another_writer(url: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the file open for writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, url],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.communicate()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for other programs' locks for a moment only."""
    monkeypatch.setattr(connection, "_BUSY_MILLISECONDS", 50)


async def make(url: str) -> None:
    store = await open_sqlite(url)
    for number in range(3):
        await store.append(append("a", number, event(number)))
    await store.close()


def one_line(problem: pytest.ExceptionInfo[BaseException], *said: str) -> None:
    text = str(problem.value)
    assert "\n" not in text
    for each in said:
        assert each in text


# --- one writer -------------------------------------------------------------------------------------------------------


async def test_a_second_writing_process_is_refused_with_the_pid_of_the_first(url: str, file: Path):
    with another_writer(url, file.parent) as process:
        with pytest.raises(StoreLocked, match=rf"another process \(pid {process.pid}\)") as problem:
            await open_sqlite(url)
        one_line(problem, str(file), "open this one read-only")
        with pytest.raises(StoreLocked, match=f"pid {process.pid}"):
            await migrate_sqlite(url)
        beside = await open_sqlite(url, read_only=True)
        assert await whole_log(beside) == []
        await beside.close()
    await make(url)


async def test_a_writer_that_was_killed_keeps_nobody_out(url: str, file: Path):
    with another_writer(url, file.parent) as process:
        process.kill()
        process.wait()
        assert file.with_name("log.db.lock").read_text() == f"{process.pid}\n"
        await make(url)


async def test_a_second_store_in_this_process_is_refused(store: SqliteStore, url: str):
    with pytest.raises(StoreLocked, match="open for writing in this process already"):
        await open_sqlite(url)
    await store.append(append("a"))  # the attempt took nothing from the one that is open
    assert len(await whole_log(store)) == 1


@pytest.mark.parametrize("name", ["link", "link to a link", "through a linked folder", "with dots", "relative"])
async def test_the_lock_is_the_files_whatever_it_is_called(
    name: str, url: str, file: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = file.parent
    await make(url)
    (folder / "alias.db").symlink_to(file)
    (folder / "again.db").symlink_to(folder / "alias.db")
    (folder / "linked").symlink_to(folder, target_is_directory=True)
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder)
    other = {
        "link": f"sqlite:///{folder}/alias.db",
        "link to a link": f"sqlite:///{folder}/again.db",
        "through a linked folder": f"sqlite:///{folder}/linked/log.db",
        "with dots": f"sqlite:///{folder}/inner/../log.db",
        "relative": "sqlite:///log.db",
    }[name]
    with another_writer(other, folder) as process, pytest.raises(StoreLocked, match=f"pid {process.pid}"):
        await open_sqlite(url)
    with another_writer(url, folder) as process:
        with pytest.raises(StoreLocked, match=f"pid {process.pid}"):
            await open_sqlite(other)
        beside = await open_sqlite(other, read_only=True)
        assert len(await whole_log(beside)) == 3
        await beside.close()


async def test_a_file_with_two_names_is_refused_under_both(url: str, file: Path):
    """Its write-ahead log is named after it: under two names there would be two of them, and two writers."""
    await make(url)
    second = file.with_name("second.db")
    os.link(file, second)
    for name in (file, second):
        for read_only in (False, True):
            with pytest.raises(StoreUnavailable, match="2 names") as problem:
                await open_sqlite(f"sqlite:///{name}", read_only=read_only)
            one_line(problem, str(name), "hard link", "symbolic link")
        checks = {check.name: check for check in await examine_sqlite(f"sqlite:///{name}")}
        assert (checks["file"].health, "2 names" in checks["file"].detail) == ("error", True)
    second.unlink()
    store = await open_sqlite(url)
    assert len(await whole_log(store)) == 3
    await store.close()


async def test_another_programs_transaction_is_waited_for_and_then_named(impatient: None, url: str, file: Path):
    await make(url)
    store = await open_sqlite(url)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StoreLocked, match="locked by another program") as problem:
            await store.append(append("a", 3))
        one_line(problem, str(file), "sqlite3 shell")
        with pytest.raises(StoreLocked, match="locked by another program"):
            async with store.transaction() as transaction:
                transaction.append(append("a", 3))
        assert len(await whole_log(store)) == 3  # who reads is not held up
        other.execute("rollback")
    assert (await store.append(append("a", 3))).first == 4
    await store.close()


async def test_a_file_that_another_program_has_locked_is_not_opened(impatient: None, url: str, file: Path):
    await make(url)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StoreLocked, match="locked by another program"):
            await open_sqlite(url)
        other.execute("rollback")
    await make_more(url)


async def make_more(url: str) -> None:
    store = await open_sqlite(url)
    await store.append(append("a", 3))
    assert_sound(await whole_log(store))
    await store.close()


async def test_a_short_transaction_of_another_program_delays_only(url: str, file: Path):
    store = await open_sqlite(url)
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("begin immediate")
        waiting = asyncio.ensure_future(store.append(append("a")))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        other.execute("rollback")
        assert (await waiting).first == 1
    await store.close()


# --- read-only --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(file: Path) -> Iterator[None]:
    """The file's folder cannot be written; a mount does that also to root, whom permissions do not bind."""
    folder = str(file.parent)
    if os.geteuid():
        for each in (file, file.parent):
            each.chmod(0o555)
        yield
        file.parent.chmod(0o755)
        return
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets not even root mount a folder read-only")
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    yield
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
async def three_events(url: str) -> None:
    await make(url)


async def test_a_file_in_a_folder_that_is_read_only(three_events: None, sealed: None, url: str, file: Path):
    with pytest.raises(StoreReadOnly, match="cannot be opened for writing") as problem:
        await open_sqlite(url)
    one_line(problem, str(file), "must be writable")


async def test_who_opens_it_read_only_reads_and_is_refused_to_write(store: SqliteStore, url: str):
    await store.append(append("a"))
    beside = await open_sqlite(url, read_only=True)
    with pytest.raises(StoreReadOnly, match="open read-only; nothing was stored"):
        await beside.append(append("a"))
    with pytest.raises(StoreReadOnly, match="open read-only"):
        async with beside.transaction():
            pass
    await store.append(append("a", 1))
    assert len(await whole_log(beside)) == 2  # it sees what the writer does meanwhile
    await beside.close()
    assert len(await whole_log(store)) == 2


# --- damaged, or not ours ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_file_that_is_no_database_is_left_as_it_is(read_only: bool, url: str, file: Path):
    write(file, b"A diary, and rather a long one. " * 1000)
    with pytest.raises(StoreCorrupt, match="not a SQLite database, or is damaged") as problem:
        await open_sqlite(url, read_only=read_only)
    one_line(problem, str(file), "backup")
    assert contents(file) == b"A diary, and rather a long one. " * 1000


@pytest.mark.parametrize("read_only", [False, True])
async def test_another_programs_database_is_left_as_it_is(read_only: bool, url: str, file: Path):
    run_sql(file, "create table diary (day text)")
    before = contents(file)
    with pytest.raises(StoreCorrupt, match="a database of another program; give Refold a file of its own"):
        await open_sqlite(url, read_only=read_only)
    assert contents(file) == before


async def test_a_damaged_file_is_said_to_be_damaged(url: str, file: Path):
    store = await open_sqlite(url)
    for number in range(200):
        await store.append(append("a", number, event(number)))
    await store.close()
    damaged = bytearray(contents(file))
    for page in range(4096, len(damaged), 4096):
        if b"CREATE " not in damaged[page : page + 4096]:  # that page has a part of the schema
            damaged[page : page + 4096] = b"\xa5" * 4096
    write(file, damaged)
    store = await open_sqlite(url, read_only=True)
    with pytest.raises(StoreCorrupt, match="damaged") as problem:
        await whole_log(store)
    one_line(problem, str(file), "restore it from a backup")
    assert (await store.flaws())["file"]
    await store.close()
    store = await open_sqlite(url)
    with pytest.raises(StoreCorrupt, match="damaged"):
        await store.append(append("a"))
    await store.close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_file_that_was_cut_off(read_only: bool, url: str, file: Path):
    await make(url)
    os.truncate(file, 5_000)
    with pytest.raises(StoreCorrupt, match="damaged"):
        store = await open_sqlite(url, read_only=read_only)
        try:
            await whole_log(store)
        finally:
            await store.close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_schema_of_a_newer_refold_is_refused(read_only: bool, url: str, file: Path):
    await make(url)
    run_sql(file, "pragma user_version = 999")
    with pytest.raises(
        SchemaMismatch, match=f"schema version 999, this Refold works with {schema.SCHEMA_VERSION}; ins"
    ):
        await open_sqlite(url, read_only=read_only)
    with pytest.raises(SchemaMismatch, match="install the version of Refold that wrote it"):
        await migrate_sqlite(url)
    assert run_sql(file, "pragma user_version") == [(999,)]


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_schema_of_an_older_refold_is_refused_until_it_is_migrated(
    read_only: bool, url: str, file: Path, monkeypatch: pytest.MonkeyPatch
):
    """There is no older schema yet, so a next one is made up."""
    await make(url)
    newer = schema.SCHEMA_VERSION + 1
    migration = (newer, "create table more (a integer);\n")
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, migration])
    monkeypatch.setattr(schema, "SCHEMA_VERSION", newer)
    with pytest.raises(SchemaMismatch, match=f"works with {newer}; run `refold migrate`"):
        await open_sqlite(url, read_only=read_only)
    assert run_sql(file, "select name from sqlite_master where name = 'more'") == []
    assert await migrate_sqlite(url) == (newer - 1, newer)
    store = await open_sqlite(url, read_only=read_only)
    assert len(await whole_log(store)) == 3
    await store.close()


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://log.db", "not the address of a SQLite store"),
        ("sqlite:///", "not the address of a SQLite store"),
        ("sqlite:///log.db?mode=ro", "no options in its URL"),
        ("sqlite:////", "names a folder"),
        ("sqlite:///a%00b", "no name of a file"),
    ],
)
async def test_an_address_that_is_none(url: str, says: str):
    with pytest.raises(ConfigurationError, match=says) as problem:
        await open_sqlite(url)
    one_line(problem)


async def test_a_folder_that_is_not_there_and_one_in_the_place_of_the_file(tmp_path: Path):
    with pytest.raises(StoreUnavailable, match="its folder does not exist; create it first"):
        await open_sqlite(f"sqlite:///{tmp_path}/nowhere/log.db")
    with pytest.raises(StoreUnavailable, match="is a folder; name a file in it"):
        await open_sqlite(f"sqlite:///{tmp_path}")
    with pytest.raises(StoreUnavailable, match="does not exist; open it for writing first"):
        await open_sqlite(f"sqlite:///{tmp_path}/log.db", read_only=True)
    assert os.listdir(tmp_path) == []


async def test_a_store_that_is_closed_says_so(url: str):
    store = await open_sqlite(url)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.append(append("a"))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.read_log()
    with pytest.raises(StoreUnavailable, match="closed"):
        async with store.transaction():
            pass
