"""Processes that keep read models current share them evenly, whoever comes and goes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from refold.app import App, Context
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.projections.roster import MemoryRoster, Shift, Worker, shared_out
from refold.store.event_store import EventStore
from tests.projections.stores import Added, place, until
from tests.projections.test_processes import worker

LEASE = 0.5


def _model(number: int) -> type[ReadModel]:
    class Numbered(ReadModel, key="item", name=f"model_{number}"):
        item: str
        count: int = 0

        @evolve
        def added(self, event: Added) -> None:
            self.count += event.count

    return Numbered


MODELS = [_model(number) for number in range(6)]
app = App("many", read_models=MODELS)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str | EventStore:
    return place(request.param, request, tmp_path)


async def _counts(context: Context) -> list[int]:
    owners = Counter(each.owner for each in await context.projections.checkpoints())
    return sorted(owners.values())


async def _shared(context: Context, *wanted: int) -> None:
    async def so() -> bool:
        checkpoints = await context.projections.checkpoints()
        return all(each.owner for each in checkpoints) and await _counts(context) == sorted(wanted)

    await until(so, f"the read models to be shared as {wanted}", 20)


async def _appended(context: Context) -> None:
    """Every event counts one, so that the position is what a row must have counted at least."""
    last = (await context.append("stock-a", [Added(count=1)])).last
    for model in MODELS:
        row: Any = await context.get(model, "a", after=last, timeout=20)
        head = (await context.store.head()).position
        assert last <= row.count <= head


async def test_one_two_three_and_back(shared: Any) -> None:
    """Each has its share within seconds; no read notices."""
    async with app.connect(shared, lease=LEASE) as first:
        await _appended(first)
        await _shared(first, 6)
        async with app.connect(shared, lease=LEASE) as second:
            await _shared(first, 3, 3)
            await _appended(first)
            await _appended(second)
            async with app.connect(shared, lease=LEASE) as third:
                await _shared(first, 2, 2, 2)
                await _appended(third)
            await _shared(first, 3, 3)
            await _appended(second)
        await _shared(first, 6)
        await _appended(first)


async def test_appends_while_they_come_and_go(shared: Any) -> None:
    """What is handed over loses nothing and doubles nothing."""
    done = False
    async with app.connect(shared, lease=LEASE) as first:

        async def append() -> None:
            while not done:
                await _appended(first)

        appending = asyncio.create_task(append())
        for _ in range(3):
            async with app.connect(shared, lease=LEASE) as other:
                await _shared(first, 3, 3)
                await _appended(other)
            await _shared(first, 6)
        done = True
        await appending


async def test_one_without_projections_has_no_share(shared: Any) -> None:
    async with app.connect(shared, lease=LEASE) as first, app.connect(shared, lease=LEASE, projections=False) as idle:
        await _appended(idle)
        await _shared(first, 6)


async def test_a_process_with_other_read_models(shared: Any) -> None:
    """It gets none that it does not have."""
    fewer = App("fewer", read_models=MODELS[:2])
    async with app.connect(shared, lease=LEASE) as all_of_them, fewer.connect(shared, lease=LEASE) as two:
        await _appended(all_of_them)
        owners = {each.name: each.owner for each in await all_of_them.projections.checkpoints()}
        assert {owners[f"model_{number}"] for number in range(2, 6)} == {all_of_them.projections.owner}

        async def one_each() -> bool:
            now = {each.name: each.owner for each in await two.projections.checkpoints()}
            return {now["model_0"], now["model_1"]} == {all_of_them.projections.owner, two.projections.owner}

        await until(one_each, "the two that both have to be shared")


@pytest.mark.postgres
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_dies_or_stands_still(
    how: signal.Signals, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The others have its share when its lease is over; one that wakes up again gets it back."""
    from tests.projections.stores import assert_equals_fold, shop

    url: Any = place("postgres", request, tmp_path)
    async with shop.connect(url, lease=0.6) as first:
        with worker(url) as process:

            async def both() -> bool:
                owners = {each.owner for each in await first.projections.checkpoints()}
                return len(owners) == 2 and first.projections.owner in owners

            await until(both, "both to have one")
            os.kill(process.pid, how)

            async def mine() -> bool:
                return {each.owner for each in await first.projections.checkpoints()} == {first.projections.owner}

            await until(mine, "the living one to have both")
            await first.append("stock-a", [Added(count=1)])
            await assert_equals_fold(first)
            if how == signal.SIGSTOP:
                os.kill(process.pid, signal.SIGCONT)
                await until(both, "the one that woke up to have one again")
                await first.append("stock-a", [Added(count=1)])
                await assert_equals_fold(first)


def test_shared_out_evenly() -> None:
    """As evenly as the numbers allow, the same everywhere, among those that have the definition."""
    names = {f"model_{number}": "x" for number in range(7)}
    workers = [Worker(owner=owner, serves=names) for owner in "abc"]
    shares = Counter(shared_out(workers, name, "x") for name in names)
    assert sorted(shares.values()) == [2, 2, 3]
    assert [shared_out(workers[::-1], name, "x") for name in names] == [
        shared_out(workers, name, "x") for name in names
    ]
    assert shared_out(workers, "model_0", "another release") == ""
    assert shared_out([], "model_0", "x") == ""
    newer = Worker(owner="d", serves=dict.fromkeys(names, "y"))
    assert {shared_out([*workers, newer], name, "y") for name in names} == {"d"}


async def test_without_news_it_is_nobody_elses_turn() -> None:
    """A process that hears nothing from the store goes on with what it has: leases decide."""
    roster = MemoryRoster()
    await roster.tell(Worker(owner="a", serves={"model": "x"}), 60)
    shift = Shift(roster, Worker(owner="b", serves={"model": "x"}), 60)
    await shift.begin()
    assert shift.is_anothers("model")
    await shift.end()
    alone = Shift(None, Worker(owner="b", serves={"model": "x"}), 60)
    await alone.begin()
    assert not alone.is_anothers("model")
    await alone.end()
