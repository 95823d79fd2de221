"""Many read by key at the same time: by few statements, and each is shown what it asked for, as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from refold.app import Context
from refold.errors import InvalidQuery, StoreUnavailable
from refold.folds.read_model import RowKey
from refold.projections.shared_reads import SharedReads
from refold.projections.sink import Answer
from tests.projections.stores import Added, Stock


class Rows:
    """Rows that are read one statement at a time, each when the test lets it; `made` says at which statement."""

    def __init__(self) -> None:
        self.asked: list[list[RowKey]] = []
        self.moment = 0
        self._free: list[asyncio.Future[None]] = []
        self.refused: dict[str, Exception] = {}

    async def read(self, keys: Sequence[RowKey]) -> Answer:
        self.asked.append(list(keys))
        made = self.moment  # the snapshot, at the statement's begin
        free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._free.append(free)
        await free
        for (name,) in keys:
            if name in self.refused:
                raise self.refused[name]
        return Answer(made, {key: Stock(item=str(key[0]), last=made) for key in keys}, [])

    async def let_go(self) -> None:
        """Ends the statement that is under way, and lets those who wait for it run."""
        self._free.pop(0).set_result(None)
        await turns()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def reading(reads: SharedReads, *names: str) -> list[asyncio.Task[Answer]]:
    return [asyncio.create_task(reads.of((name,))) for name in names]


def shown(task: asyncio.Task[Answer], name: str) -> tuple[object, object]:
    row = task.result().rows[(name,)]
    assert isinstance(row, Stock)
    return (row.item, row.last)


async def test_who_asks_during_a_read_is_answered_by_the_next() -> None:
    rows = Rows()
    reads = SharedReads(rows.read)
    (first,) = reading(reads, "a")
    await turns()
    rows.moment = 1  # somebody writes, is told so, and asks
    later = reading(reads, "b", "a", "b")
    await turns()
    assert rows.asked == [[("a",)]]
    await rows.let_go()
    assert shown(first, "a") == ("a", 0)
    assert not any(task.done() for task in later)
    await rows.let_go()
    assert rows.asked == [[("a",)], [("b",), ("a",)]]
    assert [shown(task, name) for task, name in zip(later, "bab", strict=True)] == [("b", 1), ("a", 1), ("b", 1)]


async def test_no_read_is_of_more_keys_than_it_may_be_and_nobody_is_left_out() -> None:
    rows = Rows()
    reads = SharedReads(rows.read)
    names = [f"item{number}" for number in range(450)]
    asked = reading(reads, *names)
    for _ in range(4):
        await turns()
        await rows.let_go()
    assert [len(keys) for keys in rows.asked] == [1, 200, 200, 49]
    assert [shown(task, name) for task, name in zip(asked, names, strict=True)] == [(name, 0) for name in names]


async def test_a_key_that_is_refused_fails_its_own_caller() -> None:
    rows = Rows()
    rows.refused["bad"] = InvalidQuery("the row cannot be read")
    reads = SharedReads(rows.read)
    first, good, bad, other = reading(reads, "a", "b", "bad", "c")
    await turns()
    for _ in range(5):
        await rows.let_go()
    assert shown(first, "a") == ("a", 0)
    assert shown(good, "b") == ("b", 0)
    assert shown(other, "c") == ("c", 0)
    with pytest.raises(InvalidQuery, match="the row cannot be read"):
        await bad
    (again,) = reading(reads, "a")
    await turns()
    await rows.let_go()
    assert shown(again, "a") == ("a", 0)


@pytest.mark.parametrize("problem", [StoreUnavailable("it is away"), RuntimeError("a fault of ours")])
async def test_all_are_told_when_the_read_fails(problem: Exception) -> None:
    rows = Rows()
    rows.refused = {"a": problem, "b": problem}
    reads = SharedReads(rows.read)
    asked = reading(reads, "a", "a", "b")
    await turns()
    while rows._free:
        await rows.let_go()
    for task in asked:
        with pytest.raises(type(problem), match=str(problem)):
            await task
    if isinstance(problem, StoreUnavailable):
        assert len(rows.asked) == 2, "a store that is away is not asked again for each of them"


async def test_who_gives_up_takes_nobody_along() -> None:
    """Neither the first, on whose read the others do not depend, nor one of those who share one."""
    rows = Rows()
    reads = SharedReads(rows.read)
    first, one, other = reading(reads, "a", "b", "c")
    await turns()
    first.cancel()
    await turns()
    assert rows.asked == [[("a",)], [("b",), ("c",)]]
    one.cancel()
    await turns()
    rows._free.pop(0)  # the first's
    await rows.let_go()
    assert shown(other, "c") == ("c", 0)
    assert one.cancelled()
    assert first.cancelled()


async def test_a_read_that_never_ends_ends_when_all_gave_up() -> None:
    rows = Rows()
    reads = SharedReads(rows.read)
    stuck = reading(reads, "a", "b", "c")
    await turns()
    stuck[0].cancel()
    await turns()
    (later,) = reading(reads, "d")
    for task in stuck[1:]:
        task.cancel()
    await turns()
    assert rows.asked[-1] == [("d",)]
    rows._free = rows._free[-1:]
    await rows.let_go()
    assert shown(later, "d") == ("d", 0)


async def test_a_loop_that_ends_leaves_nobody_waiting() -> None:
    rows = Rows()
    reads = SharedReads(rows.read)
    asked = reading(reads, "a", "b")
    await turns()
    await rows.let_go()
    (together,) = [task for task in asyncio.all_tasks() if "_together" in str(task.get_coro())]
    together.cancel()
    await turns()
    assert asked[1].cancelled()


async def test_many_readers_of_rows_that_change(context: Context) -> None:
    """Each sees, of the row that it asks for, at least what was there when it asked."""
    names = [f"item{number}" for number in range(8)]
    last = dict.fromkeys(names, 0)
    shared = 0

    async def write() -> None:
        for number in range(40):
            name = names[number % len(names)]
            last[name] = (await context.append(f"stock-{name}", [Added(count=1)])).last

    async def read(number: int) -> None:
        nonlocal shared
        while not writing.done():
            await asyncio.sleep(0)  # in memory nothing else lets others run
            number += 3
            name = names[number % len(names)]
            known = last[name]
            row = await context.get(Stock, name, after=known or None)
            shared += 1
            if known:
                assert row is not None
                assert row.item == name
                assert row.last >= known
            assert await context.get(Stock, "nobody") is None

    writing = asyncio.create_task(write())
    await asyncio.gather(writing, *(read(number) for number in range(12)))
    assert shared > 12
    for name in names:
        row = await context.get(Stock, name, after=max(last.values()))
        assert row == await context.get(Stock, name, fresh=True)


def counted_reads(context: Context, patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the sink is asked for rows from now on."""
    sink, count = context.projections.sink, [0]
    read = sink.read

    async def counted(*arguments: Any, **more: Any) -> Answer:
        count[0] += 1
        await asyncio.sleep(0)  # in memory nothing else lets others ask meanwhile
        return await read(*arguments, **more)

    patch.setattr(sink, "read", counted)
    return lambda: count[0]


async def test_rows_that_are_asked_for_together_take_few_statements(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"item{number}" for number in range(8)]
    results = [await context.append(f"stock-{name}", [Added(count=1)]) for name in names[:7]]
    await context.find(Stock, after=results[-1].last)
    statements = counted_reads(context, monkeypatch)
    found = await asyncio.gather(*(context.get(Stock, name) for name in names * 20))
    assert [row and row.item for row in found] == [*names[:7], None] * 20
    assert statements() <= 2
