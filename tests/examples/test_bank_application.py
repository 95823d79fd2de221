"""The bank's command line on both stores: its story, a ledger imported, killed, imported again, and checked."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest
from click.testing import CliRunner, Result

from examples.bank.__main__ import bank
from examples.bank.account import Account
from examples.bank.app import app
from examples.bank.balances import statement
from examples.bank.commands import DepositMoney, OpenAccount
from examples.bank.events import MoneyDeposited
from examples.bank.read_models import AccountSummary
from examples.bank.transfers import transfer
from refold import Rejected
from refold.app import Context
from tests.examples.ledgers import SmallLedger, write_ledger
from tests.untested import skip_loudly

PROJECT = Path(__file__).resolve().parents[2]
REAL_LEDGER = Path(os.environ.get("LEDGER", PROJECT.parent / "shared" / "data" / "berka"))
LAST_DAY = date(1993, 1, 30)


def run(*arguments: str | Path | date) -> Result:
    return CliRunner().invoke(bank, [str(argument) for argument in arguments], catch_exceptions=False)


def kill_at(nth: int, *arguments: str | Path | date) -> int:
    command = [sys.executable, "-m", "tests.examples.dying", str(nth), *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, timeout=60).returncode


def number_of_events(url: str) -> int:
    async def head() -> int:
        async with app.connect(url, projections=False) as context:
            return (await context.store.head()).position

    return asyncio.run(head())


@pytest.fixture
def ledger(tmp_path: Path) -> SmallLedger:
    folder = tmp_path / "ledger"
    folder.mkdir()
    return write_ledger(folder)


class Bank:
    """What holds on every store."""

    def test_tells_the_story_of_account_42_however_often(self, url: str):
        first, second = run("demo", "--url", url), run("demo", "--url", url)
        for told in (first, second):
            assert told.exit_code == 0
            for expected in (
                "AccountOpened(owner=alice)",
                "MoneyDeposited(amount=100)",
                "MoneyDeposited(amount=50)",
                "MoneyWithdrawn(amount=30, by=cash)",
                "AccountSuspended(reason=fraud-check)",
                "Account(owner=alice, balance=120, transactions=3, suspended=fraud-check)",
                "refused: this account is suspended: fraud-check",
                "balance=120, transactions=3, status=suspended, suspended_for=fraud-check",
                "before the withdrawal: 150",
                "its table was folded anew from all 5 events: the same row",
            ):
                assert expected in told.output
        assert number_of_events(url) == 5

    def test_imports_a_ledger_and_agrees_with_it_on_every_day(self, url: str, ledger: SmallLedger):
        imported = run("import", ledger.folder, "--url", url)
        assert imported.exit_code == 0, imported.output
        accounts = len(ledger.closing)
        events = ledger.transactions + accounts + (accounts + 1) // 2
        assert (
            f"{ledger.transactions:,} transactions of {accounts} accounts: {events:,} events recorded"
            in imported.output
        )
        assert number_of_events(url) == events
        for day in (date(1993, 1, 1), date(1993, 1, 15), LAST_DAY, date(1994, 1, 1)):
            checked = run("check", ledger.folder, "--url", url, "--as-of", day)
            assert checked.exit_code == 0, checked.output
            assert f"{sum(ledger.balances_on(day).values()):,.2f}" in checked.output

    def test_keeps_each_account_with_its_persons_and_each_day_of_it(self, url: str, ledger: SmallLedger):
        run("import", ledger.folder, "--url", url)

        async def look(context: Context) -> None:
            history = await context.history("account-cz-40")
            assert [str(each.event) for each in history[:2]] == [
                "AccountOpened(owner='client-1', district='Brno - mesto')",
                "PersonAuthorised(person='client-6')",
            ]
            assert {each.metadata.actor for each in history} == {"ledger"}
            row = await context.get(AccountSummary, "cz-40", after=await _head(context))
            assert row is not None
            assert (row.owner, row.authorised, row.opened_on) == ("client-1", 1, date(1993, 1, 1))
            assert row.balance == (await context.load(Account, "cz-40")).balance == ledger.balances_on(LAST_DAY)[40]
            days = await statement(context, "cz-40")
            assert {each.day: each.balance for each in days} == ledger.closing[40]

        asyncio.run(_with(url, look))

    def test_imports_nothing_twice(self, url: str, ledger: SmallLedger):
        run("import", ledger.folder, "--url", url)
        events = number_of_events(url)
        again = run("import", ledger.folder, "--url", url)
        assert again.exit_code == 0
        assert f"0 events recorded, {events:,} were there already" in again.output
        assert number_of_events(url) == events

    @pytest.mark.slow
    def test_goes_on_importing_where_it_was_killed(self, url: str, tmp_path: Path):
        ledger = write_ledger(tmp_path, accounts=40, days=90)
        nth = 1
        while kill_at(nth, "import", ledger.folder, "--url", url) == -signal.SIGKILL:
            nth += 11
        assert nth > 12, "it was killed before, during and after several commits"
        finished = run("import", ledger.folder, "--url", url)
        assert finished.exit_code == 0
        accounts = len(ledger.closing)
        assert number_of_events(url) == ledger.transactions + accounts + (accounts + 1) // 2
        assert run("check", ledger.folder, "--url", url, "--as-of", date(1993, 3, 31)).exit_code == 0

    def test_imports_nothing_of_a_ledger_with_a_broken_line(self, url: str, ledger: SmallLedger):
        ledger.break_line(30, ";9301", ";9313")
        result = run("import", ledger.folder, "--url", url)
        assert result.exit_code == 1
        assert "trans.csv, line 30: date '9313" in result.stderr
        assert number_of_events(url) == 0

    def test_refuses_to_mix_a_ledger_with_what_others_wrote_into_its_accounts(self, url: str, ledger: SmallLedger):
        async def intrude(context: Context) -> None:
            await context.append("account-cz-41", [MoneyDeposited(amount=Decimal(1))])

        asyncio.run(_with(url, intrude))
        result = run("import", ledger.folder, "--url", url)
        assert result.exit_code == 1
        assert "conflict on stream 'account-cz-41'" in result.stderr

    def test_notices_a_balance_that_differs(self, url: str, ledger: SmallLedger):
        assert run("check", ledger.folder, "--url", url, "--as-of", LAST_DAY).exit_code == 1
        run("import", ledger.folder, "--url", url)

        async def intrude(context: Context) -> None:
            await context.append("account-cz-41", [MoneyDeposited(amount=Decimal(1))])

        asyncio.run(_with(url, intrude))
        assert run("check", ledger.folder, "--url", url, "--as-of", LAST_DAY).exit_code == 0, "it happened later"
        differs = run("check", ledger.folder, "--url", url, "--as-of", date.max)
        assert differs.exit_code == 1
        assert "1 of 5 accounts differ" in differs.output
        assert "cz-41" in differs.output

    def test_books_both_sides_of_a_transfer_or_neither(self, url: str):
        async def play(context: Context) -> None:
            for number in ("1", "2"):
                await context.execute(OpenAccount(account_id=number, owner="alice"))
            await context.execute(DepositMoney(account_id="1", amount=Decimal(100)))
            await transfer(context, Decimal(30), sender="1", receiver="2", person="alice")
            with pytest.raises(Rejected, match="there is no such account"):
                await transfer(context, Decimal(30), sender="1", receiver="3")
            with pytest.raises(Rejected, match="insufficient funds"):
                await transfer(context, Decimal(71), sender="1", receiver="2")
            assert (await context.load(Account, "1")).balance == 70
            assert (await context.load(Account, "2")).balance == 30
            # Both ways at once: each finds the other's doing in its way, and is decided again.
            await asyncio.gather(
                *(transfer(context, Decimal(1), sender="1", receiver="2") for _ in range(5)),
                *(transfer(context, Decimal(1), sender="2", receiver="1") for _ in range(5)),
            )
            assert (await context.load(Account, "1")).balance == 70
            assert (await context.load(Account, "2")).balance == 30

        asyncio.run(_with(url, play))

    @pytest.mark.slow
    def test_agrees_with_a_real_bank(self, url: str):
        if not REAL_LEDGER.exists():
            skip_loudly("the real ledger", f"{REAL_LEDGER} is not there; LEDGER=DIR says where it is")
        imported = run("import", REAL_LEDGER, "--url", url)
        assert imported.exit_code == 0, imported.output
        assert "49,102 transactions of 4,500 accounts: 54,471 events recorded" in imported.output
        checked = run("check", REAL_LEDGER, "--url", url)
        assert checked.exit_code == 0, checked.output
        for source in ("temporal query", "read model"):
            (line,) = [line for line in checked.output.splitlines() if f"by {source}" in line]
            assert [each for each in line.split() if each[0].isdigit()] == ["1,153", "32,760", "37,002,081.60", "0.60"]


class TestOnSqlite(Bank):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'bank.db'}"


class TestOnPostgres(Bank):
    @pytest.fixture
    def url(self, fresh_database: str) -> str:
        return fresh_database

    def test_imports_once_when_two_do_it_at_the_same_time(self, url: str, ledger: SmallLedger):
        command = [sys.executable, "-m", "examples.bank", "import", str(ledger.folder), "--url", url]
        imports = [subprocess.Popen(command, cwd=PROJECT, stdout=PIPE, stderr=STDOUT) for _ in "ab"]
        for each in imports:
            output, _ = each.communicate(timeout=60)
            assert each.returncode == 0, output.decode()
        accounts = len(ledger.closing)
        assert number_of_events(url) == ledger.transactions + accounts + (accounts + 1) // 2
        assert run("check", ledger.folder, "--url", url, "--as-of", LAST_DAY).exit_code == 0


async def _with(url: str, play: Callable[[Context], Awaitable[None]]) -> None:
    async with app.connect(url) as context:
        await play(context)


async def _head(context: Context) -> int:
    return (await context.store.head()).position
