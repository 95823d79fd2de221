"""Parked rows of read models outside of the log's database: what is kept, and what is written, are two steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from refold import faults
from refold.app import Context
from refold.errors import StoreUnavailable
from tests.projections.memory_rows import MemoryRows
from tests.projections.stores import until
from tests.projections.test_parking import BAD, Box, Put, boxes


@pytest.fixture(params=[False, True], ids=["in one step", "rows before checkpoint"])
def rows(request: pytest.FixtureRequest) -> MemoryRows:
    return MemoryRows(versioned=request.param)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("refold.projections.projection._FIRST_PAUSE", 0.002)
    BAD.clear()
    yield
    BAD.clear()
    faults.install(None)


@asynccontextmanager
async def _connected(url: str, rows: MemoryRows) -> AsyncIterator[Context]:
    async with boxes.connect(url, sinks={"box": rows}, lease=0.6) as context:
        yield context


async def _things(context: Context, key: str) -> list[str]:
    row = await context.get(Box, key)
    return [] if row is None else row.things


async def _parked(context: Context) -> Any:
    return await context.projections.parked(Box)


async def _fill(context: Context) -> int:
    await context.append("box-a", [Put(what="1"), Put(what="bad"), Put(what="2")])
    return (await context.append("box-b", [Put(what="3")])).last


@pytest.mark.parametrize("kind", ["retry", "release", "skip"])
async def test_a_row_waits_and_goes_on(url: str, rows: MemoryRows, kind: str) -> None:
    BAD.add("bad")
    async with _connected(url, rows) as context:
        row = await context.get(Box, "b", after=await _fill(context), timeout=20)
        assert row is not None
        assert await _things(context, "a") == ["1"]
        ((parked),) = await _parked(context)
        assert parked.position == 2
        if kind != "skip":
            BAD.clear()
        ask = getattr(context.projections, kind)
        assert (await ask(Box, "a", actor="ann", reason="it was wrong")).details["done"]
        wanted = ["1", "2"] if kind == "skip" else ["1", "bad", "2"]
        assert await _things(context, "a") == wanted
        row = await context.get(Box, "a", after=await context.append("box-a", [Put(what="4")]), timeout=20)
        assert row is not None
        assert row.things == [*wanted, "4"]


class _Cut:
    """Cuts the store of the rows off, once, at a point."""

    def __init__(self, point: str) -> None:
        self._point = point
        self.done = False

    def __call__(self, passed: str) -> None:
        if passed == self._point and not self.done:
            self.done = True
            raise StoreUnavailable("cut off")


@pytest.mark.parametrize("point", ["external.rows_written", "external.rows_before_checkpoint", "parking.changed"])
@pytest.mark.parametrize("kind", ["retry", "release", "skip"])
async def test_cut_off_between_the_two_steps(url: str, rows: MemoryRows, kind: str, point: str) -> None:
    """It is done again, and the row holds each event once all the same."""
    if point == "external.rows_before_checkpoint" and not rows._versioned:
        pytest.skip("its rows and its checkpoint are one step")
    BAD.add("bad")
    async with _connected(url, rows) as context:
        last = await _fill(context)
        parking = _Cut(point)
        faults.install(parking)
        row = await context.get(Box, "b", after=last, timeout=20)
        assert row is not None
        assert row.things == ["3"]
        await until(lambda: _parked(context), "it to be parked")
        assert await _things(context, "a") == ["1"]
        if kind != "skip":
            BAD.clear()
        asking = _Cut("parking.request_folded")
        faults.install(asking)
        ask = getattr(context.projections, kind)
        assert (await ask(Box, "a", actor="ann", reason="it was wrong")).details["done"]
        assert parking.done
        assert asking.done
        wanted = ["1", "2"] if kind == "skip" else ["1", "bad", "2"]
        assert await _things(context, "a") == wanted


@pytest.mark.parametrize("kind", ["retry", "release", "skip"])
async def test_cut_off_after_the_row_was_written_and_before_it_is_let_go(url: str, rows: MemoryRows, kind: str) -> None:
    BAD.add("bad")
    async with _connected(url, rows) as context:
        await context.get(Box, "b", after=await _fill(context), timeout=20)
        if kind != "skip":
            BAD.clear()
        records = context.projections.sink.records
        cuts: list[list[str]] = []
        apply = records.apply

        async def cut(changes: Any) -> bool:
            if any(type(change).__name__ == "Unpark" for change in changes) and not cuts:
                cuts.append(await _things(context, "a"))
                raise StoreUnavailable("cut off")
            return bool(await apply(changes))

        records.apply = cut  # type: ignore[method-assign]
        ask = getattr(context.projections, kind)
        assert (await ask(Box, "a", actor="ann", reason="it was wrong")).details["done"]
        wanted = ["1", "2"] if kind == "skip" else ["1", "bad", "2"]
        assert cuts == [wanted]
        assert await _things(context, "a") == wanted
