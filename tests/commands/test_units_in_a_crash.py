"""A unit of work whose commit the server's crash has swallowed: what was lost with it is not told to be stored, though
another transaction has its id by then. A server that crashes forgets the ids of transactions of which nothing had
reached the disk, and gives them away again.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal

import psycopg
import pytest

from refold import faults
from refold.app import Context
from refold.commands.unit_of_work import UnitOfWork
from refold.errors import StoreUnavailable
from tests.domain import DepositMoney, bank
from tests.servers import PostgresServer
from tests.servers.processes import wait_until

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(own_postgres: PostgresServer) -> Iterator[str]:
    """A server that writes to the disk only what somebody waits for."""
    own_postgres.configure({"wal_writer_delay": "10s", "autovacuum": "off"})
    own_postgres.restart()
    yield own_postgres.create_database("crashed")
    faults.install(None)


def until_given_away(url: str, xid: int) -> None:
    """Commits transactions until one has this id."""
    with psycopg.connect(url, autocommit=True) as others:
        while True:
            (given,) = others.execute("select pg_current_xact_id()::text::bigint").fetchone() or (0,)
            if given >= xid:
                return


def crash_server(server: PostgresServer, url: str) -> None:
    server.stop("immediate")
    server.start()


def crash_backend(server: PostgresServer, url: str) -> None:
    """The server then ends all of its sessions, and recovers in place."""
    with psycopg.connect(url, autocommit=True) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                victim.execute("select 1")
    wait_until(lambda: _takes_connections(url), "the server to recover", timeout=60)


def _takes_connections(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


Crash = Callable[[PostgresServer, str], None]


@pytest.fixture(params=[crash_server, crash_backend])
def crash(request: pytest.FixtureRequest) -> Crash:
    crash: Crash = request.param
    return crash


async def deposit(unit: UnitOfWork) -> None:
    await unit.command(DepositMoney(account_id="1", amount=Decimal(1)))


async def nothing(unit: UnitOfWork) -> None:
    """Only what every unit here does."""


Work = Callable[[UnitOfWork], Awaitable[None]]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Context]:
    async with bank.connect(url, projections=False) as context:
        async with context.transaction() as unit:
            await unit.execute("create table notes (note text)")
        yield context


async def crashed_before_its_commit(context: Context, work: Work, crash: Callable[[], None], url: str) -> str:
    """What a unit is told whose commit reaches a server that has crashed, and given its id to another by then."""
    xid = 0

    def hook(point: str) -> None:
        if point == "postgres.transaction.before_commit":
            faults.install(None)
            crash()
            until_given_away(url, xid)

    with pytest.raises(StoreUnavailable) as told:
        async with context.transaction() as unit:
            await unit.execute("insert into notes values ('lost')")
            ((xid,),) = await unit.execute("select pg_current_xact_id()::text::bigint")
            await work(unit)
            faults.install(hook)
    async with context.transaction() as unit:
        ((status,),) = await unit.execute("select pg_xact_status(%s::text::xid8)", (str(xid),))
        assert await unit.execute("select * from notes") == []
    assert status == "committed"  # by somebody else, which says nothing of ours
    return str(told.value)


async def test_what_it_appended_is_looked_for_in_the_log(url: str, own_postgres: PostgresServer, crash: Crash) -> None:
    async with connected(url) as context:
        told = await crashed_before_its_commit(context, deposit, lambda: crash(own_postgres, url), url)
        assert "nothing was stored" in told
        assert await context.history("account-1") == []


async def test_where_it_appended_nothing_nobody_knows(url: str, own_postgres: PostgresServer, crash: Crash) -> None:
    async with connected(url) as context:
        told = await crashed_before_its_commit(context, nothing, lambda: crash(own_postgres, url), url)
        assert "whether it is stored is not known" in told


async def test_what_was_committed_before_the_crash_is_stored(
    url: str, own_postgres: PostgresServer, crash: Crash
) -> None:
    def hook(point: str) -> None:
        if point == "postgres.transaction.after_commit":
            faults.install(None)
            crash(own_postgres, url)
            raise OSError("nobody heard the answer")

    async with connected(url) as context:
        async with context.transaction() as unit:
            await unit.execute("insert into notes values ('kept')")
            await deposit(unit)
            faults.install(hook)
        (recorded,) = await context.history("account-1")
        assert unit.position == recorded.position
        async with context.transaction() as unit:
            assert await unit.execute("select * from notes") == [("kept",)]
