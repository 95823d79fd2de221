"""Read models whose rows live elsewhere: kept exact by the position that stands there, whatever is lost or away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from refold import faults
from refold.app import App, Context
from refold.errors import ConfigurationError, ProjectionStopped, StaleRead, StoreUnavailable
from refold.operations.status import status_of
from refold.projections.row_store import Standing
from tests.projections.memory_rows import MemoryRows
from tests.projections.stores import (
    STORES,
    Added,
    Gone,
    Moved,
    Noise,
    Stock,
    Total,
    assert_equals_fold,
    inline_shop,
    place,
    shop,
    until,
)

LEASE = 0.4


@pytest.fixture(params=[False, True], ids=["in one step", "rows before checkpoint"])
def rows(request: pytest.FixtureRequest) -> MemoryRows:
    return MemoryRows(versioned=request.param)


@pytest.fixture(params=STORES)
async def context(request: pytest.FixtureRequest, tmp_path: Path, rows: MemoryRows) -> AsyncIterator[Context]:
    async with connected(place(request.param, request, tmp_path), rows) as found:
        yield found


@asynccontextmanager
async def connected(store: Any, rows: MemoryRows | None, app: App = shop, **options: Any) -> AsyncIterator[Context]:
    sinks = {"stock": rows, "total": rows} if rows is not None else None
    async with app.connect(store, sinks=sinks, lease=LEASE, **options) as context:
        yield context


async def fill(context: Context, number: int = 30) -> int:
    last = 0
    for item in range(number):
        await context.append(f"stock-{item % 7}", [Added(count=item), Moved(other=f"{item % 5}", count=1)])
        last = (await context.append(f"stock-{item % 3}", [Gone() if item % 4 == 3 else Noise()])).last
    return last


async def test_followed_read_and_rebuilt(context: Context) -> None:
    """As in the log's own database: no caller sees a difference."""
    await fill(context)
    await assert_equals_fold(context)
    await context.rebuild(Stock)
    await fill(context)
    await assert_equals_fold(context)
    found = {
        each.name: each.state for each in (await status_of(context.store, context.projections.sink, shop)).projections
    }
    assert found == {"stock": "running", "stock__previous": "previous", "total": "running"}


async def test_emptied_behind_our_back(context: Context, rows: MemoryRows, caplog: pytest.LogCaptureFixture) -> None:
    """Found at the next page, and filled again from the log's beginning."""
    await assert_equals_fold(context, timeout=20)
    await fill(context)
    await assert_equals_fold(context)
    rows.lose("stock")
    await fill(context, 1)
    with pytest.raises(ProjectionStopped, match="no table yet"):
        await context.find(Stock)
    await until(lambda: rows.standing("stock"), "the table to be made anew")
    await assert_equals_fold(context)
    assert "the rows of stock were at position" in caplog.text
    assert "are not in memory any more; they are folded anew" in caplog.text


async def test_the_last_writes_were_lost(context: Context, rows: MemoryRows) -> None:
    """It goes back to where the store stands, and on from there."""
    await fill(context)
    await assert_equals_fold(context)
    tables = {name: dict(table) for name, table in rows.tables.items()}
    standings = dict(rows.standings)
    await fill(context)
    await assert_equals_fold(context)
    rows.tables, rows.standings = tables, standings
    await fill(context, 2)
    await assert_equals_fold(context)


async def test_away_and_back(context: Context, rows: MemoryRows) -> None:
    """Commands and the other read models do not notice; then it goes on by itself."""
    await fill(context)
    await assert_equals_fold(context)
    rows.away = True
    last = await fill(context)
    with pytest.raises((StaleRead, StoreUnavailable)):
        await context.get(Stock, "1", after=last, timeout=0.3)
    found = {each.name: each for each in (await status_of(context.store, context.projections.sink, shop)).projections}
    assert "away" in found["stock"].error
    rows.away = False
    await assert_equals_fold(context)


async def test_away_after_a_rebuild(context: Context, rows: MemoryRows) -> None:
    """Status shows how far the rows were that took the place of others, and those that were put back."""
    first = await fill(context)
    await assert_equals_fold(context)
    await context.projections.stop()
    second = await fill(context)

    async def positions() -> dict[str, int]:
        rows.away = True
        now = await status_of(context.store, context.projections.sink, shop)
        rows.away = False
        return {each.name: each.position for each in now.projections if each.name.startswith("stock")}

    await context.rebuild(Stock)
    assert await positions() == {"stock": second, "stock__previous": first}
    await context.rollback(Stock)
    assert await positions() == {"stock": first, "stock__previous": second}


@pytest.mark.parametrize("name", STORES)
async def test_away_at_the_start(name: str, request: pytest.FixtureRequest, tmp_path: Path, rows: MemoryRows) -> None:
    """The application starts all the same, and appends."""
    rows.away = True
    async with connected(place(name, request, tmp_path), rows) as context:
        await fill(context)
        rows.away = False
        await until(lambda: rows.standing("total"), "the tables to be made")
        await until(lambda: rows.standing("stock"), "the tables to be made")
        await assert_equals_fold(context)


