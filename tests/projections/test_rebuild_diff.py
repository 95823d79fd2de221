"""What a rebuild would change is found out before it changes it: which rows, and by which event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold import faults
from refold.app import App, Context
from refold.errors import ConfigurationError, ProjectionStopped
from refold.folds.dispatch import evolve
from refold.folds.read_model import Deleted, ReadModel
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.review.changes import RebuildDiff, RowChange
from refold.projections.review.reviewing import Review
from refold.projections.sink import building
from refold.store.event_store import EventStore
from tests.projections.stores import Added, Gone, Moved, Noise, Poison, Stock, assert_equals_fold, bulk, shop

EVENTS: list[type[Event]] = [Added, Moved, Gone, Noise, Poison]


class Before(ReadModel, key="item", name="stock"):
    """The release before."""

    item: str
    count: int = 0
    label: str = ""
    last: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.count += event.count
        self.label = f"{self.count} pieces"

    @evolve
    def gone(self, event: Gone) -> object:
        return Deleted


class After(ReadModel, key="item", name="stock"):
    """The release that is tried: it counts other events, keeps rows that are gone, and has a new field."""

    item: str
    count: int = 0
    last: int = 0
    largest: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.count += min(event.count, 100)
        self.largest = max(self.largest, event.count)

    @evolve
    def noise(self, event: Noise) -> None:
        self.last += 1


before = App("shop", read_models=[Before], events=EVENTS)
after = App("shop", read_models=[After], events=EVENTS)


async def fill(context: Context) -> int:
    """Positions 1 to 9."""
    await context.append("stock-same", [Added(count=0)])
    await context.append("stock-more", [Added(count=1), Added(count=500), Added(count=2)])
    await context.append("stock-gone", [Added(count=7), Gone()])
    await context.append("stock-noisy", [Noise(), Added(count=0)])
    return (await context.append("stock-only-larger", [Added(count=3)])).last


@pytest.fixture
async def changed(where: str | EventStore) -> Any:
    """The new release beside the rows of the old one."""
    async with before.connect(where, lease=1.0) as old:
        last = await fill(old)
        assert await old.get(Before, "only-larger", after=last, timeout=20) is not None
    async with after.connect(where, projections=False) as context:
        yield context


def by_key(diff: RebuildDiff) -> dict[str, RowChange]:
    return {row.key[0]: row for row in diff.rows}


async def test_which_rows_change(changed: Context) -> None:
    """The class that made them is gone: what is kept of it says which fields can be compared, and which events."""
    sink = changed.projections.sink
    as_it_was = await sink.checkpoints()
    diff = await changed.compare_rebuild(After)
    rows = by_key(diff)
    assert diff.position == 9
    assert diff.counts == {"added": 1, "removed": 0, "changed": 2, "extended": 1}
    assert (diff.same, diff.new_fields, diff.gone_fields, diff.not_comparable) == (1, ["largest"], ["label"], [])
    assert "field largest is new" in diff.definition
    assert rows["more"].old == {"count": 503}
    assert rows["more"].new == {"count": 103, "largest": 500}
    assert (rows["gone"].kind, rows["gone"].old, rows["gone"].new["count"]) == ("added", {}, 7)
    assert (rows["noisy"].kind, rows["noisy"].old, rows["noisy"].new) == ("changed", {"last": 0}, {"last": 1})
    assert rows["only-larger"].kind == "extended"
    assert "same" not in rows
    # Nothing is left of it, and the rows are as they were.
    assert await sink.checkpoints() == as_it_was
    with pytest.raises(ProjectionStopped, match="was written by another definition"):
        await changed.get(After, "more")


async def test_by_which_event_as_far_as_it_is_known(changed: Context) -> None:
    """Without the code that made the rows: the first event whose method is another one."""
    rows = by_key(await changed.compare_rebuild(After))
    for key, position, kind in (("more", 2, "Added"), ("gone", 5, "Added"), ("noisy", 7, "Noise")):
        why = rows[key].why
        assert why is not None
        assert (why.position, why.type, why.stream, why.exact) == (position, kind, f"stock-{key}", False)
    why = rows["only-larger"].why
    assert why is not None
    assert (why.position, why.exact) == (9, True)
    assert "sets largest first" in why.because


async def test_by_which_event_where_the_old_class_is_at_hand(changed: Context) -> None:
    """Both are folded, event by event: where they part is certain."""
    rows = by_key(await changed.compare_rebuild(After, was=Before))
    wanted = {"more": 3, "gone": 6, "noisy": 7, "only-larger": 9}
    assert {key: rows[key].why and (rows[key].why.position, rows[key].why.exact) for key in wanted} == {
        key: (position, True) for key, position in wanted.items()
    }


async def test_so_many_rows_are_shown(changed: Context) -> None:
    diff = await changed.compare_rebuild(After, shown=1)
    assert [row.kind for row in diff.rows] == ["changed", "extended", "added"]
    assert diff.differing == 4
    assert (await changed.compare_rebuild(After, shown=0)).rows == []


async def test_it_is_shown_before_the_switch(changed: Context) -> None:
    told: list[RebuildDiff] = []
    read: list[Any] = []

    def tell(diff: RebuildDiff) -> None:
        told.append(diff)

    def at(point: str) -> None:
        if point in ("rebuild.switching", "rebuild.caught_up"):
            read.append(len(told))

    faults.install(at)
    try:
        assert await changed.rebuild(After, diff=tell) == 9
    finally:
        faults.install(None)
    assert set(read) == {1}
    assert told[0].differing == 4
    row = await changed.get(After, "more")
    assert row is not None
    assert row.count == 103


async def test_rows_that_another_changed(idle: Context) -> None:
    """The definition is the same: a row that has not seen an event is told from one that no fold makes."""
    await idle.append("stock-a", [Added(count=1), Added(count=2)])
    await idle.append("stock-b", [Added(count=1)])
    await idle.rebuild(Stock)
    assert (await idle.compare_rebuild(Stock)).differing == 0
    sink, definition = idle.projections.sink, idle.app.read_models[Stock]
    claimed = await sink.claim("stock", "thief", 30)
    assert claimed is not None
    move = Move(3, 3, claimed.append_id, claimed.epoch)
    forged = [Stock(item="a", count=1, last=1), Stock(item="b", count=99, last=3), Stock(item="ghost", count=5)]
    assert await sink.write(definition, "stock", forged, [], move)
    await sink.release("stock", claimed.epoch)
    diff = await idle.compare_rebuild(Stock)
    rows = by_key(diff)
    assert diff.counts == {"added": 0, "removed": 1, "changed": 2, "extended": 0}
    missed, forged_why, ghost = rows["a"].why, rows["b"].why, rows["ghost"].why
    assert missed is not None
    assert (missed.position, missed.exact) == (2, True)
    assert "has not seen it" in missed.because
    assert forged_why is not None
    assert not forged_why.exact
    assert "somebody else changed the row" in forged_why.because
    assert ghost is not None
    assert (ghost.position, ghost.because) == (0, "today's code folds no event into this row")


async def test_while_appends_go_on(context: Context) -> None:
    """Rows that move while they are compared are compared at the same position: none is told to differ."""
    last = await bulk(context, 6_000, name="Added", payload=b'{"count":1}')
    await context.find(Stock, after=last, timeout=20)
    done = False

    async def append(item: str) -> None:
        count = 0
        while not done:
            count += 1
            receipt = await context.append(
                f"stock-{item}", [Added(count=1), Moved(other=f"{item}{count % 7}", count=1)]
            )
            assert await context.get(Stock, item, after=receipt, timeout=20) is not None

    async def compared() -> list[RebuildDiff]:
        nonlocal done
        try:
            return [await context.compare_rebuild(Stock) for _ in range(5)]
        finally:
            done = True

    diffs, *_ = await asyncio.gather(compared(), append("x"), append("y"))
    assert [(diff.differing, diff.uncompared) for diff in diffs] == [(0, 0)] * 5
    assert diffs[-1].same > 5
    await assert_equals_fold(context)


@pytest.mark.parametrize("point", ["rebuild.begun", "projection.folded", "review.compared"])
async def test_one_that_fails_leaves_nothing_behind(point: str, changed: Context) -> None:
    def fail(passed: str) -> None:
        if passed == point:
            faults.install(None)
            raise ZeroDivisionError

    faults.install(fail)
    try:
        with pytest.raises(ZeroDivisionError):
            await changed.compare_rebuild(After)
    finally:
        faults.install(None)
    assert await changed.projections.sink.checkpoint(building("stock")) is None
    assert (await changed.compare_rebuild(After)).differing == 4


async def test_what_cannot_be_compared(changed: Context) -> None:
    """Each with its reason; nothing is begun."""

    class Other(ReadModel, key="name", name="stock"):
        name: str
        count: int = 0

        @evolve(key=lambda event: "all")
        def added(self, event: Added) -> None:
            self.count += 1

    with pytest.raises(ConfigurationError, match=r"were not made by .*Other as it is now"):
        await changed.compare_rebuild(After, was=Other)
    other = App("shop", read_models=[Other], events=EVENTS)
    sink = changed.projections.sink
    with pytest.raises(ProjectionStopped, match="the key of 'stock' is another one by now"):
        await changed.projections.rebuild(other.read_models[Other], review=Review(dry_run=True))
    assert await sink.checkpoint(building("stock")) is None
    await sink.drop("stock")
    with pytest.raises(ProjectionStopped, match="has no rows yet, so there is nothing to compare with"):
        await changed.compare_rebuild(After)
    assert await sink.checkpoint("stock") is None


def test_without_async(tmp_path: Any) -> None:
    with shop.connect_sync(f"sqlite:///{tmp_path}/log.db") as context:
        context.get(Stock, "a", after=context.append("stock-a", [Added(count=1)]), timeout=20)
        diff = context.compare_rebuild(Stock)
        assert (diff.differing, diff.same) == (0, 1)
