"""Shards: a read model is divided among processes by its rows' keys, and divided anew, exactly."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from refold.app import Context
from refold.errors import DefinitionError, StaleRead
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.operations.status import status_of
from refold.operations.verify import verify
from refold.projections.checkpoint import STOPPED, Checkpoint
from refold.projections.review.changes import RebuildDiff
from refold.projections.shards import Shard, divided, origins, shard_of, shards_of
from tests.faults.points import points_of
from tests.faults.proxy import CuttingProxy
from tests.projections.divided import shop_in
from tests.projections.stores import Added, Gone, Moved, Poison, assert_equals_fold, until
from tests.servers import PostgresServer

ROOT = Path(__file__).parents[2]
LEASE = 0.6
NAMES = [f"item{number}" for number in range(20)]


@pytest.fixture
def database(postgres18: PostgresServer) -> str:
    return postgres18.create_database(f"shards_{uuid4().hex}")


@contextmanager
def worker(url: str, of: int, point: str = "", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps the read model current in so many shards, until it dies."""
    command = [sys.executable, "-m", "tests.projections.divided", url, str(LEASE), str(of), *([point] if point else [])]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        if not point:
            assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
        process.stdin.close()


def _model(context: Context) -> type[ReadModel]:
    return next(iter(context.app.read_models))


async def _fill(context: Context, rounds: int = 1) -> None:
    for number in range(rounds * len(NAMES)):
        name, other = NAMES[number % len(NAMES)], NAMES[(number * 7 + 3) % len(NAMES)]
        await context.append(f"stock-{name}", [Added(count=1), Moved(other=other, count=1)])
    await context.append(f"stock-{NAMES[0]}", [Gone()])


async def _parts(context: Context) -> list[Checkpoint]:
    return await context.projections.sink.shards("stock")


async def _divided(context: Context, of: int, owners: int = 0) -> None:
    async def so() -> bool:
        parts = await _parts(context)
        names = {each.owner for each in parts}
        return len(parts) == of and (not owners or (len(names) == owners and "" not in names))

    await until(so, f"{of} shards{f' of {owners} owners' if owners else ''}", 30)


# --- which row is in which shard ------------------------------------------------------------------------------------


def test_every_row_is_in_one_shard() -> None:
    for of in range(1, 9):
        assert all(sum(shard.has((name,)) for shard in shards_of(of)) == 1 for name in NAMES)
    assert [shard_of(each.checkpoint("stock")) for each in shards_of(3)] == shards_of(3)
    # What is in the store was divided by this: it must never be another.
    assert [Shard(number, 4).has(("42",)) for number in (1, 2, 3, 4)] == [False, False, True, False]


def test_rows_come_from_the_origins_of_their_shard() -> None:
    for before, of, name in product(range(1, 9), range(1, 9), [*NAMES, *map(str, range(100))]):
        old = next(each for each in shards_of(before) if each.has((name,)))
        new = next(each for each in shards_of(of) if each.has((name,)))
        assert old in origins(new, before)


def test_shards_that_come_together_must_have_seen_the_same() -> None:
    parts = [
        Checkpoint(name=f"stock:{number}of4", position=position) for number, position in enumerate((7, 5, 7, 5), 1)
    ]
    together = divided(parts, 2)
    assert together is not None
    assert [each.position for each in together] == [7, 5]
    assert divided(parts, 1) is None
    assert divided(parts, 3) is None
    apart = divided(parts, 8)
    assert apart is not None
    assert [each.position for each in apart] == [7, 5, 7, 5] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shards": 0}, "shards=0 must be a whole number from 1 to 64"),
        ({"shards": True}, "shards=True must be"),
        ({"shards": 2, "inline": True}, "an inline read model has no shards"),
    ],
)
def test_what_cannot_be_divided(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):

        class Wrong(ReadModel, key="item", **options):
            item: str

            @evolve
            def added(self, event: Added) -> None: ...


def test_a_key_that_is_written_in_several_ways() -> None:
    """1.0 and 1.00 are one row, and would be in two shards."""
    with pytest.raises(DefinitionError, match=r"divides the rows by their key, which must be text.*price is .*Decimal"):

        class Wrong(ReadModel, key="price", shards=2):
            price: Decimal

            @evolve
            def added(self, event: Added) -> None: ...


