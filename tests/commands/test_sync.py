"""The same without `async`, from one thread or many."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from refold import Rejected
from refold.app import Context
from refold.app.loop_thread import running_loop_in_thread
from refold.errors import ConfigurationError, StoreError, StoreUnavailable
from tests.domain import Account, AccountOpened, AccountSummary, DepositMoney, OpenAccount, WithdrawMoney, bank

ROOT = Path(__file__).parents[2]


def test_commands_and_states(tmp_path: Path):
    with bank.connect_sync(f"sqlite:///{tmp_path}/bank.db") as context:
        context.execute(OpenAccount(account_id="42", owner="alice"), actor="alice")
        receipt = context.execute(DepositMoney(account_id="42", amount=Decimal(100)))
        assert context.load(Account, "42", at_version=receipt.version).balance == 100
        with pytest.raises(Rejected, match="only 100 is there"):
            context.execute(WithdrawMoney(account_id="42", amount=Decimal(101)))
        assert [each.metadata.actor for each in context.history("account-42")] == ["alice", None]
    with bank.connect_sync(f"sqlite:///{tmp_path}/bank.db") as context:
        assert context.load(Account, "42").balance == 100


def test_many_threads_share_one_context():
    with bank.connect_sync("sqlite:///:memory:") as context, ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: context.execute(DepositMoney(account_id="42", amount=Decimal(1))), range(200)))
        assert context.load(Account, "42").balance == 200


def test_a_unit_of_work(tmp_path: Path):
    with bank.connect_sync(f"sqlite:///{tmp_path}/bank.db") as context:
        with context.transaction() as unit:
            unit.execute("create table customers (name text)")
            unit.execute("insert into customers values (?)", ("alice",))
            unit.command(OpenAccount(account_id="42", owner="alice"))
        with pytest.raises(Rejected), context.transaction() as unit:
            unit.execute("insert into customers values (?)", ("bob",))
            unit.command(OpenAccount(account_id="42", owner="bob"))
        with context.transaction() as unit:
            assert unit.execute("select name from customers") == [("alice",)]


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite:///{}/bank.db"])
def test_appending_beside_an_open_unit_is_refused_at_once_on_sqlite(tmp_path: Path, url: str):
    """It would wait for the only writing connection, which the unit has, until it is told that it waited too long."""
    opened = OpenAccount(account_id="2", owner="bob")
    with bank.connect_sync(url.format(tmp_path), projections=False) as context, ThreadPoolExecutor(1) as threads:
        with context.transaction() as unit:
            unit.command(OpenAccount(account_id="1", owner="alice"))
            with pytest.raises(StoreError, match="through the transaction"):
                context.execute(opened)
            with pytest.raises(StoreError, match="through the transaction"), context.transaction():
                pass
            # Another thread is not inside: it waits for its turn.
            elsewhere = threads.submit(context.execute, opened)
            unit.command(DepositMoney(account_id="1", amount=Decimal(1)))
        assert len(unit.results) == 2
        assert elsewhere.result().version == 1
        context.execute(DepositMoney(account_id="1", amount=Decimal(1)))
        with pytest.raises(ZeroDivisionError), context.transaction():
            raise ZeroDivisionError
        context.execute(DepositMoney(account_id="1", amount=Decimal(1)))


def test_a_connection_that_is_over_says_so():
    with bank.connect_sync("sqlite:///:memory:") as context:
        pass
    with pytest.raises(StoreUnavailable, match="is closed"):
        context.execute(OpenAccount(account_id="42", owner="alice"))


def test_an_iterator_that_is_left_early_is_ended_on_the_loop():
    ended: list[str] = []

    async def values() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(threading.current_thread().name)

    with running_loop_in_thread() as loop:
        source = values()  # held, so that nothing else ends it
        following = loop.each(source)
        assert next(following) == 1
        following.close()
        assert ended == ["refold-loop"]


def test_in_a_forked_child_it_says_so(tmp_path: Path) -> None:
    """A server that loads the application and then forks its workers waited for ever: nobody runs the loop there."""
    program = (
        "import os, sys\n"
        "from refold.errors import StoreUnavailable\n"
        "from tests.domain import OpenAccount, bank\n"
        f"with bank.connect_sync('sqlite:///{tmp_path}/bank.db') as context:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        "            context.execute(OpenAccount(account_id='1', owner='ada'))\n"
        "        except StoreUnavailable as problem:\n"
        "            print(problem, flush=True)\n"
        "        sys.exit(0)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "    print(context.execute(OpenAccount(account_id='1', owner='ada')).version)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    assert "of which this one was forked; connect after the fork" in done.stdout
    assert done.stdout.splitlines()[1:] == ["0", "1"], done.stderr


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_context_stays_in_its_event_loop(tmp_path: Path, kind: str) -> None:
    """As in a web framework that has a loop for each request: the command was stored, and its caller got an error."""

    async def all_refuse(context: Context) -> None:
        opened = OpenAccount(account_id="1", owner="ada")
        for call in (
            context.execute(opened),
            context.append("account-1", [AccountOpened(owner="ada")]),
            context.load(Account, "1"),
            context.find(AccountSummary),
            context.transaction().__aenter__(),
        ):
            with pytest.raises(ConfigurationError, match="connected in another event loop"):
                await call

    url = "sqlite:///:memory:" if kind == "memory" else f"sqlite:///{tmp_path}/bank.db"
    async with bank.connect(url) as context:
        await asyncio.to_thread(lambda: asyncio.run(all_refuse(context)))
        assert (await context.store.head()).position == 0
        await context.execute(OpenAccount(account_id="1", owner="ada"))
