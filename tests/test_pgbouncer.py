"""A whole application works through a pooler in transaction mode: each transaction may have another server session."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from refold import Conflict, Rejected
from refold.operations.transfer import export_to_file, import_file
from refold.operations.verify import verify
from refold.store.postgres import open_postgres
from refold.store.sqlite import open_sqlite
from refold.testing.history import check_log
from tests.commands.test_loading import STREAM, Counter, count, counters
from tests.domain import (
    Account,
    AccountSummary,
    DepositMoney,
    Movements,
    OpenAccount,
    WithdrawMoney,
    bank,
    inline_bank,
)
from tests.operations.stores import everything_in, fill
from tests.projections.stores import Added, Moved, Stock, assert_equals_fold, shop
from tests.projections.test_processes import LEASE, worker
from tests.servers import PgBouncer, PostgresServer


@pytest.fixture
def pooled(pgbouncer: PgBouncer, fresh_database: str) -> str:
    """A new database's URL that leads through pgbouncer."""
    return pgbouncer.url(fresh_database.rpartition("/")[2])


def deposit(amount: int) -> DepositMoney:
    return DepositMoney(account_id="42", amount=Decimal(amount))


async def test_commands_of_several_processes_are_decided_on_fresh_states(pooled: str):
    async with (
        bank.connect(pooled, projections=False) as first,
        bank.connect(pooled, projections=False) as second,
    ):
        await first.execute(OpenAccount(account_id="42", owner="alice"))
        await first.execute(deposit(50))
        # Both withdraw from one account: who was slower loads it again, and nobody takes what is not there.
        outcomes = [
            outcome
            for outcomes in await asyncio.gather(
                *(
                    context.execute_many([WithdrawMoney(account_id="42", amount=Decimal(1))] * 40)
                    for context in (first, second)
                )
            )
            for outcome in outcomes
        ]
        assert sum(isinstance(outcome, Rejected) for outcome in outcomes) == 30
        assert (await first.load(Account, "42")).balance == (await second.load(Account, "42")).balance == 0

        once = await first.execute(deposit(7), command_id="the same")
        assert (await second.execute(deposit(7), command_id="the same")).position == once.position
        assert (await first.load(Account, "42")).balance == 7
        assert check_log(await everything_in(first.store)) == []


async def test_a_command_that_meets_a_conflict_is_decided_again(pooled: str):
    async with (
        bank.connect(pooled, projections=False) as first,
        bank.connect(pooled, projections=False) as second,
    ):
        await first.execute(OpenAccount(account_id="42", owner="alice"))
        await second.execute(deposit(1))
        # The first has the state in memory from before.
        assert (await first.execute(deposit(2))).version == 3
        with pytest.raises(Conflict):
            async with first.transaction() as unit:
                await unit.command(deposit(100))
                await second.execute(deposit(4))  # it overtakes the unit of work
        assert (await first.load(Account, "42")).balance == 7


async def test_a_unit_of_work_is_all_or_nothing(pooled: str):
    async with bank.connect(pooled, projections=False) as context:
        async with context.transaction() as unit:
            await unit.execute("create table customers (name text primary key)")
        async with context.transaction() as unit:
            await unit.execute("insert into customers values ('alice')")
            await unit.command(OpenAccount(account_id="42", owner="alice"))
            await unit.command(deposit(10))

        async def failing(number: int) -> None:
            async with context.transaction() as unit:
                await unit.execute(f"insert into customers values ('{number}')")
                await unit.command(DepositMoney(account_id=f"{number}", amount=Decimal(1)))
                raise ZeroDivisionError

        failures = await asyncio.gather(*(failing(number) for number in range(2)), return_exceptions=True)
        assert {type(failure) for failure in failures} == {ZeroDivisionError}
        async with context.transaction() as unit:
            assert await unit.execute("select name from customers") == [("alice",)]
        assert (await context.load(Account, "42")).balance == 10
        assert (await context.store.head()).position == 2


