"""A full disk under Postgres: appends fail in words, nothing is half there, and they go on when there is space."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from refold.errors import OutcomeUnknown, StoreFull, StoreUnavailable
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, AppendResult, StreamAppend
from refold.store.postgres import open_postgres
from refold.testing.history import check_log
from tests.faults.checking import log_of
from tests.servers import PostgresServer, Unavailable
from tests.servers.account import base_folder, new_folder, remove
from tests.servers.installations import POSTGRES_NAMES
from tests.untested import skip_loudly

_SIZE = 160 * 1_048_576
_SPARE = 3 * 1_048_576


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.postgres) for name in POSTGRES_NAMES])
def small_server(request: pytest.FixtureRequest) -> Iterator[tuple[PostgresServer, Path]]:
    """A server, not started yet, whose data is on a disk of its own that is small; and the folder of that disk."""
    disk = new_folder(base_folder() / "disks", f"{os.getpid()}-")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0711", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        remove(disk)
        skip_loudly(
            "a full disk", "only root may mount a small file system; run tests/faults/test_disk_postgres.py as root"
        )
    try:
        server = PostgresServer.create(request.param, folder=new_folder(disk, "server-"))
        try:
            yield server, disk
        finally:
            server.remove()
    except Unavailable as reason:
        skip_loudly(request.param, str(reason))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        remove(disk)


def fill(disk: Path, *, but: int = _SPARE) -> Path:
    """Takes the space of a disk, but for a little."""
    filler = disk / "filler"
    space = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - but)
    return filler


def large() -> Append:
    """An append that does not become small when the server compresses it."""
    event = NewEvent(type="Counted", payload=b'{"note":"%s"}' % os.urandom(20_000).hex().encode())
    return Append((StreamAppend("large", ANY, (event, event)),))


async def test_the_disk_of_the_tables_is_full(small_server: tuple[PostgresServer, Path]) -> None:
    """The write-ahead log is elsewhere, as where servers are run with care: the server itself goes on."""
    server, disk = small_server
    elsewhere = new_folder(base_folder() / "disks", f"{os.getpid()}-wal-")
    wal = server.data / "pg_wal"
    shutil.copytree(wal, elsewhere / "pg_wal")
    for folder, _, files in os.walk(elsewhere):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            shutil.chown(path, wal.stat().st_uid)
    shutil.rmtree(wal)
    wal.symlink_to(elsewhere / "pg_wal")
    try:
        server.start()
        store = await open_postgres(server.create_database("small"))
        acknowledged = [await store.append(large())]
        filler = fill(disk)
        with pytest.raises(StoreFull, match="the disk is full") as problem:
            for _ in range(1000):
                acknowledged += [await store.append(large())]
        assert "nothing was stored" in str(problem.value)
        assert "\n" not in str(problem.value)
        # Callers that share commits are each told.
        outcomes = await asyncio.gather(*(store.append(large()) for _ in range(60)), return_exceptions=True)
        acknowledged += [outcome for outcome in outcomes if isinstance(outcome, AppendResult)]
        assert {type(outcome) for outcome in outcomes} <= {StoreFull, AppendResult}
        assert any(isinstance(outcome, StoreFull) for outcome in outcomes)

        async with asyncio.timeout(20):
            before = await log_of(store)  # reading goes on meanwhile
        filler.unlink()
        acknowledged.append(await store.append(large()))
        log = await log_of(store)
        assert log[:-2] == before
        assert len(log) == 2 * len(acknowledged)
        assert check_log(log) == []
        await store.close()
    finally:
        server.stop("immediate")
        remove(elsewhere)


async def test_the_disk_of_the_write_ahead_log_is_full(small_server: tuple[PostgresServer, Path]) -> None:
    """The server itself gives up then. What it had acknowledged is there when it is started again, and nothing half."""
    server, disk = small_server
    server.configure({"min_wal_size": "32MB", "max_wal_size": "32MB"})
    server.start()
    url = server.create_database("small")
    store = await open_postgres(url, patience=2.0)
    acknowledged = [await store.append(large())]
    filler = fill(disk, but=8 * 1_048_576)  # less than a segment of the write-ahead log, more than the tables will need
    tried = []
    with pytest.raises((StoreFull, OutcomeUnknown, StoreUnavailable)) as problem:
        for _ in range(1000):
            tried.append(large())
            acknowledged.append(await store.append(tried[-1]))
            with contextlib.suppress(psycopg.Error), server.connect() as connection:
                connection.execute("select pg_switch_wal()")  # the next append needs another segment
    assert "\n" not in str(problem.value)

    filler.unlink()
    server.kill()
    server.start()
    # The same append again: it is there once, whether or not it had been stored before.
    again = await store.append(tried[-1])
    acknowledged.append(again)
    log = await log_of(store)
    assert [result.first for result in acknowledged] == list(range(1, len(log), 2))
    assert len(log) == 2 * len(acknowledged)
    assert check_log(log) == []
    await store.close()
