"""The ways back: the version before, one row alone, and a rebuild that was killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from refold import faults
from refold.app import Context
from refold.errors import FoldFailed, LogRegression, ProjectionStopped
from refold.folds.read_model import read_model_of
from refold.projections.checkpoint import Move
from refold.projections.conditions import field
from refold.projections.sink import building, previous
from refold.store.event_store import EventStore
from tests.projections.stores import (
    Added,
    Gone,
    Inline,
    Moved,
    Poison,
    Stock,
    Total,
    assert_equals_fold,
    bulk,
    folded,
    inline_shop,
    shop,
)

STOCK = read_model_of(Stock)


async def spoil(context: Context, **counts: int) -> None:
    """Writes wrong rows behind the projection's back."""
    sink = context.projections.sink
    claimed = await sink.claim("stock", "spoiler", 5, force=True)
    assert claimed is not None
    rows = [Stock(item=item, count=count) for item, count in counts.items()]
    move = Move(claimed.position, claimed.position, claimed.append_id, claimed.epoch)
    assert await sink.write(STOCK, "stock", rows, [], move)
    await sink.release("stock", claimed.epoch)


async def test_rolled_back_and_forth(context: Context) -> None:
    """The rows from before the rebuild are read at once, and go on from where they stood."""
    await context.append("stock-a", [Added(count=1)])
    with pytest.raises(ProjectionStopped, match="no previous version"):
        await context.rollback(Stock)
    await assert_equals_fold(context)
    await spoil(context, a=100)
    await context.rebuild(Stock)
    receipt = await context.append("stock-a", [Added(count=1)])
    assert (await context.get(Stock, "a", after=receipt)).count == 2
    await context.rollback(Stock)
    assert await context.count(Stock, field("count") >= 101, after=receipt, timeout=10) == 1
    row = await context.get(Stock, "a", after=receipt, timeout=10)
    assert row is not None
    assert row.count == 101
    await context.rollback(Stock)
    await assert_equals_fold(context)
    assert await context.projections.drop_previous(STOCK)
    assert not await context.projections.drop_previous(STOCK)
    with pytest.raises(ProjectionStopped, match="no previous version"):
        await context.rollback(Stock)


async def test_an_inline_one_rolled_back_while_appends_go_on(where: str | EventStore) -> None:
    """No event falls between."""
    async with inline_shop.connect(where, lease=1.0) as context:
        await context.append("stock-a", [Added(count=1)])
        await context.rebuild(Inline)
        done = False

        async def append() -> None:
            while not done:
                await context.append("stock-a", [Added(count=1)])
                await asyncio.sleep(0)

        async def back() -> None:
            nonlocal done
            try:
                for _ in range(4):
                    await context.rollback(Inline)
            finally:
                done = True

        await asyncio.gather(append(), back())
        await assert_equals_fold(context, Inline)


async def test_one_row(context: Context) -> None:
    """Folded anew in its place; the others stay, wrong as they may be."""
    for item in "abc":
        await context.append(f"stock-{item}", [Added(count=1), Moved(other="b", count=1)])
    await context.append("stock-c", [Gone()])
    await assert_equals_fold(context)
    await spoil(context, a=100, b=100, c=100, x=100)
    rows = await folded(context, Stock, (await context.store.head()).position)
    for item in "abcx":
        assert await context.refold(Stock, item) == rows.get((item,))
        assert await context.get(Stock, item) == rows.get((item,))
    await assert_equals_fold(context)


async def test_one_row_of_a_projection_that_is_behind(idle: Context) -> None:
    """It is folded up to the checkpoint, and no further: what comes later is folded into it by the projection."""
    await idle.append("stock-a", [Added(count=1)])
    await idle.rebuild(Stock)
    await idle.append("stock-a", [Added(count=1)])
    await spoil(idle, a=100)
    assert await idle.refold(Stock, "a") == Stock(item="a", count=1, last=1)
    await idle.projections.start()
    await assert_equals_fold(idle, Stock)


async def test_one_row_while_the_projection_runs(context: Context) -> None:
    """It loses nothing, and doubles nothing."""
    done = False

    async def append() -> None:
        count = 0
        while not done:
            count += 1
            receipt = await context.append("stock-a", [Added(count=1)])
            assert (await context.get(Stock, "a", after=receipt, timeout=20)).count == count

    async def refold() -> None:
        nonlocal done
        try:
            for _ in range(10):
                await context.refold(Stock, "a")
        finally:
            done = True

    await asyncio.gather(append(), refold())
    await assert_equals_fold(context)


async def test_one_row_that_cannot_be_folded(idle: Context) -> None:
    """Then it is as it was."""
    await idle.append("stock-a", [Added(count=1)])
    await idle.rebuild(Total)
    await idle.append("stock-a", [Poison()])
    await _move_blindly(idle)
    with pytest.raises((FoldFailed, ZeroDivisionError)):
        await idle.refold(Total, "all")
    assert await idle.get(Total, "all") == Total(name="all", count=1)


