"""Read models follow the log, stop in words, and go on."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refold.app import App, Context
from refold.errors import ConfigurationError, FoldFailed, ProjectionStopped, StaleRead
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.messages.recorded import NewEvent
from refold.projections.checkpoint import RUNNING, STOPPED
from refold.projections.parking.care import Care
from refold.projections.projection import Projection
from refold.store.append import ANY, Append, StreamAppend
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.projections.stores import (
    Added,
    Gone,
    Moved,
    Noise,
    Poison,
    Stock,
    Total,
    assert_equals_fold,
    bulk,
    shop,
    until,
)

ITEMS = st.sampled_from(["a", "b", "ü'\""])
EVENTS: Any = st.one_of(
    st.builds(Added, count=st.integers(-5, 5)),
    st.builds(Moved, other=ITEMS, count=st.integers(1, 3)),
    st.builds(Gone),
    st.builds(Noise),
)
LOGS: Any = st.lists(st.tuples(ITEMS, st.lists(EVENTS, min_size=1, max_size=4)), max_size=12)


async def test_read_models_equal_the_fold(context: Context) -> None:
    """Random appends, one after the other, each read at its receipt."""

    @given(LOGS)
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    def appended(log: Any) -> None:
        logs.append(log)

    logs: list[Any] = []
    appended()
    for log in logs:
        for item, events in log:
            receipt = await context.append(f"stock-{item}", events)
            waited = await context.get(Stock, item, after=receipt)
            assert waited == await context.get(Stock, item, fresh=True)
    await assert_equals_fold(context)


async def test_a_receipt_returns_though_nothing_matches(context: Context) -> None:
    receipt = await context.append("noise-1", [Noise()])
    assert await context.get(Stock, "a", after=receipt, timeout=5) is None
    assert await context.get(Total, "all", after=receipt, timeout=5) is None
    assert [each.position for each in await context.projections.checkpoints()] == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_half_a_million_events_that_match_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    from tests.projections.stores import place

    async with shop.connect(place(kind, request, tmp_path)) as context:
        last = await bulk(context, 500_000)
        assert await context.get(Stock, "a", after=last, timeout=60) is None


@pytest.mark.usefixtures("short_pauses")
async def test_an_event_that_cannot_be_folded(where: str | EventStore) -> None:
    async with shop.connect(where, lease=1.0) as context:
        await context.append("stock-a", [Added(count=1), Added(count=2)])
        poison = await context.append("stock-a", [Noise(), Poison(), Added(count=3)])
        # The others go on, and this one stands right before it.
        row = await context.get(Stock, "a", after=poison)
        assert row is not None
        assert row.count == 6
        stopped = await until(lambda: _stopped(context, "total"), "total to stop")
        assert stopped.position == poison.first
        assert "it is poison" in stopped.error
        assert f"at position {poison.first + 1}: 'Poison' of stream 'stock-a'" in stopped.error
        began = time.monotonic()
        with pytest.raises(StaleRead, match="it is poison"):
            await context.get(Total, "all", after=poison, timeout=600)
        assert time.monotonic() - began < 300, "it waited for one that stands still"
        # What is there can be read.
        total = await context.get(Total, "all", after=poison.first)
        assert total is not None
        assert total.count == 3
        with pytest.raises(FoldFailed, match="it is poison"):
            await context.rebuild(Total)
        assert [each.name for each in await context.projections.checkpoints()] == ["stock", "total"]
    # The code is mended: its definition is another now, so it is rebuilt.
    async with mended.connect(where, lease=1.0) as context:
        with pytest.raises(ProjectionStopped, match="refold rebuild total"):
            await context.get(Healed, "all")
        await context.rebuild(Healed)
        healed = await context.get(Healed, "all", after=poison, timeout=5)
        assert healed is not None
        assert healed.count == 6
        receipt = await context.append("stock-a", [Added(count=4)])
        healed = await context.get(Healed, "all", after=receipt, timeout=5)
        assert healed is not None
        assert healed.count == 10


@pytest.mark.usefixtures("short_pauses")
async def test_one_that_stops_while_its_process_ends_is_known_to_have_stopped(
    where: str | EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`refold worker --once` ends as soon as it sees that one stopped: who looks afterwards must see it too."""
    fails, ends = asyncio.Event(), asyncio.Event()
    note = Care.note_failure

    async def note_when_it_ends(care: Care, problem: Exception, position: int, next_in: float) -> None:
        if next_in == 0:  # it will not be tried again
            fails.set()
            await ends.wait()
        await note(care, problem, position, next_in)

    async with shop.connect(where, projections=False) as context:
        await context.append("stock-a", [Poison()])
    # Before it begins: on a busy machine all attempts may be over before the other projection has begun too.
    monkeypatch.setattr(Care, "note_failure", note_when_it_ends)
    following = shop.connect(where)
    await following.__aenter__()
    await fails.wait()
    stop = Projection.stop

    async def stop_and_go_on(projection: Projection) -> None:
        await stop(projection)
        ends.set()

    monkeypatch.setattr(Projection, "stop", stop_and_go_on)
    await following.__aexit__(None, None, None)
    async with shop.connect(where, projections=False) as context:
        checkpoints = {each.name: each for each in await context.projections.checkpoints()}
    assert (checkpoints["total"].status, checkpoints["stock"].status) == (STOPPED, RUNNING)
    assert "it is poison" in checkpoints["total"].error


