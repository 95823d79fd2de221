"""Each view of the bank against a few lines of plain Python over the same events."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from examples.bank.events import (
    AccountClosed,
    AccountOpened,
    AccountSuspended,
    FeeCharged,
    InterestPaid,
    MoneyDeposited,
    MoneyWithdrawn,
    PenaltyInterestCharged,
    PersonAuthorised,
    SuspensionLifted,
    TransferReceived,
    TransferSent,
)
from examples.bank.full import app
from examples.bank.importing import import_ledger
from examples.bank.ledger import read_accounts, read_entries
from examples.bank.read_models import AccountSummary, DailyBalance
from examples.bank.views import Branch, HotBalance, MonthlyVolume, Movement
from examples.bank.volumes import NOT_RECORDED, draw, totals, volumes_in
from refold import Context
from tests.examples.ledgers import DISTRICTS, write_ledger
from tests.untested import skip_loudly

REAL_LEDGER = Path(os.environ.get("LEDGER", Path(__file__).resolve().parents[3] / "shared" / "data" / "berka"))
IN = (MoneyDeposited, TransferReceived, InterestPaid)
OUT = (MoneyWithdrawn, TransferSent, FeeCharged, PenaltyInterestCharged)


class Happened(NamedTuple):
    position: int
    account: str
    day: date
    event: Any

    @property
    def amount(self) -> Decimal:
        """What it does to the balance."""
        if isinstance(self.event, IN):
            return Decimal(self.event.amount)
        return -self.event.amount if isinstance(self.event, OUT) else Decimal(0)

    @property
    def moves(self) -> bool:
        return isinstance(self.event, IN + OUT)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return tmp_path / "parquet"


@pytest.fixture
async def bank(tmp_path: Path, parquet: Path) -> AsyncIterator[Context]:
    """A small ledger of forty days, and what its owners do afterwards."""
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    write_ledger(ledger, days=40)
    sinks = {"branch": f"parquet://{parquet}", "monthly_volume": f"parquet://{parquet}?partition=month"}
    async with app.connect(f"sqlite:///{tmp_path}/bank.db", sinks=sinks) as context:
        await import_ledger(context, ledger, progress=lambda _done, _total: None)
        for event in (AccountSuspended(reason="fraud-check"), SuspensionLifted(), PersonAuthorised(person="eve")):
            await context.append("account-cz-41", [event])
        await context.append("account-cz-42", [AccountSuspended(reason="lost card")])
        await context.append("account-cz-43", [AccountClosed()])
        await context.append("account-7", [AccountOpened(owner="bob"), MoneyDeposited(amount=Decimal("0.10"))])
        yield context


async def everything(bank: Context) -> list[Happened]:
    """The log from the beginning, and the views have seen it."""
    page = await bank.store.read_log(limit=100_000)
    assert page.scanned_to == page.head
    for model in app.read_models:
        await bank.count(model, after=page.head)
    recorded = [bank.types.decode(event) for event in page.events]
    return [Happened(each.position, each.stream_key, each.occurred_at.date(), each.event) for each in recorded]


async def test_summaries(bank: Context) -> None:
    expected: dict[str, dict[str, Any]] = {}
    for each in await everything(bank):
        row = expected.setdefault(each.account, {"balance": Decimal(0), "transactions": 0, "authorised": 0})
        row["balance"] += each.amount
        row["transactions"] += each.moves
        row["authorised"] += isinstance(each.event, PersonAuthorised)
        match each.event:
            case AccountOpened(owner=owner):
                row |= {"owner": owner, "opened_on": each.day, "status": "open", "suspended_for": None}
            case AccountSuspended(reason=reason):
                row |= {"status": "suspended", "suspended_for": reason}
            case SuspensionLifted():
                row |= {"status": "open", "suspended_for": None}
            case AccountClosed():
                row |= {"status": "closed"}
    found = {
        row.account_id: {name: getattr(row, name) for name in row.__struct_fields__ if name != "account_id"}
        for row in await bank.find(AccountSummary)
    }
    assert found == expected
    assert {row["status"] for row in expected.values()} == {"open", "suspended", "closed"}


async def test_daily_balances(bank: Context) -> None:
    expected: dict[tuple[str, date], list[Any]] = defaultdict(lambda: [Decimal(0), Decimal(0), 0])
    for each in await everything(bank):
        if each.moves:
            row = expected[each.account, each.day]
            row[0 if each.amount > 0 else 1] += abs(each.amount)
            row[2] += 1
    rows = await bank.find(DailyBalance)
    assert {(row.account_id, row.day): [row.credited, row.debited, row.transactions] for row in rows} == expected


async def test_hot_balances(bank: Context) -> None:
    expected: dict[str, Decimal] = defaultdict(Decimal)
    for each in await everything(bank):
        expected[each.account] += each.amount
    assert {row.account_id: row.balance for row in await bank.find(HotBalance)} == expected


async def test_movements(bank: Context) -> None:
    happened = {each.position: each for each in await everything(bank) if each.moves}
    rows = await bank.find(Movement)
    assert [(row.position, row.account_id, row.day, row.amount) for row in rows] == [
        (at, each.account, each.day, each.amount) for at, each in sorted(happened.items())
    ]
    assert all(row.text for row in rows)
    for row in rows:
        if isinstance(happened[row.position].event, TransferSent):
            assert row.text == "transfer to account 1234 of bank QR household"


async def test_branches(bank: Context) -> None:
    """The district that the ledger gives; none for an account that was opened without."""
    found = {
        row.account_id: row.district for row in await bank.find(Branch, after=(await everything(bank))[-1].position)
    }
    assert found == {f"cz-{number}": DISTRICTS[number % 3] for number in range(40, 45)} | {"7": None}


async def test_monthly_volumes_by_district_and_kind(bank: Context, parquet: Path, tmp_path: Path) -> None:
    """As DuckDB sums them up, in a folder for each month; and they can be drawn."""
    happened = await everything(bank)
    districts = {each.account: each.event.district for each in happened if isinstance(each.event, AccountOpened)}
    expected: dict[tuple[str, str, str], list[Any]] = defaultdict(lambda: [Decimal(0), 0])
    for each in happened:
        if each.moves:
            row = expected[f"{each.day:%Y-%m}", districts[each.account] or NOT_RECORDED, type(each.event).__name__]
            row[0] += abs(each.amount)
            row[1] += 1
    volumes = volumes_in(parquet)
    assert {volume[:3]: list(volume[3:]) for volume in volumes} == expected
    assert volumes == sorted(volumes)
    months = {path.parent.name for path in parquet.glob("monthly_volume/*/*/*.parquet")}
    assert months == {"month=1993-01", "month=1993-02", f"month={happened[-1].day:%Y-%m}"}
    assert await bank.count(MonthlyVolume, month="1993-02") == sum(
        1
        for account, kind in {(each.account, type(each.event)) for each in happened if each.day.month == 2}
        if kind in IN + OUT
    )
    assert sum(totals(volumes, "district").values()) == sum(abs(each.amount) for each in happened)
    draw(volumes, tmp_path / "drawn" / "volumes.png")
    assert (tmp_path / "drawn" / "volumes.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
async def test_monthly_volumes_of_the_real_ledger(tmp_path: Path) -> None:
    """Straight from its lines."""
    if not (REAL_LEDGER / "trans.csv").exists():
        skip_loudly("the real ledger", f"{REAL_LEDGER} is not there")
    accounts = read_accounts(REAL_LEDGER)
    districts = {account.number: account.district for account in accounts}
    expected: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for entry in read_entries(REAL_LEDGER, accounts):
        expected[f"{entry.day:%Y-%m}", districts[entry.account], type(entry.event).__name__] += abs(entry.change)
    sinks = {"branch": f"parquet://{tmp_path}/p", "monthly_volume": f"parquet://{tmp_path}/p?partition=month"}
    async with app.connect(f"sqlite:///{tmp_path}/bank.db", sinks=sinks) as context:
        done = await import_ledger(context, REAL_LEDGER, progress=lambda _done, _total: None)
        for model in (Branch, MonthlyVolume):
            await context.count(model, after=done.position, timeout=120)
        found = {volume[:3]: volume.amount for volume in volumes_in(tmp_path / "p")}
    assert found == expected
    assert len({district for _, district, _ in found}) == 77