async def _move_blindly(context: Context) -> None:
    """Moves the checkpoint over an event that nobody folded."""
    sink, head = context.projections.sink, await context.store.head()
    claimed = await sink.claim("total", "blind", 5, force=True)
    assert claimed is not None
    page = await context.store.read_log(after=head.position - 1, limit=1)
    move = Move(claimed.position, head.position, page.events[0].append_id.hex(), claimed.epoch)
    assert await sink.write(read_model_of(Total), "total", [], [], move)
    await sink.release("total", claimed.epoch)


async def test_a_row_of_another_log_is_not_refolded(idle: Context) -> None:
    await idle.append("stock-a", [Added(count=1)])
    await idle.rebuild(Stock)
    sink = idle.projections.sink
    claimed = await sink.claim("stock", "me", 5)
    assert claimed is not None
    assert await sink.write(STOCK, "stock", [], [], Move(1, 9, "00" * 16, claimed.epoch))
    await sink.release("stock", claimed.epoch)
    with pytest.raises(LogRegression):
        await idle.refold(Stock, "a")


async def test_a_killed_rebuild_goes_on(idle: Context) -> None:
    """What it had written is kept, and folded on; not what another definition had written."""
    last = await bulk(idle, 12_000, name="Added", payload=b'{"count":1}')
    started: list[int] = []

    def die(point: str) -> None:
        if point == "projection.committed":
            faults.install(None)
            raise KeyboardInterrupt  # not caught by what clears away: as if killed

    faults.install(die)
    with pytest.raises(KeyboardInterrupt):
        await idle.rebuild(Stock)
    faults.install(None)
    left = await idle.projections.sink.checkpoint(building("stock"))
    assert left is not None
    assert left.position > 0
    await idle.projections.sink.renew(building("stock"), left.epoch, 0)
    assert await idle.rebuild(Stock, progress=lambda now: started.append(now.done)) == last
    assert started[0] >= left.position
    await idle.rebuild(Total)
    await assert_equals_fold(idle)
    assert await idle.projections.sink.checkpoint(building("stock")) is None


@pytest.mark.parametrize("resume", [True, False])
async def test_what_another_definition_had_built_is_not_gone_on_with(idle: Context, resume: bool) -> None:
    """Half of one and half of the other would be right for nobody."""
    await bulk(idle, 100, name="Added", payload=b'{"count":1}')
    other = msgspec.structs.replace(STOCK, fingerprint="other")
    sink = idle.projections.sink
    begun = await sink.begin(other if resume else STOCK, "dead", 0)
    assert begun is not None
    page = await idle.store.read_log(after=49, limit=1)
    wrong = [Stock(item="wrong", count=1)]
    move = Move(0, 50, page.events[0].append_id.hex(), begun.epoch)
    assert await sink.write(other if resume else STOCK, building("stock"), wrong, [], move)
    await idle.rebuild(Stock, resume=resume)
    await idle.rebuild(Total)
    await assert_equals_fold(idle)


async def test_a_half_built_one_of_another_log_is_not_gone_on_with(idle: Context) -> None:
    await bulk(idle, 100, name="Added", payload=b'{"count":1}')
    sink = idle.projections.sink
    begun = await sink.begin(STOCK, "dead", 0)
    assert begun is not None
    assert await sink.write(
        STOCK, building("stock"), [Stock(item="wrong", count=1)], [], Move(0, 50, "00" * 16, begun.epoch)
    )
    await idle.rebuild(Stock)
    await idle.rebuild(Total)
    await assert_equals_fold(idle)
    assert await sink.checkpoint(previous("stock")) is not None


@pytest.mark.slow
@pytest.mark.parametrize("point", ["refolding.folded", "refolding.written"])
async def test_killed_while_a_row_is_refolded(point: str, tmp_path: Path) -> None:
    """All or nothing, and the projection goes on."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with shop.connect(url) as context:
        for number in range(5):
            await context.append("stock-a", [Added(count=number)])
        await assert_equals_fold(context)
        await spoil(context, a=100)
    program = (
        "import asyncio, os, signal\n"
        "from refold import faults\n"
        "from tests.projections.stores import Stock, shop\n"
        "async def main():\n"
        f"    async with shop.connect({url!r}, projections=False) as context:\n"
        f"        faults.install(lambda p: os.kill(os.getpid(), signal.SIGKILL) if p == {point!r} else None)\n"
        "        await context.refold(Stock, 'a')\n"
        "asyncio.run(main())\n"
    )
    died = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
    assert died.returncode == -signal.SIGKILL
    async with shop.connect(url) as context:
        row = await context.get(Stock, "a")
        assert row is not None
        assert row.count == (100 if point == "refolding.folded" else 10)
        await context.append("stock-b", [Added(count=1)])
        await context.refold(Stock, "a")
        await assert_equals_fold(context)
