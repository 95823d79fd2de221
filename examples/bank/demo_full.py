"""The bank in production, in small: real Postgres, Redis, OpenSearch, Neo4j and Parquet files, two workers of which one
is killed, a view that is rebuilt while the bank goes on, and a check that the truth and all its views agree.

`python -m examples.bank.demo_full [DIR] [--chart FILE]`: DIR holds the real ledger; without it, thirty accounts are
made up. FILE is where the picture of the monthly volumes goes (build/monthly_volumes.png).
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO
from urllib.parse import urlsplit

from neo4j import AsyncGraphDatabase
from rich.console import Console
from rich.status import Status
from rich.table import Table

from examples.bank.events import AccountOpened, MoneyDeposited, MoneyWithdrawn, TransferSent
from examples.bank.full import app
from examples.bank.importing import import_ledger
from examples.bank.ledger import moment
from examples.bank.read_models import AccountSummary, DailyBalance
from examples.bank.views import HotBalance, Movement, Payment
from examples.bank.volumes import NOT_RECORDED, draw, totals, volumes_in
from refold import Context, RefoldError, field
from tests.servers import Neo4jServer, OpenSearchServer, PostgresServer, RedisServer, Unavailable

ROOT = Path(__file__).parents[2]
REFOLD = str(Path(sys.executable).with_name("refold"))
CHART = ROOT / "build" / "monthly_volumes.png"
TILL = "account-till"
"""Where deposits go while other things happen. It has no branch, so the picture is of the ledger alone."""
FIRST_DAY = date(2025, 1, 1)
"""Of the ledger that is made up."""
HUB = """
MATCH (payer:Account)-[p:{kind}]->(hub:Account)
RETURN hub.id AS id, count(payer) AS payers, sum(toFloat(p.amount)) AS amount ORDER BY payers DESC, id LIMIT 1"""
ENDS = "MATCH (a:Account)-[:{kind}]->() RETURN min(a.id) AS first, max(a.id) AS last"
PATH = """
MATCH path = shortestPath((:Account {{id: $first}})-[:{kind}*..8]-(:Account {{id: $last}}))
RETURN [account IN nodes(path) | account.id] AS ids"""
SECONDS = 240.0
"""How long the views may take to see everything, on a slow machine."""
console = Console(highlight=False, soft_wrap=True)


def environment(postgres: str, redis: str, search: str, graph: str, folder: Path) -> dict[str, str]:
    """Where everything is, as any process of the bank is told it: one line for each view that lives elsewhere."""
    return {
        **os.environ,
        "REFOLD_APP": "examples.bank.full:app",
        "REFOLD_URL": postgres,
        "REFOLD_SINK_HOT_BALANCE": redis,
        "REFOLD_SINK_MOVEMENT": search,
        "REFOLD_SINK_PAYMENT": graph,
        "REFOLD_SINK_BRANCH": f"parquet://{folder.as_posix()}",
        "REFOLD_SINK_MONTHLY_VOLUME": f"parquet://{folder.as_posix()}?partition=month",
    }


def sinks_of(settings: Mapping[str, str]) -> dict[str, str]:
    """The same lines, for a process that connects by itself."""
    names = ("hot_balance", "movement", "payment", "branch", "monthly_volume")
    return {name: settings[f"REFOLD_SINK_{name.upper()}"] for name in names}


@contextmanager
def step(what: str) -> Iterator[Status]:
    """Says what is being done, because it takes a while: in a terminal with a sign of life, elsewhere in a line."""
    if not console.is_terminal:
        console.print(f"{what} …")
    with console.status(what) as status:
        yield status


@contextmanager
def worker(settings: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A worker process, ended in order. What it has to complain of is shown between what is said here."""
    process = subprocess.Popen(  # noqa: S603  # our own program
        [REFOLD, "worker"], cwd=ROOT, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    repeating = Thread(target=repeat, args=[process.stderr], daemon=True)
    repeating.start()
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        repeating.join()


def repeat(lines: IO[str]) -> None:
    """Says what another process says."""
    for line in lines:
        console.print(line.rstrip(), style="dim", markup=False)


async def make_up(bank: Context, accounts: int = 30, days: int = 60) -> None:
    """A small ledger of chance, the same each time."""
    chance = random.Random(42)  # noqa: S311  # a demonstration
    names = [f"{number}" for number in range(1, accounts + 1)]
    await asyncio.gather(
        *(
            bank.append(
                f"account-{name}",
                [AccountOpened(owner=f"owner {name}", district=f"district {int(name) % 5 + 1}")],
                expected=0,
                occurred_at=moment(FIRST_DAY),
            )
            for name in names
        )
    )
    for number in range(days):
        day = FIRST_DAY + timedelta(days=6 * number)
        await asyncio.gather(*(_day(bank, name, names, chance, day) for name in names))


async def _day(bank: Context, name: str, names: list[str], chance: random.Random, day: date) -> None:
    amount = Decimal(chance.randrange(100, 100_000)) / 100
    event = chance.choice(
        [
            MoneyDeposited(amount=3 * amount),  # of three ways for money to move, this one alone brings some
            MoneyWithdrawn(amount=amount, by="card"),
            TransferSent(amount=amount, to_account=chance.choice(names), bank="AB", purpose="household"),
        ]
    )
    await bank.append(f"account-{name}", [event], occurred_at=moment(day))


async def fill(bank: Context, ledger: Path | None) -> None:
    """The real ledger, or one that is made up."""
    began = time.monotonic()
    if ledger is None:
        await make_up(bank)
    else:
        importing = "importing the ledger"
        with step(importing) as status:
            await import_ledger(
                bank, ledger, progress=lambda done, total: status.update(f"{importing}: {done:,} of {total:,} events")
            )
    head = (await bank.store.head()).position
    console.print(f"{head:,} events in the log ({time.monotonic() - began:.1f} s)")


async def catch_up(bank: Context) -> None:
    """Waits until every view has seen what is in the log now."""
    head, began = (await bank.store.head()).position, time.monotonic()
    with step("waiting for all views"):
        for model in app.read_models:
            await bank.count(model, after=head, timeout=SECONDS)
    console.print(f"all {len(app.read_models)} views have seen position {head:,} ({time.monotonic() - began:.1f} s)")


async def go_on(bank: Context, stopping: asyncio.Event) -> int:
    """The bank's daily work, while other things happen."""
    count = 0
    while not stopping.is_set():
        await bank.append(TILL, [MoneyDeposited(amount=Decimal(1))])
        count += 1
        await asyncio.sleep(0.002)
    return count


async def rebuild_under_load(bank: Context) -> None:
    """A view in Redis is folded anew while the bank goes on."""
    stopping = asyncio.Event()
    working = asyncio.create_task(go_on(bank, stopping))
    began = time.monotonic()
    with step("rebuilding hot_balance, while the bank goes on"):
        await bank.rebuild(HotBalance)
    took = time.monotonic() - began
    stopping.set()
    console.print(f"hot_balance rebuilt in {took:.1f} s, while {await working:,} deposits were made")


async def ask_the_graph(url: str) -> tuple[str, str]:
    """What only a graph answers, in plain Cypher: who is paid by most, and how two accounts hang together."""
    place = urlsplit(url)
    login = (place.username or "", place.password or "")
    async with AsyncGraphDatabase.driver(f"bolt://{place.hostname}:{place.port}", auth=login) as driver:
        named, _, _ = await driver.execute_query("MATCH (t:RefoldTable {name: 'payment'}) RETURN t.stored_as AS type")
        kind = named[0]["type"]
        hubs, _, _ = await driver.execute_query(HUB.format(kind=kind))
        ends, _, _ = await driver.execute_query(ENDS.format(kind=kind))
        paths, _, _ = await driver.execute_query(PATH.format(kind=kind), ends[0].data())
    hub = f"{hubs[0]['id']}: {hubs[0]['payers']} payers, {hubs[0]['amount']:,.2f}"
    return hub, " - ".join(paths[0]["ids"]) if paths else f"none from {ends[0]['first']} to {ends[0]['last']}"


async def show(bank: Context, folder: Path, graph: str, chart: Path) -> None:
    """What each view answers, and a picture of what moved."""
    table = Table("view", "lives in", "asked", "answer")
    for richest in await bank.find(AccountSummary, order_by="-balance", limit=1):
        table.add_row(
            "account_summary", "Postgres", "the largest balance", f"{richest.account_id}: {richest.balance:,}"
        )
        hot = await bank.get(HotBalance, richest.account_id)
        asked = f"account {richest.account_id}"
        table.add_row("hot_balance", "Redis", asked, "none" if hot is None else f"{hot.balance:,}")
        its_days = field("account_id") == richest.account_id
        for last in await bank.find(DailyBalance, its_days, order_by="-day", limit=1):
            table.add_row("daily_balance", "Postgres", "what its last day changed", f"{last.day}: {last.change:+,}")
    for found in await bank.search(Movement, "household transfer", limit=1):
        table.add_row("movement", "OpenSearch", "household transfer", f"{found.day} {found.amount:,} {found.text}")
    for paid in await bank.find(Payment, field("times") > 1, order_by=("-amount", "payer"), limit=1):
        answer = f"{paid.payer} to {paid.payee}: {paid.amount:,} in {paid.times} payments"
        table.add_row("payment", "Neo4j", "who pays whom most", answer)
    hub, path = await ask_the_graph(graph)
    table.add_row("", "", "paid by most, by Cypher", hub)
    table.add_row("", "", "from the first payer to the last", path)
    volumes = await asyncio.to_thread(volumes_in, folder)
    for view, by in (("monthly_volume", "month"), ("branch", "district")):
        largest = list(totals(volumes, by).items())[:3]
        answer = "\n".join(f"{name}: {amount:,}" for name, amount in largest)
        table.add_row(view, "Parquet", f"the largest {by}s, by DuckDB", answer)
    console.print(table, soft_wrap=False)
    with step("drawing what moved"):
        await asyncio.to_thread(draw, [each for each in volumes if each.district != NOT_RECORDED], chart)
    console.print(f"what moved, by month, district and kind, is drawn in {chart}")


async def play(settings: dict[str, str], ledger: Path | None, folder: Path, chart: Path) -> None:
    """The whole story."""
    console.print("the bank opens, with two workers; a view whose store still wakes up says so, and goes on by itself")
    async with app.connect(settings["REFOLD_URL"], projections=False, sinks=sinks_of(settings)) as bank:
        with worker(settings) as first, worker(settings):
            await fill(bank, ledger)
            await catch_up(bank)
            first.send_signal(signal.SIGKILL)
            console.print("one of two workers was killed")
            await bank.append(TILL, [MoneyDeposited(amount=Decimal(5))])
            await catch_up(bank)
            await rebuild_under_load(bank)
            await catch_up(bank)
            await show(bank, folder, settings["REFOLD_SINK_PAYMENT"], chart)


def verify(settings: Mapping[str, str]) -> int:
    """Whether the log, and every row of every view in every store, are right."""
    console.print("the workers have ended; `refold verify` compares every row of every view with the log\n")
    return subprocess.run([REFOLD, "verify"], cwd=ROOT, env=settings, check=False).returncode  # noqa: S603


def main() -> int:
    """Starts the servers, plays, verifies, and stops the servers."""
    parser = argparse.ArgumentParser(prog="python -m examples.bank.demo_full", description=__doc__)
    parser.add_argument("ledger", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--chart", type=Path, default=CHART, metavar="FILE")
    given = parser.parse_args()
    try:
        with ExitStack() as servers:
            folder = Path(servers.enter_context(TemporaryDirectory(prefix="refold-bank-")))
            began = time.monotonic()
            with step("starting Postgres, Redis, OpenSearch and Neo4j"):
                postgres = servers.enter_context(PostgresServer.create("postgres18"))
                redis = servers.enter_context(RedisServer.create())
                search = servers.enter_context(OpenSearchServer.create())
                graph = servers.enter_context(Neo4jServer.create())
            console.print(f"Postgres, Redis, OpenSearch and Neo4j run ({time.monotonic() - began:.1f} s)")
            database = postgres.create_database("bank")
            settings = environment(database, redis.url("bank"), search.url("bank"), graph.url(), folder)
            asyncio.run(play(settings, given.ledger, folder, given.chart))
            return verify(settings)
    except Unavailable as missing:
        console.print(f"[red]error:[/red] {missing}; run `make servers`")
    except RefoldError as problem:
        console.print(f"[red]error:[/red] {problem}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
