"""A unit of work changes the user's own tables and the log together, or not at all."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from refold import Aggregate, App, Command, Conflict, Event, Recorded, Rejected, decide, evolve
from refold.app import Context
from refold.commands.unit_of_work import UnitOfWork
from refold.errors import AlreadyAppended, InvalidCommand, StoreError
from tests.domain import Account, CloseAccount, DepositMoney, MoneyDeposited, OpenAccount, WithdrawMoney, bank
from tests.servers import PostgresServer

INSERT = "insert into customers values ('alice')"
SELECT = "select name from customers"


async def names(context: Context) -> list[str]:
    async with context.transaction() as unit:
        return [name for (name,) in await unit.execute(SELECT)]


async def test_rows_and_events_are_committed_together(sql: Context):
    async with sql.transaction(actor="alice") as unit:
        await unit.execute(INSERT)
        await unit.command(OpenAccount(account_id="42", owner="alice"))
        await unit.command(DepositMoney(account_id="42", amount=Decimal(10)))
        await unit.command(WithdrawMoney(account_id="42", amount=Decimal(4)))
        unit.append("account-43", [MoneyDeposited(amount=Decimal(4))])
    assert await names(sql) == ["alice"]
    assert (await sql.load(Account, "42")).balance == 6
    assert (await sql.load(Account, "43")).balance == 4
    assert [each.version for each in await sql.history("account-42")] == [1, 2, 3]
    assert {each.metadata.actor for each in await sql.history("account-42")} == {"alice"}


@pytest.mark.parametrize(
    "command",
    [
        OpenAccount(account_id="42", owner="alice"),  # the second time it would be refused
        CloseAccount(account_id="42"),  # there would be nothing to do
        DepositMoney(account_id="42", amount=Decimal(4)),
    ],
)
async def test_a_unit_that_is_repeated_is_done_once(sql: Context, command: Command):
    async with sql.transaction() as unit:
        await unit.command(command, command_id="once")
    with pytest.raises(AlreadyAppended):
        async with sql.transaction() as unit:
            await unit.execute(INSERT)
            await unit.command(command, command_id="once")
    assert await names(sql) == []
    assert (await sql.store.head()).position == 1


async def test_a_command_sees_what_was_appended_before_it_in_its_unit(sql: Context):
    await sql.execute(DepositMoney(account_id="42", amount=Decimal(1)))
    async with sql.transaction() as unit:
        unit.append("account-42", [MoneyDeposited(amount=Decimal(4))])
        await unit.command(WithdrawMoney(account_id="42", amount=Decimal(5)))
        unit.append("account-42", [MoneyDeposited(amount=Decimal(7)), MoneyDeposited(amount=Decimal(8))])
        await unit.command(WithdrawMoney(account_id="42", amount=Decimal(15)))
        with pytest.raises(Rejected):
            await unit.command(WithdrawMoney(account_id="42", amount=Decimal(1)))
    assert (await sql.load(Account, "42")).balance == 0
    assert [each.version for each in await sql.history("account-42")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.postgres
async def test_somebody_elses_event_between_append_and_command_is_a_conflict(postgres18: PostgresServer):
    """The command was decided on a stream that is not there any more. On SQLite nobody else appends meanwhile."""
    url = postgres18.create_database(f"units_{uuid4().hex}")
    async with bank.connect(url, projections=False) as context:
        with pytest.raises(Conflict, match="account-42"):
            async with context.transaction() as unit:
                unit.append("account-42", [MoneyDeposited(amount=Decimal(4))])
                await unit.command(WithdrawMoney(account_id="42", amount=Decimal(4)))
                await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
        assert (await context.load(Account, "42")).balance == 1


async def test_an_exception_rolls_both_back(sql: Context):
    with pytest.raises(ZeroDivisionError):
        async with sql.transaction() as unit:
            await unit.execute(INSERT)
            await unit.command(OpenAccount(account_id="42", owner="alice"))
            raise ZeroDivisionError
    assert await names(sql) == []
    assert (await sql.store.head()).position == 0


async def test_a_refused_command_rolls_both_back(sql: Context):
    with pytest.raises(Rejected):
        async with sql.transaction() as unit:
            await unit.execute(INSERT)
            await unit.command(WithdrawMoney(account_id="42", amount=Decimal(4)))
    assert await names(sql) == []


async def test_a_conflict_rolls_both_back(sql: Context):
    with pytest.raises(Conflict, match="account-42"):
        async with sql.transaction() as unit:
            await unit.execute(INSERT)
            unit.append("account-42", [MoneyDeposited(amount=Decimal(1))], expected=7)
    assert await names(sql) == []
    assert (await sql.store.head()).position == 0


async def test_commands_beside_a_unit_of_work_see_what_it_did(sql: Context):
    await sql.execute(DepositMoney(account_id="42", amount=Decimal(1)))
    async with sql.transaction() as unit:
        await unit.command(WithdrawMoney(account_id="42", amount=Decimal(1)))
    with pytest.raises(Rejected):
        await sql.execute(WithdrawMoney(account_id="42", amount=Decimal(1)))


class Touch(Command):
    thing_id: str


class Touched(Event):
    pass


class Thing(Aggregate, stream="thing", id="thing_id"):
    position: int = 0

    @decide
    def touch(self, command: Touch) -> Touched:
        return Touched()

    @evolve
    def touched(self, event: Touched, recorded: Recorded[Touched]) -> None:
        self.position = recorded.position


async def test_a_fold_that_reads_positions_takes_one_command_in_a_unit():
    async with App("things", aggregates=[Thing]).connect("sqlite:///:memory:") as things:
        async with things.transaction() as unit:
            await unit.command(Touch(thing_id="1"))
            await unit.command(Touch(thing_id="2"))
            with pytest.raises(InvalidCommand, match="no position and time before the commit"):
                await unit.command(Touch(thing_id="1"))
            unit.append("thing-3", [Touched()])
            with pytest.raises(InvalidCommand, match="no position and time before the commit"):
                await unit.command(Touch(thing_id="3"))
        assert (await things.load(Thing, "2")).position == 2


async def test_appending_beside_an_open_unit_is_refused_at_once_on_sqlite(tmp_path: Path):
    """It would wait for the only writing connection, which the unit has."""
    async with bank.connect(f"sqlite:///{tmp_path}/bank.db", projections=False) as context:
        async with context.transaction() as unit:
            await unit.command(OpenAccount(account_id="1", owner="alice"))
            with pytest.raises(StoreError, match="through the transaction"):
                await context.execute(OpenAccount(account_id="2", owner="bob"))
            with pytest.raises(StoreError, match="through the transaction"):
                async with context.transaction():
                    pass
            later = asyncio.create_task(_after(unit, context))
        await later
        assert (await context.store.head()).position == 2


async def _after(unit: UnitOfWork, context: Context) -> None:
    """A task that was begun inside a unit, and goes on after it."""
    while not unit.results:
        await asyncio.sleep(0)
    await context.execute(OpenAccount(account_id="2", owner="bob"))
