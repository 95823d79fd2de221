"""Verifying while others work: nothing that moves is taken for wrong, and what is wrong is found all the same."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from refold import App, ReadModel, evolve, faults
from refold.app import Context
from refold.app.stores import open_store, sink_of
from refold.errors import StoreUnavailable
from refold.operations.status import status_of
from refold.operations.verify import Check, Report, Sample, verify
from refold.operations.verify.manner import Pace
from refold.operations.worker import catch_up
from refold.projections.checkpoint import STOPPED
from refold.projections.row_pages import row_pages
from refold.projections.sink import building
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits
from refold.testing.memory import MemoryStore
from tests.domain import AccountSummary, bank
from tests.operations.tampering import PostgresTamperer, SqliteTamperer, Tamperer
from tests.projections.memory_rows import MemoryRows
from tests.projections.stores import Added, Moved, Stock, shop, until
from tests.servers import PostgresServer

ROOT = Path(__file__).parents[2]


def named(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def wrong(report: Report) -> dict[str, list[str]]:
    return {
        check.name: [f"{finding.where}: {finding.problem}" for finding in check.findings]
        for check in report.checks
        if not check.ok
    }


# --- real processes -------------------------------------------------------------------------------------------------


@contextmanager
def busy(url: str) -> Iterator[subprocess.Popen[str]]:
    """An application that works in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.operations.busy", url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/bank.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres18")
    name = f"beside_{uuid4().hex}"
    yield server.create_database(name)
    server.drop_database(name)


def tamperer_of(url: str) -> Tamperer:
    return SqliteTamperer(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else PostgresTamperer(url)


async def verified(url: str, *, sample: Sample | None = None) -> Report:
    store = await open_store(url, limits=Limits(), listen_url=None, read_only=True)
    try:
        async with sink_of(store) as sink:
            return await verify(store, sink, bank, sample=sample, online=True)
    finally:
        await store.close()


async def begun(url: str) -> None:
    """Until those who work have rows that can be verified."""
    async with bank.connect(url, read_only=True) as context:
        await until(lambda: context.count(AccountSummary), "the first rows", 60)


async def grown(url: str, beyond: int) -> None:
    """Until those who work, who may get no turn for a moment, have appended more."""
    async with bank.connect(url, read_only=True) as context:

        async def head() -> bool:
            return (await context.store.head()).position > beyond

        await until(head, f"more than {beyond} events", 60)


@pytest.mark.slow
async def test_beside_processes_that_append_and_project(url: str) -> None:
    """Ten times over, whole and in samples, while one process (on Postgres: two) appends and projects all the time."""
    with busy(url) as first, busy(url if url.startswith("postgres") else f"{url}.other") as second:
        await begun(url)
        reports: list[Report] = []
        for number in range(10):
            reports.append(await verified(url, sample=Sample(30, number) if number % 2 else None))
            await grown(url, beyond=reports[-1].head)
        assert [wrong(report) for report in reports] == [{}] * 10
        heads = [report.head for report in reports]
        assert all(earlier < later for earlier, later in itertools.pairwise(heads)), heads
        for report in reports[::2]:
            summary = named(report, "read model account_summary")
            assert summary.skipped is None
            assert summary.looked_at > 0
            assert summary.uncompared == 0
            assert (summary.first_position or 0) >= 1
        for process in (first, second):
            out, _ = await asyncio.to_thread(process.communicate, timeout=60)
            commands, longest = out.split()
            assert int(commands) > 10
            assert float(longest) < 5, "a command waited for the verification"


@pytest.mark.slow
async def test_a_wrong_row_is_found_beside_processes_too(url: str) -> None:
    with busy(url) as process:
        await begun(url)
        report = await verified(url)
        assert report.ok
        await asyncio.to_thread(process.communicate, timeout=60)
    tamperer_of(url).run("update account_summary set movements = movements + 1000 where account_id = '7'")
    tamperer_of(url).run("insert into account_summary values ('nobody', 'x', '1', 1)")
    with busy(url):
        found = wrong(await verified(url))
    assert set(found) == {"read model account_summary"}
    assert "row account_id=nobody: the fold does not have it" in found["read model account_summary"]


# --- stores without transactions --------------------------------------------------------------------------------------


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[Context, MemoryRows]]:
    """A shop whose rows are in a store without transactions."""
    rows = MemoryRows(versioned=True)
    async with shop.connect(MemoryStore(), sinks={"stock": rows, "total": rows}) as context:
        await fill(context)
        assert await catch_up(context) == []
        yield context, rows


async def fill(context: Context, number: int = 40) -> None:
    for item in range(number):
        await context.append(f"stock-{item % 7}", [Added(count=item), Moved(other=f"{item % 5}", count=1)])


async def checked(context: Context, *, sample: Sample | None = None) -> Report:
    return await verify(context.store, context.projections.sink, context.app, sample=sample)