# --- reading ----------------------------------------------------------------------------------------------------------


async def test_one_process_keeps_what_it_has_whole_on_sqlite(tmp_path: Path) -> None:
    async with shop_in(4).connect(f"sqlite:///{tmp_path}/log.db") as context:
        await _fill(context)
        await assert_equals_fold(context)
        assert [each.name for each in await context.projections.checkpoints()] == ["stock"]


@pytest.mark.postgres
async def test_each_way_of_reading(database: str) -> None:
    async with shop_in(4).connect(database, lease=LEASE) as context:
        await _divided(context, 4)
        await _fill(context)
        await assert_equals_fold(context)
        async with shop_in(4).connect(database, projections=False) as idle:
            await _fill(idle)
            await assert_equals_fold(idle)
            last = (await idle.append("stock-item3", [Added(count=5)])).last
            row: Any = await idle.get(_model(idle), "item3", after=last)
            assert row.last == last
            assert await idle.count(_model(idle), after=last) == len(await idle.find(_model(idle)))
        await context.rebuild(_model(context))
        assert len(await _parts(context)) == 4
        await _fill(context)
        await assert_equals_fold(context)
        await context.projections.rollback(context.projections.definitions[0])
        assert len(await _parts(context)) == 4
        await _fill(context)
        await assert_equals_fold(context)
        assert await context.projections.refold(context.projections.definitions[0], ("item3",)) is not None
        await assert_equals_fold(context)
        report = await verify(context.store, context.projections.sink, context.app)
        assert report.ok, report


async def _with_item3(read: Any, definition: Any, keys: Any, query: Any, **more: Any) -> Any:
    return await read(definition, [*keys, ("item3",)], query, **more)


@pytest.mark.postgres
async def test_a_receipt_waits_for_the_shard_of_its_row_alone(database: str) -> None:
    """One shard stops at a poisoned event: rows of the others go on and can be waited for; its own cannot."""
    async with shop_in(4).connect(database, lease=LEASE) as context:
        await _divided(context, 4)
        await _fill(context)
        bad = next(each for each in shards_of(4) if each.has(("item3",)))
        await context.append("stock-item3", [Poison()])

        async def stopped() -> bool:
            return {each.name for each in await _parts(context) if each.status == STOPPED} == {bad.checkpoint("stock")}

        await until(stopped, "one shard to stop", 30)
        after = (await context.append("stock-item3", [Added(count=1)])).last
        well = next(name for name in NAMES[1:] if not bad.has((name,)))
        async with shop_in(4).connect(database, projections=False) as idle:
            for each in (context, idle):
                assert await each.get(_model(each), well, after=after, timeout=10) is not None
                # Read together with a row of the shard that stands still, it is as new as alone.
                sink = each.projections.sink
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(sink, "read", partial(_with_item3, sink.read))
                    assert await each.get(_model(each), well, after=after, timeout=1) is not None
                with pytest.raises(StaleRead):
                    await each.get(_model(each), "item3", after=after, timeout=0.5)
                with pytest.raises(StaleRead):
                    await each.find(_model(each), after=after, timeout=0.5)
                with pytest.raises(StaleRead):
                    await each.count(_model(each), after=after, timeout=0.5)
            now = {
                each.name: each for each in (await status_of(idle.store, idle.projections.sink, idle.app)).projections
            }
            assert now["stock"].state == "stopped"
            assert now[bad.checkpoint("stock")].state == "stopped"
            assert {each.state for name, each in now.items() if name not in ("stock", bad.checkpoint("stock"))} == {
                "running"
            }