class Healed(ReadModel, key="name", name="total"):
    name: str
    count: int = 0

    @evolve(key=lambda event: "all")
    def added(self, event: Added) -> None:
        self.count += event.count

    @evolve(key=lambda event: "all")
    def poisoned(self, event: Poison) -> None:
        pass


mended = App("shop", read_models=[Stock, Healed], events=[Added, Moved, Gone, Noise, Poison])


async def _stopped(context: Context, name: str) -> Any:
    checkpoint = await context.projections.sink.checkpoint(name)
    return checkpoint if checkpoint is not None and checkpoint.status == STOPPED else None


@pytest.mark.slow
async def test_what_stands_before_a_poisonous_event_is_folded_in_bulk(idle: Context, monkeypatch: Any) -> None:
    """However much that is, the projection soon says that it has stopped; only the page at hand is taken slowly."""
    before = await bulk(idle, 30_000, name="Added", payload=b'{"count":1}')
    await idle.append("stock-a", [Poison()])
    write, writes = idle.projections.sink.write, 0

    async def counted(*arguments: Any) -> bool:
        nonlocal writes
        writes += 1
        return await write(*arguments)

    monkeypatch.setattr(idle.projections.sink, "write", counted)
    await idle.projections.start([read_model_of(Total)])
    stopped = await until(lambda: _stopped(idle, "total"), "total to stop", 60)
    await idle.projections.stop()
    assert stopped.position == before
    assert f"at position {before + 1}: 'Poison'" in stopped.error
    assert writes < 5_000


async def test_a_slow_fold_keeps_its_lease(where: str | EventStore, monkeypatch: Any) -> None:
    """A page that takes longer than the lease: otherwise two processes take it from each other, and none gets on."""
    fold: Any = Total.added

    def slowly(self: Total, event: Added) -> None:
        time.sleep(0.002)
        fold(self, event)

    async with shop.connect(where, projections=False, lease=0.5) as context:
        last = await bulk(context, 500, name="Added", payload=b'{"count":1}')
        sink, definition = context.projections.sink, read_model_of(Total)
        log: Any = sink
        renew, renew_all, lives = log.renew, log.renew_all, []

        async def renewed(*arguments: Any) -> Any:
            lives.append((await sink.checkpoint(definition.name)).position)
            return await renew(*arguments)

        async def all_renewed(*arguments: Any) -> Any:
            lives.append((await sink.checkpoint(definition.name)).position)
            return await renew_all(*arguments)

        monkeypatch.setattr(sink, "renew", renewed)
        monkeypatch.setattr(sink, "renew_all", all_renewed)
        slow = msgspec.structs.replace(
            definition,
            evolves={
                event: msgspec.structs.replace(handler, function=slowly if event is Added else handler.function)
                for event, handler in definition.evolves.items()
            },
        )
        await context.projections.start([slow])
        assert (await context.get(Total, "all", after=last, timeout=20)).count == 500
        await context.projections.stop()
    assert lives.count(0) >= 3


async def test_a_fold_that_fails_once_is_tried_again(context: Context) -> None:
    """A failure of the moment leaves no trace in rows or status."""
    fold, failures = Total.added, [ZeroDivisionError("once")]

    def failing(self: Total, event: Added) -> None:
        self.count += event.count  # as if half of it were done
        if failures:
            raise failures.pop()

    definition = read_model_of(Total)
    handler = definition.evolves[Added]
    failing_one = msgspec.structs.replace(handler, function=failing)
    app = App("shop", read_models=[Total], events=[Added, Moved, Gone, Noise, Poison])
    store = MemoryStore()
    async with app.connect(store, lease=1.0, projections=False) as other:
        broken = msgspec.structs.replace(definition, evolves={**definition.evolves, Added: failing_one})
        await other.projections.start([broken])
        last = await other.append("stock-a", [Added(count=1), Added(count=2), Added(count=3)])
        row = await other.get(Total, "all", after=last, timeout=10)
        assert row is not None
        assert row.count == 6
        local = other.projections.local("total")
        assert local is not None
        assert (local.status, local.error) == (RUNNING, "")
    assert fold is Total.added


