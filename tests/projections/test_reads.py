"""Reading: with no lag, at a receipt, or not at all."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from refold.app import App, Context
from refold.app.stores import migrate
from refold.errors import ConfigurationError, InvalidQuery, ProjectionStopped, RefoldError, StaleRead
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.projections.conditions import field
from refold.projections.sink import Answer
from refold.store.event_store import EventStore
from tests.projections.stores import Added, Gone, Inline, Moved, Stock, Total, assert_equals_fold, bulk, shop


async def _counts(context: Context, *conditions: Any, **more: Any) -> dict[str, int]:
    return {row.item: row.count for row in await context.find(Stock, *conditions, fresh=True, **more)}


async def test_fresh_rows_enter_and_leave_a_filter(idle: Context) -> None:
    """The stored rows are older than the log by all kinds of changes."""
    await idle.append("stock-a", [Added(count=5)])
    await idle.append("stock-b", [Added(count=1)])
    await idle.append("stock-c", [Added(count=7)])
    await idle.rebuild(Stock)
    await idle.append("stock-a", [Moved(other="b", count=4)])  # a leaves, b enters
    await idle.append("stock-c", [Gone()])
    await idle.append("stock-d", [Added(count=9), Gone(), Added(count=6)])
    assert [row.item for row in await idle.find(Stock, field("count") >= 5)] == ["a", "c"]
    assert await _counts(idle, field("count") >= 5) == {"b": 5, "d": 6}
    assert await _counts(idle, field("count") >= 5, order_by="-count", limit=1) == {"d": 6}
    assert await _counts(idle, field("count") >= 1, order_by="-count", limit=2, offset=1) == {"b": 5, "a": 1}
    assert await _counts(idle, limit=0) == {}
    assert await idle.get(Stock, "c", fresh=True) is None
    for item, wanted in (("a", 1), ("b", 5), ("d", 6)):
        row = await idle.get(Stock, item, fresh=True)
        assert row is not None
        assert row.count == wanted
    # What was read is not what is stored.
    assert [row.count for row in await idle.find(Stock, order_by="item")] == [5, 1, 7]


class Price(ReadModel, key="item"):
    item: str
    price: Decimal = Decimal(0)

    @evolve
    def added(self, event: Added) -> None:
        self.price += event.count


@pytest.mark.parametrize("huge", [Decimal("1e200000"), Decimal("-1e131072"), Decimal("1e-20000")])
async def test_a_number_beyond_what_the_store_can_compare(where: str | EventStore, huge: Decimal) -> None:
    """No row has it. Whether the store can say so or refuses the question, it is not taken for an append."""
    async with App("prices", read_models=[Price]).connect(where, projections=False) as context:
        await context.append("item-a", [Added(count=1)])
        await context.rebuild(Price)
        for ask in (context.find, context.count):
            try:
                assert not await ask(Price, field("price") == huge)
            except InvalidQuery as refused:
                assert "value" in str(refused) or "price" in str(refused)  # noqa: PT017  # one of two good answers
        assert len(await context.find(Price)) == 1


async def test_fresh_while_a_worker_runs(context: Context) -> None:
    """Each fresh read equals the fold at some moment between its begin and its end."""

    async def write() -> None:
        for number in range(40):
            await context.append("stock-a", [Added(count=1), Moved(other="b", count=1), Added(count=1)])
            if number % 10 == 9:
                await context.append("stock-b", [Gone()])

    writing = asyncio.create_task(write())
    seen = -1
    while not writing.done():
        await asyncio.sleep(0)  # in memory nothing else lets others run
        before = (await context.store.head()).position
        rows = {row.item: row for row in await context.find(Stock, fresh=True)}
        alone = await context.get(Stock, "a", fresh=True)
        if before:
            # Of an append all is seen or nothing: a gains one with each.
            assert rows["a"].last >= max(seen, before - 2)
            seen = rows["a"].last
            assert alone is not None
            assert alone.last >= seen
    await writing
    await assert_equals_fold(context)


async def test_too_far_behind_for_a_fresh_read(idle: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.projections.reads._FRESH_LIMIT", 3_000)
    await bulk(idle, 6_000, name="Added", payload=b'{"count":1}')
    with pytest.raises(StaleRead, match="too far for fresh=True"):
        await idle.get(Stock, "x", fresh=True)


async def test_rows_that_never_become_new_enough(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint says that they are, and what is read says that they are not: that is not asked without end."""

    async def old(*arguments: Any, **more: Any) -> Answer:
        return Answer(0, {}, [])

    last = (await context.append("stock-a", [Added(count=1)])).last
    assert await context.get(Stock, "a", after=last) is not None
    monkeypatch.setattr(context.projections.sink, "read", old)
    for ask in (context.get(Stock, "a", after=last, timeout=0.2), context.find(Stock, after=last, timeout=0.2)):
        with pytest.raises(StaleRead, match="is at position 0, not yet at 1"):
            await ask


