"""A read model that is not the fold of the log is named, row by row; one that moves meanwhile is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Literal

import pytest

from refold import App, Command, Event, ReadModel, Recorded, evolve
from refold.app import Context
from refold.errors import StoreCorrupt
from refold.operations.verify import Check, Report, verify
from refold.operations.worker import catch_up
from refold.store.append import ANY
from refold.store.event_store import EventStore
from tests.domain import AccountOpened, CloseAccount, DepositMoney, MoneyDeposited, OpenAccount, bank
from tests.operations.tampering import Tamperer

ON_DISK = pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def broken(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.checks if not check.ok}


def named(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def said(check: Check) -> str:
    return "\n".join(f"{finding.where}: {finding.problem}" for finding in check.findings)


async def verified(context: Context) -> Report:
    return await verify(context.store, context.projections.sink, context.app)


@pytest.fixture
async def context(store: EventStore) -> AsyncIterator[Context]:
    """A bank with ten accounts, one of them closed; its read models have seen it all, and stand still."""
    async with bank.connect(store) as connected:
        commands: list[Command] = []
        for number in range(10):
            account = str(number)
            commands.append(OpenAccount(account_id=account, owner=f"owner {number}"))
            commands += [DepositMoney(account_id=account, amount=Decimal(f"{number}.50")) for _ in range(3)]
        await connected.execute_many([*commands, CloseAccount(account_id="7")])
        assert await catch_up(connected) == []
    async with bank.connect(store, projections=False) as connected:
        yield connected


async def test_read_models_that_equal_the_fold_are_sound(context: Context) -> None:
    report = await verified(context)
    assert report.ok, broken(report)
    assert named(report, "read model account_summary").looked_at == 9
    assert named(report, "read model deposits_per_day").looked_at == 1
    assert named(report, "checkpoints").looked_at == 2


async def test_an_empty_read_model_is_sound(store: EventStore) -> None:
    async with bank.connect(store) as connected:
        await catch_up(connected)
        report = await verified(connected)
        assert report.ok, broken(report)


@ON_DISK
@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (
            "update account_summary set owner = 'mallory' where account_id = '3'",
            'row account_id=3: owner is "mallory", the fold says "owner 3"',
        ),
        (
            "update account_summary set balance = 1000, movements = 0 where account_id = '3'",
            'row account_id=3: balance is "1000", the fold says "10.50"; movements is 0, the fold says 3',
        ),
        ("delete from account_summary where account_id = '3'", "row account_id=3: it is missing; the fold has it"),
        (
            "insert into account_summary select '99', owner, balance, movements from account_summary "
            "where account_id = '3'",
            "row account_id=99: the fold does not have it",
        ),
        (
            "insert into account_summary select '7', owner, balance, movements from account_summary "
            "where account_id = '3'",
            "row account_id=7: the fold does not have it",
        ),
    ],
)
async def test_a_row_that_is_not_the_fold_is_named(
    change: str, finding: str, context: Context, tamperer: Tamperer
) -> None:
    tamperer.run(change)
    found = broken(await verified(context))
    assert set(found) == {"read model account_summary"}
    assert said(found["read model account_summary"]) == finding


@ON_DISK
async def test_all_rows_are_looked_at_however_they_are_paged(
    context: Context, tamperer: Tamperer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.operations.verify.manner._ROWS", 3)
    monkeypatch.setattr("refold.operations.verify.comparison._KEYS", 2)
    monkeypatch.setattr("refold.operations.verify.parts._LIMIT", 4)
    report = await verified(context)
    assert report.ok, broken(report)
    assert named(report, "read model account_summary").looked_at == 9
    tamperer.run("update account_summary set movements = movements + 1 where account_id in ('0', '4', '9')")
    tamperer.run("delete from account_summary where account_id in ('1', '2')")
    tamperer.run("insert into account_summary values ('55', 'x', '1', 1)")
    check = broken(await verified(context))["read model account_summary"]
    assert sorted(finding.where for finding in check.findings) == [
        f"row account_id={key}" for key in ("0", "1", "2", "4", "55", "9")
    ]


@ON_DISK
async def test_a_checkpoint_ahead_of_the_log_is_named(context: Context, tamperer: Tamperer) -> None:
    tamperer.run("update {checkpoints} set position = 1000 where name = 'account_summary'")
    found = await verified(context)
    assert "it is ahead of the log, which ends at 41" in said(broken(found)["checkpoints"])
    assert named(found, "read model account_summary").skipped == "its checkpoint is ahead of the log"


@ON_DISK
async def test_a_checkpoint_of_another_history_is_named(context: Context, tamperer: Tamperer) -> None:
    tamperer.run(f"update {{checkpoints}} set append_id = '{'0' * 32}' where name = 'account_summary'")
    assert "it belongs to another history" in said(broken(await verified(context))["checkpoints"])


@ON_DISK
async def test_a_read_model_of_another_definition_is_skipped(context: Context, tamperer: Tamperer) -> None:
    tamperer.run("update {checkpoints} set fingerprint = 'older' where name = 'account_summary'")
    report = await verified(context)
    assert report.ok
    assert "run `refold rebuild account_summary`" in str(named(report, "read model account_summary").skipped)


async def test_a_read_model_is_compared_as_far_as_it_is(context: Context) -> None:
    await context.execute(DepositMoney(account_id="3", amount=Decimal(100)))
    report = await verified(context)
    assert report.ok, broken(report)


async def test_read_models_that_move_meanwhile_are_sound(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.operations.verify.manner._ROWS", 2)
    monkeypatch.setattr("refold.operations.verify.comparison._KEYS", 1)
    ended = asyncio.Event()

    async def keep_changing(connected: Context) -> int:
        number = 0
        while not ended.is_set():
            number += 1
            account = f"new {number:06}"
            await connected.execute(OpenAccount(account_id=account, owner="alice"))
            for each in (account, "3", "9"):
                await connected.execute(DepositMoney(account_id=each, amount=Decimal(1)))
            if number % 3 == 0:
                await connected.execute(CloseAccount(account_id=account))
        return number

    async with bank.connect(context.store) as connected:
        changing = asyncio.create_task(keep_changing(connected))
        reports = [await verified(connected) for _ in range(5)]
        ended.set()
        assert await changing > 1
    assert [broken(report) for report in reports] == [{}] * 5
    heads = [report.head for report in reports]
    assert heads == sorted(heads)
    assert heads[0] < heads[-1]


def _by_owner_and_day(event: MoneyDeposited, recorded: Recorded[MoneyDeposited]) -> list[tuple[int, date, str]]:
    return [(int(event.amount), recorded.occurred_at.date(), end) for end in ("a", "b")]


class DepositsBySize(ReadModel, key=("size", "day", "end")):
    size: int
    day: date
    end: str
    count: int = 0
    streams: tuple[str, ...] = ()

    @evolve(key=_by_owner_and_day)
    def deposited(self, event: MoneyDeposited, recorded: Recorded[MoneyDeposited]) -> None:
        self.count += 1
        self.streams = (*self.streams, recorded.stream)


async def test_keys_of_several_fields_are_paged_too(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.operations.verify.manner._ROWS", 3)
    app = App("sizes", read_models=[DepositsBySize], events=[AccountOpened])
    async with app.connect(store) as connected:
        for number in range(20):
            await connected.append(f"account-{number}", [MoneyDeposited(amount=Decimal(number % 7))], expected=ANY)
        await catch_up(connected)
        report = await verified(connected)
        assert report.ok, broken(report)
        assert named(report, "read model deposits_by_size").looked_at == 14


class Exploded(Event):
    fuse: int


class Explosions(ReadModel, key="bomb_id"):
    bomb_id: str
    fuse: int = 0

    @evolve
    def exploded(self, event: Exploded) -> None:
        self.fuse = 100 // event.fuse


@pytest.mark.usefixtures("short_pauses")
async def test_a_read_model_that_stopped_is_sound_up_to_there(store: EventStore) -> None:
    app = App("bombs", read_models=[Explosions])
    async with app.connect(store) as connected:
        await connected.append("bomb-1", [Exploded(fuse=2)])
        await catch_up(connected)
        await connected.append("bomb-2", [Exploded(fuse=0)])
        stopped = await catch_up(connected)
        assert [each.name for each in stopped] == ["explosions"]
        assert "ZeroDivisionError" in stopped[0].error
        report = await verified(connected)
        assert report.ok, broken(report)


@ON_DISK
async def test_a_fold_that_fails_is_a_finding(store: EventStore, tamperer: Tamperer) -> None:
    app = App("bombs", read_models=[Explosions])
    async with app.connect(store) as connected:
        await connected.append("bomb-1", [Exploded(fuse=2)])
        await catch_up(connected)
    tamperer.remove_guards()
    tamperer.run("update {events} set payload = '{\"fuse\":0}'")
    async with app.connect(store, projections=False) as connected:
        found = broken(await verified(connected))["read model explosions"]
    assert "an evolve method failed" in said(found)
    assert "ZeroDivisionError" in said(found)


class Marked(ReadModel, key="account", name="marked"):
    """A column of its own format, which anybody can write something else into."""

    account: str
    kind: Literal["new", "used"] = "new"

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.kind = "used"


@ON_DISK
async def test_a_row_that_cannot_be_read_is_a_finding(store: EventStore, tamperer: Tamperer) -> None:
    async with App("bank", read_models=[Marked]).connect(store) as context:
        await context.append("account-1", [AccountOpened(owner="alice")])
        assert await catch_up(context) == []
        tamperer.run("update marked set kind = 'lost'")
        assert "a row of table 'marked' is no Marked" in said(broken(await verified(context))["read model marked"])
        for fresh in (False, True):
            with pytest.raises(StoreCorrupt, match="refold rebuild marked"):
                await context.get(Marked, "1", fresh=fresh)
        await context.rebuild(Marked)
        assert await context.get(Marked, "1") == Marked(account="1", kind="used")