@pytest.mark.slow
async def test_one_that_does_not_answer_holds_up_no_start(tmp_path: Path, rows: MemoryRows) -> None:
    """It neither refuses nor answers, as a process that was stopped: the application starts soon, and appends."""
    silent = asyncio.Event()

    class Silent(MemoryRows):
        async def prepare(self) -> None:
            await silent.wait()

    slow = Silent()
    async with asyncio.timeout(15), connected(f"sqlite:///{tmp_path}/log.db", slow) as context:
        await context.append("stock-a", [Added(count=1)])
        silent.set()
        await until(lambda: slow.standing("stock"), "the tables to be made")
        await until(lambda: slow.standing("total"), "the tables to be made")
        await assert_equals_fold(context)


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_torn_between_rows_and_checkpoint(tmp_path: Path, page: int) -> None:
    """No event is folded into a row twice, and no deleted row comes back, though rows are ahead of the checkpoint."""
    rows = MemoryRows(versioned=True)
    seen = 0

    def tear(point: str) -> None:
        nonlocal seen
        if point == "external.rows_before_checkpoint":
            seen += 1
            if seen % 4 == page:
                raise StoreUnavailable("torn")

    async with connected(f"sqlite:///{tmp_path}/log.db", rows) as context:
        faults.install(tear)
        try:
            for _ in range(10):
                await fill(context, 7)
            await assert_equals_fold(context)
        finally:
            faults.install(None)
    assert seen >= 8


async def test_a_fresh_read_does_not_fold_twice_what_a_torn_page_has_written(tmp_path: Path) -> None:
    """The row knows how far it has seen the log."""
    rows = MemoryRows(versioned=True)
    async with connected(f"sqlite:///{tmp_path}/log.db", rows, projections=False) as context:
        await context.append("stock-1", [Added(count=3)])
        rows.tables["stock"][("1",)] = (Stock(item="1", count=3, last=1), 1)
        assert (await context.get(Stock, "1", fresh=True)) == Stock(item="1", count=3, last=1)
        assert await context.find(Stock, fresh=True) == [Stock(item="1", count=3, last=1)]


@pytest.mark.slow
async def test_two_processes_share_and_take_over(
    tmp_path: Path, rows: MemoryRows, request: pytest.FixtureRequest
) -> None:
    """A second owner fences the first out; what that writes afterwards is not seen."""
    store = place("memory", request, tmp_path)
    async with connected(store, rows) as first:
        await fill(first)
        await assert_equals_fold(first)
        async with connected(store, rows) as second:
            sink = second.projections.sink
            for name in ("stock", "total"):
                assert await sink.claim(name, second.projections.owner, 5, force=True) is not None
            await fill(second)
            await assert_equals_fold(second)
        await fill(first)
        await assert_equals_fold(first)


async def test_a_store_that_remembers_a_higher_epoch(tmp_path: Path, rows: MemoryRows) -> None:
    """After the log's database was restored: the next owner is above it."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with connected(url, rows) as context:
        await fill(context)
        await assert_equals_fold(context)
    for name, stands in list(rows.standings.items()):
        rows.standings[name] = Standing(
            position=stands.position, append_id=stands.append_id, fingerprint=stands.fingerprint, epoch=10**9
        )
    async with connected(url, rows) as context:
        await fill(context)
        await assert_equals_fold(context)


@pytest.mark.parametrize("name", STORES)
async def test_moved_between_stores(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, rows: MemoryRows
) -> None:
    """Nothing is filled half here, half there: it stands, until it is rebuilt in the new place; and back."""
    store = place(name, request, tmp_path)
    async with connected(store, None) as context:
        await fill(context)
        await assert_equals_fold(context)
    for sinks in (rows, None, rows):
        async with connected(store, sinks) as context:
            await fill(context, 3)
            changed = await until(lambda: _states(context), "both to be seen as moved")
            assert changed
            for model in (Stock, Total):
                await context.rebuild(model)
            await fill(context, 3)
            await assert_equals_fold(context)


async def _states(context: Context) -> bool:
    now = await status_of(context.store, context.projections.sink, shop)
    return {each.state for each in now.projections if each.state != "previous"} == {"definition changed"}


async def test_inline_lives_with_the_log(tmp_path: Path, rows: MemoryRows) -> None:
    """Its rows change in the appending transaction, which no other store is part of."""
    with pytest.raises(ConfigurationError, match=r"'inline' is inline, which needs the log's own database"):
        async with inline_shop.connect(f"sqlite:///{tmp_path}/log.db", sinks={"inline": rows}):
            pass


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ({"stok": "redis://127.0.0.1"}, r"app 'shop' has no read model 'stok'; it has: stock, total"),
        (
            {"stock": "mongodb://127.0.0.1"},
            r"no sink is known for a URL that begins with 'mongodb:' \(read model 'stock'",
        ),
        ({"stock": "nothing"}, "no sink is known for a URL that begins with no scheme"),
    ],
)
async def test_a_wrong_line(tmp_path: Path, sinks: dict[str, Any], said: str) -> None:
    """It is refused at once, by name."""
    with pytest.raises(ConfigurationError, match=said):
        async with shop.connect(f"sqlite:///{tmp_path}/log.db", sinks=sinks):
            pass


async def test_a_rebuild_while_the_old_rows_move_on(context: Context) -> None:
    """What is appended meanwhile is in the new rows; whoever waited for a position finds it."""
    await fill(context)
    stopping = asyncio.Event()

    async def write() -> int:
        last = 0
        while not stopping.is_set():
            last = await fill(context, 3)
            assert await context.get(Stock, "1", after=last, timeout=20) == await context.get(Stock, "1", fresh=True)
        return last

    writing = asyncio.create_task(write())
    for _ in range(5):
        await context.rebuild(Stock)
    stopping.set()
    await writing
    await assert_equals_fold(context)


async def test_full_text_search_where_there_is_none(tmp_path: Path, rows: MemoryRows) -> None:
    """It is said where it is to be had."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with connected(url, None) as context:
        with pytest.raises(ConfigurationError, match="lives in the log's database, which has no full-text search"):
            await context.search(Stock, "a")
        for model in (Stock, Total):
            await context.rebuild(model)
    async with connected(f"sqlite:///{tmp_path}/other.db", rows) as context:
        with pytest.raises(ConfigurationError, match="memory has no full-text search"):
            await context.search(Stock, "a")