async def test_an_event_of_an_unknown_type(where: str | EventStore) -> None:
    async with shop.connect(where, lease=1.0) as context:
        await context.append("stock-a", [Added(count=1)])
        unknown = NewEvent(type="Unheard", payload=b"{}")
        await context.store.append(Append((StreamAppend("stock-a", ANY, (unknown,)),)))
        last = await context.append("stock-a", [Added(count=1)])
        for name in ("stock", "total"):
            stopped = await until(lambda name=name: _stopped(context, name), "it to stop")  # type: ignore[misc]
            assert stopped.position == 1
            assert "no event class is named 'Unheard' (position 2, stream 'stock-a')" in stopped.error
        with pytest.raises(StaleRead, match="Unheard"):
            await context.get(Stock, "a", after=last, timeout=30)

    class Unheard(Event, name="Unheard"):
        pass

    # The class is there again: it goes on by itself.
    known = App("shop", read_models=[Stock, Total], events=[Added, Moved, Gone, Noise, Poison, Unheard])
    async with known.connect(where, lease=1.0) as context:
        row = await context.get(Stock, "a", after=last, timeout=10)
        assert row is not None
        assert row.count == 2
        await assert_equals_fold(context)


async def test_an_event_that_only_others_want_and_cannot_read(context: Context) -> None:
    """One that its class cannot hold stops those that fold it, not those that do not."""
    broken = NewEvent(type="Moved", payload=b'{"other":"b","count":"many"}')
    await context.store.append(Append((StreamAppend("stock-a", ANY, (broken,)),)))
    last = await context.append("stock-a", [Added(count=1)])
    row = await context.get(Total, "all", after=last, timeout=10)
    assert row is not None
    assert row.count == 1
    stopped = await until(lambda: _stopped(context, "stock"), "stock to stop")
    assert stopped.position == 0
    assert "position 1" in stopped.error


@pytest.mark.usefixtures("short_pauses")
async def test_a_value_that_the_database_cannot_keep(where: str | EventStore) -> None:
    """It stops this read model in words, right before the event."""

    class Said(Event, name="Said"):
        text: str
        ratio: float = 0.0

    class Spoken(ReadModel, key="id"):
        id: str
        text: str = ""
        ratio: float = 0.0

        @evolve
        def said(self, event: Said) -> None:
            self.text = event.text
            self.ratio = float("nan") if event.ratio else 0.0

    app = App("talk", read_models=[Spoken], events=[Said])
    async with app.connect(where, lease=1.0) as context:
        await context.append("talk-1", [Said(text="a"), Said(text="b", ratio=1.0)])
        stopped = await until(lambda: _stopped(context, "spoken"), "it to stop")
        assert stopped.position == 1
        assert "Spoken.ratio is nan, not a finite number" in stopped.error
        assert "at position 2" in stopped.error


async def test_a_table_of_the_users_is_not_taken(where: str | EventStore) -> None:
    """A rebuild would drop it."""
    if not isinstance(where, str):
        pytest.skip("there are no tables in memory")
    empty = App("empty", events=[Added])
    async with empty.connect(where) as context, context.transaction() as unit:
        await unit.execute("create table stock (item text)")
    with pytest.raises(ConfigurationError, match="a table named 'stock' is there"):
        async with shop.connect(where):
            raise AssertionError("it was taken")


async def test_a_table_that_was_dropped_is_folded_anew(where: str | EventStore) -> None:
    """Not half filled from its old checkpoint on."""
    if not isinstance(where, str):
        pytest.skip("there are no tables in memory")
    async with shop.connect(where) as context:
        last = await context.append("stock-a", [Added(count=1)])
        await context.get(Stock, "a", after=last)
    empty = App("empty", events=[Added])
    async with empty.connect(where) as context, context.transaction() as unit:
        await unit.execute("drop table stock")
    async with shop.connect(where) as context:
        await assert_equals_fold(context)