async def test_a_receipt_is_waited_for_where_another_process_works(pooled: str):
    async with (
        bank.connect(pooled, lease=1.0) as working,
        bank.connect(pooled, projections=False) as asking,
        bank.connect(pooled, lease=1.0) as standing_by,
    ):
        for number in range(20):
            receipt = await asking.execute(OpenAccount(account_id=f"{number}", owner="alice"))
            for context in (asking, working, standing_by):
                row = await context.get(AccountSummary, f"{number}", after=receipt, timeout=20)
                assert row is not None
                assert row.owner == "alice"
        await assert_equals_fold(asking)


async def test_a_worker_that_was_killed_loses_its_lease_to_another(pooled: str):
    with worker(pooled) as process:
        async with shop.connect(pooled, projections=False) as asking:
            await asking.append("stock-a", [Added(count=1)])
            receipt = await asking.append("stock-a", [Added(count=2)])
            row = await asking.get(Stock, "a", after=receipt, timeout=20)
            assert row is not None
            assert row.count == 3
            process.kill()
            await asyncio.to_thread(process.wait)
            async with shop.connect(pooled, lease=LEASE):
                receipt = await asking.append("stock-b", [Moved(other="a", count=1)])
                row = await asking.get(Stock, "a", after=receipt, timeout=20)
                assert row is not None
                assert row.count == 4
                await assert_equals_fold(asking)


async def test_a_read_model_is_rebuilt_while_events_come(pooled: str):
    async with shop.connect(pooled, lease=1.0) as context, shop.connect(pooled, projections=False) as other:

        async def append(number: int) -> None:
            for _ in range(30):
                await other.append(f"stock-{number}", [Added(count=1), Moved(other="x", count=1)])

        appending = asyncio.gather(*(append(number) for number in range(5)))
        await other.rebuild(Stock)
        await context.rebuild(Stock)
        await appending
        await assert_equals_fold(context)
        await assert_equals_fold(other)


async def test_an_inline_read_model_changes_with_the_append(pooled: str):
    async with inline_bank.connect(pooled, lease=1.0) as context:
        await context.execute(OpenAccount(account_id="42", owner="alice"))
        for number in range(1, 6):
            receipt = await context.execute(deposit(1))
            row = await context.get(Movements, "42", after=receipt, timeout=0)
            assert row is not None
            assert row.count == number
        await asyncio.gather(*(context.execute(deposit(1)) for _ in range(50)))
        with pytest.raises(Rejected):
            await context.execute(WithdrawMoney(account_id="42", amount=Decimal(1000)))
        await assert_equals_fold(context)


async def test_a_snapshot_is_taken_and_used(pooled: str):
    async with counters.connect(pooled, projections=False) as context:
        await count(context, 25)
        snapshot = await context.store.load_snapshot(STREAM)
        assert snapshot is not None
        assert snapshot.version == 20
    async with counters.connect(pooled, projections=False) as context:
        assert await context.load(Counter, "1") == Counter(total=25, events=25)
        assert (await verify(context.store, None, counters)).ok


async def test_a_log_is_exported_and_imported(
    pooled: str, pgbouncer: PgBouncer, postgres_server: PostgresServer, tmp_path: Path
):
    file, back = tmp_path / "log.jsonl", tmp_path / "back.jsonl"
    name = pooled.rpartition("/")[2] + "_copy"
    postgres_server.create_database(name)
    store, beside = await open_postgres(pooled), await open_sqlite(f"sqlite:///{tmp_path}/log.db")
    copy = await open_postgres(pgbouncer.url(name))
    await fill(store, 500)
    exported = await export_to_file(store, file)
    await import_file(beside, file)
    await export_to_file(beside, back)
    imported = await import_file(copy, back)
    assert imported.sha256 == exported.sha256
    assert await everything_in(copy) == await everything_in(beside) == await everything_in(store)
    assert (await verify(copy, None, None)).ok
    for each in (store, beside, copy):
        await each.close()
    postgres_server.drop_database(name)
