"""What the tests of read models that live elsewhere share: the shop with its stock there, and what must hold of every
row store.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from refold.app import App, Context
from refold.app.stores import open_row_store
from refold.errors import InvalidQuery, RefoldError, StaleRead
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.operations.status import status_of
from refold.projections.checkpoint import Move
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Query, previous
from tests.faults.points import points_of
from tests.projections.stores import Added, Gone, Moved, Noise, Stock, assert_equals_fold, shop, until

ROOT = Path(__file__).parents[2]
LEASE = 0.6
STOCK = read_model_of(Stock)
ELSEWHERE = {
    "projection.checkpoint_moved",
    "projection.rows_written",
    "projection.before_write",
    "rebuild.switching",
}
"""Fault points that rows in a store of another kind do not pass."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RowStore]:
    """The row store of a URL; it is not connected to yet."""
    rows = await open_row_store(url, "stock")
    try:
        yield rows
    finally:
        await rows.close()


@asynccontextmanager
async def connected(folder: Path, url: str, *, projections: bool = True) -> AsyncIterator[Context]:
    """The shop, whose stock lives there."""
    log = f"sqlite:///{folder}/log.db"
    async with shop.connect(log, sinks={"stock": url}, lease=LEASE, projections=projections) as context:
        yield context


async def fill(context: Context, number: int = 30) -> int:
    """Appends events that add, change and delete rows; gives the last position."""
    last = 0
    for item in range(number):
        await context.append(f"stock-{item % 7}", [Added(count=item), Moved(other=f"{item % 5}", count=1)])
        last = (await context.append(f"stock-{item % 3}", [Gone() if item % 4 == 3 else Noise()])).last
    return last


async def made(rows: RowStore, table: str = "stock", epoch: int = 1) -> None:
    """An empty table of stock, owned in that epoch."""
    await rows.create(STOCK, table, {table: Standing(fingerprint=STOCK.fingerprint, epoch=epoch)})


async def reads(context: Context) -> bool:
    """Whether a read is answered."""
    try:
        await context.find(Stock)
    except RefoldError:
        return False
    return True


async def error_of(context: Context, name: str = "stock", app: App = shop) -> str:
    """What the status says is wrong."""
    now = await status_of(context.store, context.projections.sink, app)
    return next(each.error for each in now.projections if each.name == name)


def points(*own: str, but: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """The points at which a process with such a store may die; `own` are the beginnings of the store's own."""
    found = points_of("projection.", "rebuild.", "external.", *own)
    return [point for point in found if point not in ELSEWHERE | but]


async def assert_survives(point: str, folder: Path, url: str) -> None:
    """A worker is killed at a point; whoever comes next goes on: nothing is lost, doubled or half written."""
    async with connected(folder, url, projections=False) as context:
        await fill(context, 12)
    command = [sys.executable, "-m", "tests.sinks.worker", f"sqlite:///{folder}/log.db", url, str(LEASE), point]
    assert await asyncio.to_thread(_exit_code, command) == -signal.SIGKILL
    async with connected(folder, url) as context:
        await assert_equals_fold(context)
        await fill(context, 12)
        await context.rebuild(Stock)
        await assert_equals_fold(context)


def _exit_code(command: list[str]) -> int:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            return process.wait(60)
        finally:
            process.kill()


async def assert_readers_never_see_old_rows(rows: RowStore, pages: int) -> None:
    """While pages are written, and two tables take each other's place: no row is older, or newer, than the standing."""
    for table in ("stock", previous("stock")):
        await made(rows, table)
    done = False

    async def write() -> None:
        nonlocal done
        try:
            for position in range(1, pages):
                for table in ("stock", previous("stock")):
                    page = [Stock(item=item, count=position) for item in "abc"]
                    assert await rows.write(STOCK, table, page, [], Move(position - 1, position, "x", 1))
                assert await rows.exchange("stock", previous("stock"))
        finally:
            done = True

    async def read() -> None:
        while not done:
            stands, loaded, found = await rows.read(STOCK, "stock", [("a",)], Query(None))
            assert stands is not None
            seen = [*loaded.rows.values(), *found]
            assert {each.count for each in seen} <= {stands.position}  # type: ignore[attr-defined]
            stands, loaded, _ = await rows.read(STOCK, "stock", [("a",), ("b",)], None)
            assert stands is not None
            assert {each.count for each in loaded.rows.values()} <= {stands.position}  # type: ignore[attr-defined]

    await asyncio.gather(write(), read(), read())


class Long(ReadModel, key="item"):
    """A row as large as one likes."""

    item: str
    text: str = ""

    @evolve
    def added(self, event: Added) -> None:
        self.text = "x" * event.count


async def assert_too_large_is_named(folder: Path, url: str, said: str) -> None:
    """A row that the store cannot keep: the projection stops at its event, and nothing is lost."""
    app = App("long", read_models=[Long])
    async with app.connect(f"sqlite:///{folder}/log.db", sinks={"long": url}, lease=LEASE) as context:
        last = await context.append("stock-a", [Added(count=1_000)])
        assert await context.get(Long, "a", after=last, timeout=20) == Long(item="a", text="x" * 1_000)
        last = await context.append("stock-b", [Added(count=70 * 2**20)])

        async def stopped() -> bool:
            # Its error is seen from the first attempt on; a read says it only when there will be no other.
            (now,) = (await status_of(context.store, context.projections.sink, app)).projections
            return now.state == "stopped" and said in now.error

        await until(stopped, "it to stop", 60)
        with pytest.raises(StaleRead, match=r"the row \('b',\) of Long has"):
            await context.get(Long, "b", after=last, timeout=1)
        with pytest.raises(InvalidQuery, match="keep less in one row"):
            await context.rebuild(Long)
        assert await context.get(Long, "a") == Long(item="a", text="x" * 1_000)