async def test_rows_elsewhere_are_compared(elsewhere: tuple[Context, MemoryRows]) -> None:
    context, rows = elsewhere
    report = await checked(context)
    assert report.ok, wrong(report)
    assert named(report, "read model stock").looked_at == len(rows.tables["stock"])
    key, (row, seen) = next(iter(rows.tables["stock"].items()))
    assert isinstance(row, Stock)
    rows.tables["stock"][key] = (msgspec.structs.replace(row, count=-1), seen)
    assert wrong(await checked(context)) == {
        "read model stock": [f"row item={key[0]}: count is -1, the fold says {row.count}"]
    }


async def test_rows_ahead_that_never_stand_still_are_counted(
    elsewhere: tuple[Context, MemoryRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page was written, and its checkpoint was not: the rows are neither right nor wrong there."""
    monkeypatch.setattr("refold.operations.verify.comparison._LOOKS", 2)
    context, rows = elsewhere

    def tear(point: str) -> None:
        if point == "external.rows_before_checkpoint":
            raise StoreUnavailable("torn")

    faults.install(tear)
    try:
        await context.append("stock-1", [Moved(other="new", count=1)])
        deadline = asyncio.get_running_loop().time() + 20
        while ("new",) not in rows.tables["stock"]:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        report = await checked(context)
        assert report.ok, wrong(report)
        stock = named(report, "read model stock")
        assert stock.uncompared == 2
        assert stock.looked_at == len(rows.tables["stock"]) - 2
        # By their streams each is folded as far as it is.
        sampled = await checked(context, sample=Sample(100, 1))
        assert sampled.ok, wrong(sampled)
    finally:
        faults.install(None)
    assert await catch_up(context) == []
    report = await checked(context)
    assert (report.ok, named(report, "read model stock").uncompared) == (True, 0)


async def test_rows_elsewhere_that_move_meanwhile_are_sound(
    elsewhere: tuple[Context, MemoryRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.operations.verify.manner._ROWS", 2)
    context, _ = elsewhere
    ended = asyncio.Event()

    async def keep_filling() -> int:
        number = 0
        while not ended.is_set():
            await fill(context, 5)
            number += 1
        return number

    filling = asyncio.create_task(keep_filling())
    reports = [await checked(context) for _ in range(5)]
    ended.set()
    assert await filling > 1
    assert [wrong(report) for report in reports] == [{}] * 5


async def test_rows_that_are_elsewhere_are_not_taken_for_missing(elsewhere: tuple[Context, MemoryRows]) -> None:
    context, _ = elsewhere
    async with sink_of(context.store) as sink:
        report = await verify(context.store, sink, shop)
    assert report.ok
    assert "its rows are in memory, and this command does not look there" in str(
        named(report, "read model stock").skipped
    )


async def test_status_says_where_rows_are_that_are_elsewhere(elsewhere: tuple[Context, MemoryRows]) -> None:
    context, _ = elsewhere
    async with sink_of(context.store) as sink:
        now = await status_of(context.store, sink, shop)
    (stock,) = [each for each in now.projections if each.name == "stock"]
    assert stock.wrong
    assert stock.error == (
        "its rows are in memory, and this command does not look there: mend [sinks] in refold.toml, or run "
        "`refold rebuild stock` to move them"
    )


async def test_rows_that_go_back_are_looked_at_anew(
    elsewhere: tuple[Context, MemoryRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store lost its last moments while it was verified: that is no finding, and it is looked at from then on."""
    context, rows = elsewhere
    tables = {name: dict(table) for name, table in rows.tables.items()}
    standings = dict(rows.standings)
    await fill(context)
    assert await catch_up(context) == []
    for name in ("stock", "total"):
        assert await context.projections.sink.claim(name, "nobody who works", 60, force=True) is not None
    times = 0

    async def lose(pace: Pace) -> None:
        nonlocal times
        times += 1
        if times == 3:
            rows.tables, rows.standings = tables, standings

    monkeypatch.setattr(Pace, "rest", lose)
    monkeypatch.setattr("refold.operations.verify.manner._ROWS", 1)
    report = await checked(context)
    assert times > 3
    assert report.ok, wrong(report)
    assert named(report, "read model stock").last_position == standings["stock"].position


# --- what is looked at ------------------------------------------------------------------------------------------------


async def test_only_what_is_read_is_compared(store: EventStore) -> None:
    """Versions that are built or kept have checkpoints too: they are told of, and not taken for wrong."""
    async with shop.connect(store) as context:
        await fill(context)
        await context.rebuild(Stock)
        sink = context.projections.sink
        assert await sink.begin(context.app.read_models[Stock], "builder", 60) is not None
        assert await catch_up(context) == []
        report = await checked(context)
        assert report.ok, wrong(report)
        assert named(report, "checkpoints").looked_at == 2
        assert named(report, "checkpoints").notes == [
            f"not looked at, because their rows are not read: {building('stock')}, stock__previous"
        ]


class Halved(ReadModel, key="item", on_error="park"):
    item: str
    half: int = 0

    @evolve
    def added(self, event: Added) -> None:
        if event.count % 2:
            raise ValueError("odd")
        self.half += event.count // 2


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("sample", [None, Sample(100, 1)])
async def test_parked_rows_are_compared_as_far_as_they_are(sample: Sample | None, store: EventStore) -> None:
    async with App("halves", read_models=[Halved], events=[Moved]).connect(store) as context:
        for item in ("1", "2", "3"):
            await context.append(f"stock-{item}", [Added(count=4)])
        await context.append("stock-2", [Added(count=3)])
        await context.append("stock-2", [Added(count=2)])
        assert [each for each in await catch_up(context) if each.error != STOPPED] == []
        report = await verify(context.store, context.projections.sink, context.app, sample=sample)
        assert report.ok, wrong(report)
        halved = named(report, "read model halved")
        assert halved.looked_at == 3
        assert halved.notes[0] == "1 row is parked; it is compared as far as it is"


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def many(store: EventStore) -> AsyncIterator[Context]:
    """A bank of 300 accounts, whose read models have seen it all, and stand still."""
    from decimal import Decimal

    from tests.domain import DepositMoney, OpenAccount

    async with bank.connect(store) as context:
        accounts = [str(number) for number in range(300)]
        await context.execute_many([OpenAccount(account_id=each, owner=f"owner {each}") for each in accounts])
        await context.execute_many([DepositMoney(account_id=each, amount=Decimal(1)) for each in accounts])
        assert await catch_up(context) == []
    async with bank.connect(store, projections=False) as context:
        yield context


async def test_a_sample_is_the_same_for_the_same_seed(many: Context) -> None:
    first, again, other = [await checked(many, sample=Sample(20, seed)) for seed in (1, 1, 2)]
    assert first.ok
    assert (first.percent, first.seed) == (20, 1)
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    looked = [named(report, "read model account_summary").looked_at for report in (first, other)]
    assert all(30 <= each <= 90 for each in looked), looked
    assert named(first, "versions").looked_at < 200
    whole = await checked(many, sample=Sample(100, 1))
    assert whole.ok
    assert named(whole, "read model account_summary").looked_at == 300
    assert named(whole, "positions").looked_at == whole.head == 600


@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_samples_find_together_what_is_wrong(many: Context, tamperer: Tamperer) -> None:
    tamperer.run("update account_summary set movements = 7 where account_id in ('3', '30')")
    tamperer.run("delete from account_summary where account_id = '77'")
    tamperer.run("insert into account_summary values ('nobody', 'x', '1', 1)")
    tamperer.run("update deposits_per_day set count = 1")
    hits = 0
    reports: list[Report] = []
    found: set[str] = set()
    for seed in range(12):
        report = await checked(many, sample=Sample(30, seed))
        reports.append(report)
        rows = {finding.where for finding in named(report, "read model account_summary").findings}
        hits += len(rows)
        found |= rows
        found |= {finding.where for finding in named(report, "read model deposits_per_day").findings}
    assert {f"row account_id={key}" for key in ("3", "30", "77", "nobody")} == {
        each for each in found if each.startswith("row account_id")
    }
    assert any(each.startswith("row day=") for each in found)
    skipped = [named(report, "read model deposits_per_day").skipped for report in reports]
    assert 0 < sum(each is None for each in skipped) < 12
    assert 4 <= hits <= 32, "about 14 of 48"


@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_samples_find_a_hole_in_the_log(
    many: Context, tamperer: Tamperer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.operations.verify.log._BLOCK", 20)
    assert (await checked(many, sample=Sample(30, 1))).ok
    tamperer.remove_guards()
    tamperer.run("delete from {events} where position = 333")
    tamperer.run("update {events} set payload = 'x' where position = 41")
    found: dict[str, int] = {}
    for seed in range(12):
        for name in wrong(await verify(many.store, None, bank, sample=Sample(30, seed))):
            found[name] = found.get(name, 0) + 1
    assert set(found) == {"positions", "versions", "payloads"} or set(found) == {"positions", "payloads"}
    assert all(1 <= times < 12 for times in found.values()), found


async def test_pages_are_small_beside_an_application(many: Context) -> None:
    definition = next(each for each in bank.read_models.values() if each.name == "account_summary")
    for online, pages in ((True, [300]), (False, [300])):
        async with aclosing(row_pages(many.projections.sink, definition, Pace(online=online))) as found:
            assert [len(answer.found) async for answer in found] == pages
    assert Pace(online=True).rows < Pace().rows