@pytest.mark.postgres
async def test_a_parked_row_of_a_shard(database: str) -> None:
    """It is the table's, whatever shard it is in: it is found, dealt with, and stays parked when divided anew."""
    async with shop_in(4, "park").connect(database, lease=LEASE) as context:
        await _divided(context, 4)
        await context.append("stock-item3", [Added(count=1), Poison(), Added(count=1)])
        await _fill(context)
        await until(lambda: context.projections.parked(), "the row to be parked", 30)
    async with shop_in(3, "park").connect(database, lease=LEASE) as context:
        await _divided(context, 3)
        assert [each.name for each in await context.projections.parked()] == ["stock"]
        done = await context.projections.skip(_model(context), "item3", actor="ann", reason="it is poison")
        assert done.details["done"]
        row: Any = await context.get(_model(context), "item3", after=(await context.store.head()).position)
        assert row.last > 1
        assert await context.projections.parked() == []


# --- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_shards_are_shared_and_taken_over(how: signal.Signals, database: str) -> None:
    async with shop_in(4).connect(database, projections=False) as idle:
        with worker(database, 4) as first, worker(database, 4):
            await _divided(idle, 4, 2)
            await _fill(idle)
            await assert_equals_fold(idle)
            os.kill(first.pid, how)
            await _fill(idle)
            await assert_equals_fold(idle)
            await _divided(idle, 4, 1)
            if how == signal.SIGSTOP:
                os.kill(first.pid, signal.SIGCONT)
                await _fill(idle)
                await _divided(idle, 4, 2)
                await _fill(idle)
                await assert_equals_fold(idle)


@pytest.mark.postgres
async def test_another_number_of_shards_under_load(database: str) -> None:
    """Releases with other numbers come while events are appended; an old worker runs on. It stays exact."""
    done = asyncio.Event()
    async with shop_in(2).connect(database, projections=False) as idle:

        async def load() -> None:
            while not done.is_set():
                await _fill(idle)

        loading = asyncio.create_task(load())
        with worker(database, 2):
            await _divided(idle, 2, 1)
            for of in (4, 3, 1, 5):
                with worker(database, of):
                    await _divided(idle, of, min(of, 2))
                    after = (await idle.append("stock-item1", [Added(count=1)])).last
                    assert await idle.get(_model(idle), "item1", after=after, timeout=10) is not None
            done.set()
            await loading
            await assert_equals_fold(idle)
            assert len(await _parts(idle)) == 5


@pytest.mark.postgres
async def test_a_rebuild_is_compared_while_appends_go_on(database: str) -> None:
    """Each shard's rows stand where that shard does: none is told to differ, and one that does is found."""
    async with shop_in(4).connect(database, lease=LEASE) as context:
        done, model = False, _model(context)

        async def load() -> None:
            while not done:
                await _fill(context)

        async def compared() -> list[RebuildDiff]:
            nonlocal done
            try:
                return [await context.compare_rebuild(model) for _ in range(5)]
            finally:
                done = True

        await _fill(context, 20)
        with worker(database, 4):
            await _divided(context, 4, 2)
            # Where a shard has not begun yet, there would be nothing to compare with.
            await context.find(model, after=(await context.store.head()).position, timeout=30)
            diffs, _ = await asyncio.gather(compared(), load())
            assert [(diff.differing, diff.uncompared) for diff in diffs] == [(0, 0)] * 5
            assert diffs[-1].same >= len(NAMES) - 1
            await assert_equals_fold(context)
    async with shop_in(4).connect(database, projections=False) as idle:
        async with idle.transaction() as unit:
            await unit.execute("update stock set count = count + 1 where item = 'item7'")
        assert [row.key for row in (await idle.compare_rebuild(_model(idle))).rows] == [("item7",)]


def _points() -> list[str]:
    return [f"shards.{name}" for name in ("taken_over", "brought_up", "before_commit", "committed")]


def test_every_point_of_dividing_is_tried() -> None:
    assert sorted(_points()) == sorted(points_of("shards."))