async def test_a_lost_doorbell(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivery does not depend on being rung."""

    async def deaf(position: int, timeout: float) -> bool:
        await asyncio.sleep(timeout)
        return False

    monkeypatch.setattr(context.store, "wait_beyond", deaf)
    for _ in range(3):
        receipt = await context.append("stock-a", [Added(count=1)])
        assert await context.get(Stock, "a", after=receipt, timeout=5) is not None


async def test_without_a_worker(idle: Context) -> None:
    receipt = await idle.append("stock-a", [Added(count=1)])
    assert await idle.get(Stock, "a") is None
    with pytest.raises(StaleRead, match="read model 'stock' is at position 0, not yet at 1"):
        await idle.get(Stock, "a", after=receipt, timeout=0.05)
    row = await idle.get(Stock, "a", fresh=True)
    assert row is not None
    assert row.count == 1
    with pytest.raises(StaleRead):
        await idle.get(Stock, "a", after=receipt, timeout=0)


async def test_many_appends_while_it_follows(context: Context) -> None:
    """Readers at their receipts, all the time."""

    async def work(item: str) -> None:
        for number in range(1, 16):
            receipt = await context.append(f"stock-{item}", [Added(count=1)])
            row = await context.get(Stock, item, after=receipt)
            assert row is not None
            assert row.count >= number

    await asyncio.gather(*(work(f"{number}") for number in range(8)))
    await assert_equals_fold(context)


class Listed(Event, name="Listed"):
    names: list[str]


class Noted(Event, name="Noted"):
    name: str


class Names(ReadModel, key="item"):
    """Each row keeps the event's own list."""

    item: str
    names: list[str] = msgspec.field(default_factory=list)

    @evolve(key=lambda event: ["a", "b"])
    def listed(self, event: Listed) -> None:
        self.names = event.names

    @evolve
    def noted(self, event: Noted) -> None:
        self.names.append(event.name)


class MoreNames(Names, key="item"):
    pass


@pytest.mark.parametrize("together", [True, False])
async def test_rows_share_nothing_of_an_event(where: str | EventStore, together: bool) -> None:
    """What one row adds to a list that it took from an event is not in another row, nor in another read model."""
    async with App("names", read_models=[Names, MoreNames]).connect(where, projections=not together) as context:
        for position, event in enumerate((Listed(names=["x"]), Noted(name="y"), Noted(name="z")), 1):
            await context.append("names-a", [event])
            if not together:
                await context.find(Names, after=position)
        if together:
            await context.projections.start()
        for model in (Names, MoreNames):
            rows = await context.find(model, after=3)
            assert rows == [model(item="a", names=["x", "y", "z"]), model(item="b", names=["x"])]
            assert await context.find(model, fresh=True) == rows


class Wandering(ReadModel, key="item"):
    item: str
    count: int = 0

    @evolve
    def added(self, event: Added) -> Any:
        self.count += event.count
        self.item = self.item.lower()

    @evolve
    def moved(self, event: Moved) -> Any:
        return event.count


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Added(count=1), r"Wandering: an evolve method made \('a',\) of the key \('A',\)"),
        (Moved(other="b", count=7), r"Wandering: an evolve method gave 7 for \('A',\)"),
    ],
)
async def test_a_row_that_is_not_that_of_its_key(where: str | EventStore, event: Event, said: str) -> None:
    """It would be another row than the one that the next event is folded into."""
    wandering = App("shop", read_models=[Wandering])
    async with wandering.connect(where) as context:
        last = (await context.append("stock-A", [event])).last
        stopped = await until(lambda: _stopped(context, "wandering"), "it to stop")
        assert re.search(said, stopped.error)
        assert stopped.position == last - 1
        assert await context.find(Wandering) == []


class Passed(Event):
    at: datetime


class DaysSeen(ReadModel, key="gate"):
    """Of which day a moment is depends on its zone."""

    gate: str
    days: int = 0
    last: datetime | None = None

    @evolve
    def passed(self, event: Passed) -> None:
        if self.last is None or self.last.date() != event.at.date():
            self.days += 1
        self.last = event.at


class FrozenDaysSeen(ReadModel, key="gate", frozen=True):  # type: ignore[misc]  # dataclasses may not, structs may
    gate: str
    days: int = 0
    last: datetime | None = None

    @evolve
    def passed(self, event: Passed) -> Any:
        new = self.last is None or self.last.date() != event.at.date()
        return msgspec.structs.replace(self, days=self.days + new, last=event.at)


async def test_a_row_that_was_read_back_is_folded_like_one_in_memory(where: str | EventStore) -> None:
    """Columns keep no zones. Rows in memory had them, so that a rebuild gave other rows than following."""
    gates = App("gates", read_models=[DaysSeen, FrozenDaysSeen])
    zone = timezone(timedelta(hours=5, minutes=30))
    for hour in (1, 3, 8):
        async with gates.connect(where) as context:
            last = await context.append("gate-1", [Passed(at=datetime(2026, 1, 2, hour, tzinfo=zone))])
            for model in (DaysSeen, FrozenDaysSeen):
                await context.get(model, "1", after=last)
            await assert_equals_fold(context)
    async with gates.connect(where) as context:
        before = [await context.find(model) for model in (DaysSeen, FrozenDaysSeen)]
        for model in (DaysSeen, FrozenDaysSeen):
            await context.rebuild(model)
        assert [await context.find(model) for model in (DaysSeen, FrozenDaysSeen)] == before
        row = await context.refold(DaysSeen, "1")
        assert row is not None
        assert row.last is not None
        assert row.last.tzinfo is UTC
