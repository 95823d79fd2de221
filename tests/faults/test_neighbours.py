"""What others do on the same server while several processes work: none of it may stop them, or break a promise."""

from __future__ import annotations

import asyncio
import subprocess
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from refold.app import Context
from refold.errors import StoreUnavailable
from refold.store.postgres.address import Address
from refold.testing.history import check_log
from tests.domain import Account, DepositMoney, bank
from tests.faults.checking import begin, checked
from tests.faults.restoring import read_back
from tests.faults.test_nemesis import finish, wait_until_working
from tests.servers import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def test_an_idle_writer_in_another_database(postgres18: PostgresServer, tmp_path: Path) -> None:
    """It has written, and holds a log's lock, in a database of its own: locks are each database's."""
    url = postgres18.create_database(f"nemesis_{uuid4().hex}")
    other = postgres18.create_database(f"nemesis_{uuid4().hex}")
    with psycopg.connect(other) as idle:
        idle.execute("create table mine (a integer)")
        idle.execute("insert into mine values (1)")
        idle.execute("select pg_advisory_xact_lock(%s)", (Address.parse(other).lock,))
        finish([begin(url, tmp_path, f"w{n}", rounds=6) for n in range(2)], tmp_path)
        assert checked(url, tmp_path) > 50


def test_a_prepared_transaction_that_is_left_open(own_postgres: PostgresServer, tmp_path: Path) -> None:
    own_postgres.configure({"max_prepared_transactions": "5"})
    own_postgres.restart()
    url = own_postgres.create_database("nemesis")
    finish([begin(url, tmp_path, "first", rounds=2)], tmp_path)
    with psycopg.connect(url, autocommit=True) as session:
        # It has an id, a row in the users' table, and a lock on it: forgotten by some transaction manager.
        for statement in ("begin", "insert into notes values ('forgotten')", "prepare transaction 'forgotten'"):
            session.execute(statement)
        finish([begin(url, tmp_path, f"w{n}", rounds=6) for n in range(2)], tmp_path)
        assert checked(url, tmp_path) > 50
        session.execute("rollback prepared 'forgotten'")


async def test_a_prepared_transaction_that_holds_the_logs_lock(own_postgres: PostgresServer) -> None:
    """Appends say so in words, and go on as soon as somebody ends it."""
    own_postgres.configure({"max_prepared_transactions": "5", "lock_timeout": "500ms"})
    own_postgres.restart()
    url = own_postgres.create_database("nemesis")
    deposit = DepositMoney(account_id="1", amount=Decimal(1))
    async with bank.connect(url, projections=False) as context:
        await context.execute(deposit)
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("begin")
            session.execute("select pg_advisory_xact_lock(%s)", (Address.parse(url).lock,))
            session.execute("prepare transaction 'holder'")
            with pytest.raises(StoreUnavailable, match="locked for too long"):
                await context.execute(deposit)
            session.execute("rollback prepared 'holder'")
        await context.execute(deposit)
        assert [each.version for each in await context.history("account-1")] == [1, 2]


def test_a_dump_that_is_taken_under_load_is_a_beginning_of_the_log(postgres18: PostgresServer, tmp_path: Path) -> None:
    url = postgres18.create_database(f"nemesis_{uuid4().hex}")
    workers = [begin(url, tmp_path, f"w{n}", rounds=30) for n in range(2)]
    wait_until_working(workers, tmp_path, 20)
    dump = tmp_path / "bank.dump"
    subprocess.run([postgres18.installation.program("pg_dump"), "--format=custom", f"--file={dump}", url], check=True)
    finish(workers, tmp_path)
    assert checked(url, tmp_path) > 100
    restored = postgres18.create_database(f"nemesis_{uuid4().hex}")
    subprocess.run(
        [postgres18.installation.program("pg_restore"), "--no-owner", f"--dbname={restored}", dump], check=True
    )
    whole, beginning = asyncio.run(read_back(url)), asyncio.run(read_back(restored))
    assert check_log(beginning) == []
    assert 0 < len(beginning) < len(whole)
    assert beginning == whole[: len(beginning)]
    # The restored one is a store like any other: guarded, and it goes on.
    with psycopg.connect(restored) as session, pytest.raises(psycopg.errors.RestrictViolation):
        session.execute("update refold.events set version = 7 where position = 1")
    after = tmp_path / "restored"
    after.mkdir()
    finish([begin(restored, after, "after", rounds=4)], after)
    log = asyncio.run(read_back(restored))
    assert log[: len(beginning)] == beginning
    assert check_log(log) == []


async def test_units_that_wait_for_each_others_rows(postgres18: PostgresServer) -> None:
    """A deadlock on the users' own rows: the server ends one of the two, all of it, and the other is done."""
    url = postgres18.create_database(f"nemesis_{uuid4().hex}")
    async with bank.connect(url, projections=False) as context:
        async with context.transaction() as unit:
            await unit.execute("create table seats (name text primary key, taken integer)")
            await unit.execute("insert into seats values ('a', 0), ('b', 0)")
        first_locked, second_locked = asyncio.Event(), asyncio.Event()
        outcomes = await asyncio.gather(
            _take(context, "ab", first_locked, second_locked),
            _take(context, "ba", second_locked, first_locked),
            return_exceptions=True,
        )
        lost = [outcome for outcome in outcomes if outcome is not None]
        assert len(lost) == 1
        assert isinstance(lost[0], psycopg.errors.DeadlockDetected)
        async with context.transaction() as unit:
            assert await unit.execute("select taken from seats") == [(1,), (1,)]
        assert (await context.load(Account, "1")).balance == 1
        assert (await context.store.head()).position == 1


async def _take(context: Context, names: str, mine: asyncio.Event, others: asyncio.Event) -> None:
    async with context.transaction() as unit:
        await unit.command(DepositMoney(account_id="1", amount=Decimal(1)))
        await unit.execute("update seats set taken = taken + 1 where name = %s", (names[0],))
        mine.set()
        await others.wait()
        await unit.execute("update seats set taken = taken + 1 where name = %s", (names[1],))
