"""The bank's own command line: `python -m examples.bank demo | import DIR | check DIR`."""

import asyncio
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from examples.bank.app import app
from examples.bank.checking import TOLERANCE, CheckedAccount, check_ledger
from examples.bank.importing import import_ledger
from examples.bank.ledger import LedgerError
from examples.bank.read_models import AccountSummary, DailyBalance
from examples.bank.story import tell
from refold import RefoldError

T = TypeVar("T")

console = Console(highlight=False)

url_option = click.option(
    "--url",
    envvar="REFOLD_URL",
    default="sqlite:///bank.db",
    show_default=True,
    show_envvar=True,
    help="The store: sqlite:///FILE or postgresql://USER@HOST/DATABASE.",
)
ledger_argument = click.argument("ledger", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def bank() -> None:
    """A bank on Refold: its story, and a real bank's ledger."""


@bank.command()
@url_option
def demo(url: str) -> None:
    """Play the story of account 42. Can be played again: what is done is done once."""

    async def play() -> None:
        async with app.connect(url) as context:
            await tell(context, console)

    _run(play())


@bank.command("import")
@url_option
@ledger_argument
def import_(url: str, ledger: Path) -> None:
    """Import the ledger in DIR. Can be killed and run again: each transaction is recorded once."""
    _run(_import(url, ledger))


@bank.command()
@url_option
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    default="1994-01-15",
    show_default=True,
    help="Compare the balances at the end of this day.",
)
@ledger_argument
def check(url: str, as_of: datetime, ledger: Path) -> None:
    """Compare the imported ledger with the balances that the bank recorded itself. Exits with 1 when they differ."""
    sys.exit(_run(_check(url, ledger, as_of.replace(tzinfo=UTC))))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


async def _import(url: str, ledger: Path) -> None:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
    async with app.connect(url) as context:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("events", total=None, visible=False)
            result = await import_ledger(
                context,
                ledger,
                progress=lambda done, total: progress.update(task, completed=done, total=total, visible=True),
            )
        console.print(
            f"{result.transactions:,} transactions of {result.accounts:,} accounts: "
            f"{result.events - result.already_there:,} events recorded, {result.already_there:,} were there already",
            soft_wrap=True,
        )
        with console.status("waiting for the read models"):
            for model in (AccountSummary, DailyBalance):
                await context.count(model, after=result.position, timeout=600)


async def _check(url: str, ledger: Path, as_of: datetime) -> int:
    async with app.connect(url) as context:
        if (await context.store.head()).position == 0:
            console.print(f"[red]nothing is imported in {context.store.name}[/red]; run `import` first")
            return 1
        with console.status("folding"):
            checked = await check_ledger(context, ledger, as_of.date())
    console.print(_summary(checked, as_of))
    broken = [account for account in checked if not account.holds]
    for account in broken[:10]:
        console.print(f"[red]differs:[/red] {account}")
    if broken or not checked:
        console.print(f"[red]{len(broken):,} of {len(checked):,} accounts differ[/red]")
        return 1
    console.print(f"[green]every balance is within {TOLERANCE} of the bank's own[/green]")
    return 0


def _summary(checked: list[CheckedAccount], as_of: datetime) -> Table:
    table = Table("balances", "accounts", "transactions", "sum", "furthest off")
    for column in table.columns[1:]:
        column.justify = "right"
    totals = [
        ("the bank's own", [each.recorded for each in checked]),
        ("by temporal query", [each.by_temporal_query for each in checked]),
        ("by read model", [each.by_read_model for each in checked]),
    ]
    for source, (name, balances) in enumerate(totals):
        furthest = max((abs(one - each.recorded) for one, each in zip(balances, checked, strict=True)), default=0)
        table.add_row(
            name,
            f"{len(checked):,}",
            f"{sum(each.transactions[source] for each in checked):,}",
            f"{sum(balances):,.2f}",
            f"{furthest:.2f}",
        )
    table.title = f"As of {as_of:%Y-%m-%d}"
    return table


def _run(work: Coroutine[None, None, T]) -> T:
    try:
        return asyncio.run(work)
    except (RefoldError, LedgerError) as problem:
        Console(stderr=True).print(Text.assemble(("error: ", "red"), str(problem)), soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    bank(prog_name="python -m examples.bank")
