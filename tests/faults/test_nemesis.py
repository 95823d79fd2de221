"""Several processes work on one Postgres while somebody does his worst to them, or to the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.faults.checking import ROOT, begin, checked
from tests.faults.journal import attempts_in
from tests.servers import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def finish(workers: list[Any], folder: Path) -> None:
    for number, worker in enumerate(workers):
        code = worker.wait(120)
        if code not in (0, -9):
            said = "".join(f"{path.name}:\n{path.read_text()[-6000:]}\n" for path in folder.glob("*.stderr"))
            pytest.fail(f"worker {number} ended with {code}\n{said}")


def checked_elsewhere(url: str, folder: Path) -> str:
    """Checks in another process, as a stopped one's journal may still be written later. Gives what is wrong."""
    program = "import sys, pathlib, tests.faults.checking as c; c.checked(sys.argv[1], pathlib.Path(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", program, url, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stderr[-2000:] if done.returncode else ""


def wait_until_working(workers: list[Any], folder: Path, more_than: int = 0) -> None:
    """Comes back when each worker has had more than so many appends acknowledged: the load is on."""
    deadline = time.monotonic() + 60
    for number, worker in enumerate(workers):
        journal = folder / f"w{number}.journal"
        while not journal.exists() or journal.read_text().count("acknowledged") <= more_than:
            assert worker.poll() is None, (folder / f"w{number}.stderr").read_text()[-3000:]
            assert time.monotonic() < deadline, "nothing is acknowledged"
            os.sched_yield()


def test_writers_that_are_killed(postgres18: PostgresServer, tmp_path: Path) -> None:
    url = postgres18.create_database(f"nemesis_{uuid4().hex}")
    points = ["postgres.append.after_send", "postgres.append.before_send", "postgres.append.after_result", "-"]
    workers = [begin(url, tmp_path, f"w{n}", point, 8 + 5 * n, "kill", rebuild=False) for n, point in enumerate(points)]
    finish(workers, tmp_path)
    assert checked(url, tmp_path) > 50


def test_the_holder_of_the_lock_stands_still(postgres18: PostgresServer, tmp_path: Path) -> None:
    name = f"nemesis_{uuid4().hex}"
    url = postgres18.create_database(name)
    holder = begin(url, tmp_path, "holder", "postgres.transaction.before_commit", 2, "stop")
    stopped = os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
    assert stopped is not None
    try:
        others = [begin(url, tmp_path, f"w{n}", rounds=6) for n in range(2)]
        # Until the others wait for the log's lock: what they do now depends on the one that stands still.
        with psycopg.connect(url, autocommit=True) as watch:
            deadline = time.monotonic() + 60
            while not watch.execute("select 1 from pg_locks where locktype = 'advisory' and not granted").fetchall():
                assert time.monotonic() < deadline, "nobody waits for the lock"
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    finish([holder, *others], tmp_path)
    assert checked(url, tmp_path) > 50


def test_backends_that_are_terminated_under_load(postgres18: PostgresServer, tmp_path: Path) -> None:
    name = f"nemesis_{uuid4().hex}"
    url = postgres18.create_database(name)
    workers = [begin(url, tmp_path, f"w{n}", rounds=40) for n in range(2)]
    admin = postgres18.url("postgres")
    for turn in range(5):
        wait_until_working(workers, tmp_path, 20 * turn)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
    finish(workers, tmp_path)
    assert checked(url, tmp_path) > 100


def test_the_server_is_stopped_at_once_under_load(own_postgres: PostgresServer, tmp_path: Path) -> None:
    url = own_postgres.create_database("nemesis")
    workers = [begin(url, tmp_path, f"w{n}", rounds=40) for n in range(2)]
    for turn in range(2):
        wait_until_working(workers, tmp_path, 30 * (turn + 1))
        own_postgres.stop("immediate")
        own_postgres.start()
    finish(workers, tmp_path)
    assert checked(url, tmp_path) > 100


def test_eight_that_begin_together_on_an_empty_database(postgres18: PostgresServer, tmp_path: Path) -> None:
    url = postgres18.create_database(f"nemesis_{uuid4().hex}")
    finish([begin(url, tmp_path, f"w{n}", rounds=4) for n in range(8)], tmp_path)
    assert checked(url, tmp_path) > 50
    # They did get into each other's way, by versions and by conditions.
    assert any(attempt.conflict for attempt in attempts_in(tmp_path))
    assert any(attempt.found > 0 and not attempt.conflict for attempt in attempts_in(tmp_path))
    # Nobody harmed them, so each was told what became of each of its appends.
    assert [attempt for attempt in attempts_in(tmp_path) if attempt.outcome == "unknown"] == []


def test_a_long_open_snapshot_does_not_grow_what_an_append_reads(postgres18: PostgresServer, tmp_path: Path) -> None:
    """A counter row would: each append leaves a dead version that every later one steps over while the snapshot is
    open.
    """
    url = postgres18.create_database(f"nemesis_{uuid4().hex}")
    finish([begin(url, tmp_path, "first", rounds=4)], tmp_path)
    with psycopg.connect(url) as reporting, psycopg.connect(url, autocommit=True) as watch:
        reporting.execute("begin isolation level repeatable read")
        reporting.execute("select count(*) from refold.events")
        finish([begin(url, tmp_path, "second", rounds=40)], tmp_path)
        (dead,) = watch.execute(
            "select sum(n_tup_upd + n_tup_del) from pg_stat_all_tables "
            "where schemaname = 'refold' and relname like 'event%'"
        ).fetchone() or (None,)
        plan = watch.execute(
            "explain (analyze, buffers, format json) select position from refold.events order by position desc limit 1"
        ).fetchone()
    assert dead == 0
    assert plan is not None
    buffers = plan[0][0]["Plan"]["Shared Hit Blocks"] + plan[0][0]["Plan"]["Shared Read Blocks"]
    assert buffers <= 6, "the head is read from the index's edge, whatever is open elsewhere"
    assert checked(url, tmp_path) > 100


def test_a_worker_that_stands_still_past_its_lease_is_fenced(postgres18: PostgresServer, tmp_path: Path) -> None:
    url = postgres18.create_database(f"nemesis_{uuid4().hex}")
    sleeper = begin(url, tmp_path, "sleeper", "projection.folded", 3, "stop", 20, rebuild=False)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        # The others take over when its lease has run out, and fold what it was about to write.
        finish([begin(url, tmp_path, "other", rounds=6, rebuild=False)], tmp_path)
        assert checked_elsewhere(url, tmp_path) == ""
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    finish([sleeper], tmp_path)
    assert checked(url, tmp_path) > 50
