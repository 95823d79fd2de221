"""Without `async`, the client has the methods of a context too."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from threading import Thread

import pytest

from refold import Context, Rejected, SyncContext, field
from refold.client import Client, SyncClient, connect_sync
from refold.errors import StoreUnavailable
from tests.server.domain import Account, AccountSummary, DepositMoney, MoneyDeposited, OpenAccount, app
from tests.server.process import ServerProcess

Either = SyncContext | SyncClient


@pytest.fixture(params=["in process", "over HTTP"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Either]:
    """The same bank, here and there."""
    store = f"sqlite:///{tmp_path}/bank.db"
    if request.param == "in process":
        with connect_sync(app, store) as context:
            yield context
        return
    with ServerProcess(store, tmp_path) as process, connect_sync(app, process.url) as client:
        yield client


def test_what_is_done_is_read(bank: Either) -> None:
    bank.execute(OpenAccount(account_id="1", owner="alice"))
    receipt = bank.execute(DepositMoney(account_id="1", amount=Decimal(5)), command_id="once")
    assert bank.execute(DepositMoney(account_id="1", amount=Decimal(5)), command_id="once") == receipt
    with pytest.raises(Rejected, match="open already"):
        bank.execute(OpenAccount(account_id="1", owner="bob"))
    stream, version, events = bank.dry_run(DepositMoney(account_id="1", amount=Decimal(1)))
    assert (stream, version, events) == ("account-1", 2, [MoneyDeposited(amount=Decimal(1), payer="alice")])
    assert len(bank.execute_many([DepositMoney(account_id="1", amount=Decimal(1))] * 2)) == 2

    assert bank.load(Account, "1").balance == 7
    assert bank.load(Account, "1", at_version=2).balance == 5
    row = bank.get(AccountSummary, "1", after=4)
    assert row is not None
    assert row.balance == 7
    assert bank.find(AccountSummary, field("balance") > 6, after=4) == [row]
    assert bank.count(AccountSummary, owner="alice") == 1
    assert [event.position for event in bank.events(after=2)] == [3, 4]
    assert [event.version for event in bank.history("account-1", backward=True, limit=2)] == [4, 3]


def test_many_threads_and_one_that_follows(bank: Either) -> None:
    bank.execute(OpenAccount(account_id="1", owner="alice"))
    threads = [
        Thread(target=lambda: bank.execute(DepositMoney(account_id="1", amount=Decimal(1)))) for _ in range(8)
    ]  # fmt: skip
    seen = []
    following = bank.subscribe()
    for thread in threads:
        thread.start()
    for event in following:
        seen.append(event.position)
        if len(seen) == 9:
            break
    following.close()
    for thread in threads:
        thread.join()
    assert seen == list(range(1, 10))


def test_after_its_block_it_says_so(tmp_path: Path) -> None:
    with ServerProcess(f"sqlite:///{tmp_path}/other.db", tmp_path) as process:
        with connect_sync(app, process.url) as client:
            assert client.count(AccountSummary) == 0
            following = client.events()
        with pytest.raises(StoreUnavailable, match="closed"):
            client.count(AccountSummary)
        with pytest.raises(StoreUnavailable, match="closed"):
            next(following)


@pytest.mark.parametrize(("blocking", "asynchronous"), [(SyncClient, Client), (SyncContext, Context)])
def test_each_method_has_the_parameters_of_its_namesake(blocking: type, asynchronous: type) -> None:
    """And none is left out, but those that only the loop can use."""

    def methods(cls: type) -> dict[str, list[str]]:
        return {
            name: [
                f"{each.kind.name} {each.name}={each.default!r}"
                for each in inspect.signature(member).parameters.values()
            ]
            for name, member in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_") and name not in ("entered", "start", "stop")
        }

    assert methods(blocking) == methods(asynchronous)