async def test_reading_at_the_receipt_of_another_process(where: Any) -> None:
    """This one runs no projections; the other does."""
    if not isinstance(where, str) or where.startswith("sqlite"):
        pytest.skip("one process at a time")
    async with shop.connect(where, lease=1.0), shop.connect(where, projections=False) as idle:
        for number in range(1, 20):
            receipt = await idle.append("stock-a", [Added(count=1)])
            row = await idle.get(Stock, "a", after=receipt)
            assert row is not None
            assert row.count == number
            assert await idle.count(Stock, after=receipt) == 1
            assert len(await idle.find(Stock, after=receipt)) == 1


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: c.find(Stock, field("colour") == 1), "Stock has no field 'colour'; it has item, count, last"),
        (lambda c: c.find(Stock, colour=1), "no field 'colour'"),
        (lambda c: c.find(Stock, order_by="-colour"), "no field 'colour'"),
        (lambda c: c.find(Stock, field("count") > "many"), "Stock.count cannot be compared with 'many'"),
        (lambda c: c.find(Stock, field("count") > None), "compared with None"),
        (lambda c: c.find(Stock, field("count").in_([1, None])), "Stock.count cannot be compared with"),
        (lambda c: c.find(Stock, field("count").starts_with("1")), "Stock.count is not text"),
        (lambda c: c.find(Stock, limit=-1), "limit=-1"),
        (lambda c: c.find(Stock, offset=-1), "offset=-1"),
        (lambda c: c.find(Stock, limit="many"), "limit='many'"),
        (lambda c: c.find(Stock, limit=True), "limit=True"),
        (lambda c: c.find(Stock, 3), "3 is not a condition"),
        (lambda c: c.find(Stock, field("item") == datetime(2026, 1, 1)), "Stock.item cannot be compared"),
        (lambda c: c.count(Stock, field("colour") == 1), "no field 'colour'"),
        (lambda c: c.get(Stock, ("a", "b")), "cannot be a key of Stock"),
        (lambda c: c.get(Stock, None), "cannot be a key of Stock"),
        (lambda c: c.get(Stock, 3.5), "cannot be a key of Stock"),
        (lambda c: c.get(Stock, "a\x00"), "Stock.item is 'a\\x00', which holds a NUL"),
        (lambda c: c.get(Stock, "\ud800"), "half a character"),
        (lambda c: c.find(Stock, item="a\x00"), "Stock.item is 'a\\x00', which holds a NUL"),
        (lambda c: c.find(Stock, field("item").contains("\ud800")), "half a character"),
        (lambda c: c.find(Stock, count=2**63), "Stock.count is 9223372036854775808, which is no whole number of 64"),
        (lambda c: c.find(Stock, field("count").in_([-(2**63) - 1])), "no whole number of 64 bits"),
        (lambda c: c.find(Stock, field("item").in_(["a"] * 100_000)), "Stock.item is compared with 100,000 values"),
    ],
)
async def test_what_cannot_be_asked(idle: Context, ask: Any, said: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        await ask(idle)
    assert said in str(refused.value)


async def test_a_read_model_of_another_app(idle: Context) -> None:
    async def read(model: type[ReadModel]) -> Any:
        return await idle.get(model, "a")

    with pytest.raises(ConfigurationError, match="Inline is not a read model of app 'shop'"):
        await read(Inline)
    assert await read(Total) is None
    assert issubclass(InvalidQuery, RefoldError)


async def test_a_store_that_has_no_read_models_yet(where: str | EventStore) -> None:
    """Whoever only looks makes no tables, and is told who does."""
    if isinstance(where, str):
        await migrate(where)
    async with shop.connect(where, read_only=True) as context:
        asks: list[Any] = [context.find(Stock), context.count(Stock)]
        asks += [context.get(Stock, "a", **how) for how in ({}, {"after": 1}, {"fresh": True})]
        for ask in asks:
            with pytest.raises(ProjectionStopped, match="no table yet"):
                await ask


def test_python_cannot_combine_conditions() -> None:
    """`a and b` is b, and 1 < x < 5 is x < 5: rows came back that the first half was to keep out."""
    count: Any = field("count")  # mypy sees that nothing can come of it
    for wrong in (
        lambda: count > 1 and count < 5,
        lambda: count < 1 or count > 5,
        lambda: not count > 1,
        lambda: 1 < count < 5,
    ):
        with pytest.raises(InvalidQuery, match=r"combine two with & and \|, negate one with ~"):
            wrong()
    with pytest.raises(InvalidQuery, match=r"item: in_\('ab'\) needs a list"):
        field("item").in_("ab")