@pytest.mark.postgres
@pytest.mark.parametrize("point", _points())
async def test_killed_while_it_is_divided_anew(point: str, database: str) -> None:
    """One shard is behind: it has to be brought up before both come together."""
    async with shop_in(2).connect(database, projections=False) as idle:
        with worker(database, 2):
            await _divided(idle, 2, 1)
            await _fill(idle)
            await assert_equals_fold(idle)
        await _fill(idle)
        async with shop_in(2).connect(database, lease=LEASE) as one:
            await until(lambda: _ahead(one), "one shard to be ahead", 20)
        with worker(database, 3, point) as process:
            assert await asyncio.to_thread(process.wait, 30) == -signal.SIGKILL
        done = point == "shards.committed"
        assert len(await _parts(idle)) == (3 if done else 2)
        await _fill(idle)
        with worker(database, 3):
            await _divided(idle, 3, 1)
            await _fill(idle)
            await assert_equals_fold(idle)


async def _ahead(context: Context) -> bool:
    """Whether the shards are there. Stops one of them where it is, and lets the other go on."""
    here = context.projections.here("stock")
    await here[0].stop()
    after = (await context.append("stock-item1", [Added(count=1)])).last
    await here[1].applied.wait_beyond(after - 1, 5)
    first, second = await _parts(context)
    return first.position < second.position


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
async def test_a_line_that_hangs(database: str) -> None:
    """A worker whose line falls silent is replaced within its lease, and is fenced out when the line comes back."""
    proxy = CuttingProxy(database)
    async with shop_in(4).connect(database, projections=False) as idle:
        with worker(proxy.url, 4):
            await _divided(idle, 4, 1)
            await _fill(idle)
            await assert_equals_fold(idle)
            proxy.halt()
            await _fill(idle)
            with worker(database, 4):
                await assert_equals_fold(idle)
                await _fill(idle)
                proxy.go_on()
                await _fill(idle)
                await assert_equals_fold(idle)
                await _divided(idle, 4, 2)
                await _fill(idle)
                await assert_equals_fold(idle)


async def _two_each(context: Context) -> bool:
    owners = Counter(each.owner for each in await _parts(context))
    return sorted(owners.values()) == [2, 2] and "" not in owners


_NOTE_LEASES = """
create table taken_away (left_of_it float8);
create table leases (seconds float8);
create function note_leases() returns trigger language plpgsql as $$
declare now_is float8 := extract(epoch from clock_timestamp());
begin
    if old.owner not in ('', new.owner) and new.owner <> '' then
        insert into taken_away values (old.lease_until / 1e6 - now_is);
    end if;
    if new.owner <> '' and new.lease_until not in (0, old.lease_until) then
        insert into leases values (new.lease_until / 1e6 - now_is);
    end if;
    return new;
end $$;
create trigger note_leases before update on refold.checkpoints for each row execute function note_leases();
"""
"""What was left of each lease, by the server's clock, when another took what it was for; and how long each one is."""


@pytest.mark.postgres
@pytest.mark.parametrize("off", [86_400, -86_400])
async def test_a_clock_that_is_a_day_off(off: int, database: str) -> None:
    """Leases go by the server's clock: one whose clock is ahead takes nothing away, one behind keeps nothing."""
    async with shop_in(4).connect(database, projections=False) as idle:
        with worker(database, 4) as right, worker(database, 4, CLOCK_OFF=str(off)) as wrong:
            await until(lambda: _two_each(idle), "two shards each", 30)
            async with await psycopg.AsyncConnection.connect(database, autocommit=True) as session:
                await session.execute(_NOTE_LEASES)
                await _fill(idle)
                await assert_equals_fold(idle)

                async def several() -> bool:
                    (kept,) = await (await session.execute("select count(*) from leases")).fetchone() or (0,)
                    return bool(kept >= 9 * 4)  # each of the four is kept thrice as often as it would end

                await until(several, "several leases", 60)
                # Each has what it had, or got no turn for as long as a lease: nothing was taken before.
                early = await session.execute("select * from taken_away where left_of_it >= 0")
                assert await early.fetchall() == []
                lengths = await session.execute("select min(seconds), max(seconds) from leases")
                shortest, longest = await lengths.fetchone() or (0.0, 0.0)
                assert LEASE - 60 < shortest <= longest <= LEASE
            await until(lambda: _two_each(idle), "two shards each", 30)
            wrong.kill()
            wrong.wait(30)
            await _fill(idle)
            await assert_equals_fold(idle)
            await _divided(idle, 4, 1)
            assert right.poll() is None
