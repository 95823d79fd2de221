"""Failures are visible, bounded and recoverable: parked rows, retries, skips, releases, pauses, on every store."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import time
from typing import Any

import msgspec
import pytest

from refold.app import App, Context
from refold.app.stores import migrate
from refold.errors import (
    ConfigurationError,
    DefinitionError,
    InvalidQuery,
    ProjectionStopped,
    SchemaMismatch,
    StaleRead,
)
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.messages.recorded import NewEvent
from refold.operations.status import status_of
from refold.operations.verify.manner import Pace
from refold.operations.verify.read_models import ReadModelVerification
from refold.projections.checkpoint import RUNNING, STOPPED, Move
from refold.projections.parking import care
from refold.projections.parking.records import Operation, ParkedKey
from refold.store.append import ANY, Append, StreamAppend
from refold.store.event_store import EventStore
from tests.projections.stores import place, until
from tests.store.postgres.events import run_sql

BAD: set[str] = set()
"""What cannot be folded at the moment: the test mends it by taking it out."""


class Put(Event, name="Put"):
    what: str
    to: str = ""


def _rows(event: Put, recorded: Any) -> list[str]:
    own = recorded.stored.stream.partition("-")[2]
    return [own, event.to] if event.to else [own]


class Box(ReadModel, key="id", on_error="park"):
    """Rows that keep all that was put into them, in order, so that none lost or doubled goes unseen."""

    id: str
    things: list[str] = []

    @evolve(key=_rows)
    def put(self, event: Put, recorded: Any) -> None:
        self.things = [*self.things, event.what]
        if event.what in BAD or f"{self.id}:{event.what}" in BAD:
            raise ZeroDivisionError(f"cannot take {event.what}")


class Count(ReadModel, key="id"):
    """A neighbour on the same reader that nothing hinders."""

    id: str
    count: int = 0

    @evolve
    def put(self, event: Put) -> None:
        self.count += 1


boxes = App("boxes", read_models=[Box, Count])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pauses between attempts are short: what matters is that there are so many."""
    monkeypatch.setattr("refold.projections.projection._FIRST_PAUSE", 0.002)
    BAD.clear()
    yield
    BAD.clear()


async def _parked(context: Context, count: int = 1) -> list[ParkedKey]:
    async def there() -> Any:
        found = await context.projections.operator.parked("box")
        return found if len(found) == count else None

    found: list[ParkedKey] = await until(there, f"{count} parked") if count else await _none_parked(context)
    return found


async def _none_parked(context: Context) -> list[ParkedKey]:
    await until(lambda: _empty(context), "nothing parked")
    return []


async def _empty(context: Context) -> bool:
    return not await context.projections.operator.parked("box")


async def _things(context: Context, key: str) -> list[str]:
    row = await context.get(Box, key)
    return [] if row is None else row.things


async def _ask(context: Context, key: str, kind: Any, reason: str = "", timeout: float = 20) -> Operation:
    return await context.projections.operator.ask(
        read_model_of(Box), key, kind, actor="ann", reason=reason, timeout=timeout
    )


async def test_one_row_waits_and_the_others_go_on(where: str | EventStore) -> None:
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="1"), Put(what="bad"), Put(what="2")])
        last = await context.append("box-b", [Put(what="3")])
        row = await context.get(Box, "b", after=last, timeout=20)
        assert row is not None
        assert row.things == ["3"]
        # The checkpoint has moved on, and the row is as it was before.
        assert await _things(context, "a") == ["1"]
        (parked,) = await _parked(context)
        assert (parked.name, parked.key, parked.position, parked.type) == ("box", '["a"]', 2, "Put")
        assert parked.attempts == care.ATTEMPTS
        assert parked.stream == "box-a"
        assert "cannot take bad" in parked.error
        assert parked.fingerprint == read_model_of(Box).fingerprint
        assert parked.owner == context.projections.owner
        status = await status_of(context.store, context.projections.sink, boxes)
        assert [(each.name, each.parked, each.wrong) for each in status.projections] == [
            ("box", 1, True),
            ("count", 0, False),
        ]
        # Who asks for what was appended is told, and not shown an older row.
        with pytest.raises(StaleRead, match=r'row \["a"\] is parked at position 2.*cannot take bad'):
            await context.get(Box, "a", after=last, timeout=5)
        with pytest.raises(StaleRead, match="parked"):
            await context.get(Box, "a", fresh=True)
        assert (await context.get(Box, "a", after=1)) is not None
        assert [row.things for row in await context.find(Box, fresh=True)] == [["1"], ["3"]]
    # It is so for the next process too.
    async with boxes.connect(where, lease=1.0) as context:
        last = await context.append("box-a", [Put(what="4", to="b")])
        row = await context.get(Box, "b", after=last, timeout=20)
        assert row is not None
        assert row.things == ["3", "4"]
        assert await _things(context, "a") == ["1"]
        waiting = await context.projections.operator.waiting(read_model_of(Box), "a", 2)
        assert [event.position for event in waiting.events] == [2, 3]
        assert waiting.more


async def test_of_two_rows_of_an_event_only_the_failing_one_waits(where: str | EventStore) -> None:
    BAD.add("a:x")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="x", to="b"), Put(what="y", to="b")])
        await _parked(context)
        last = await context.append("box-b", [Put(what="z")])
        row = await context.get(Box, "b", after=last, timeout=20)
        assert row is not None
        assert row.things == ["x", "y", "z"]
        assert await _things(context, "a") == []


async def test_a_retry_takes_all_that_waits_in_order_once(where: str | EventStore) -> None:
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="1"), Put(what="bad"), Put(what="2")])
        await context.append("box-b", [Put(what="3", to="a")])
        await _parked(context)
        failed = await _ask(context, "a", "retry")
        assert failed.details["done"] is False
        assert failed.details["failed_at"] == 2
        (parked,) = await _parked(context)
        assert parked.attempts == care.ATTEMPTS + 1
        assert parked.request == ""
        BAD.clear()
        done = await _ask(context, "a", "retry", "it was mended")
        assert done.details == {"position": 2, "events": 3, "done": True}
        assert await _things(context, "a") == ["1", "bad", "2", "3"]
        assert await _empty(context)
        # And it is followed again.
        last = await context.append("box-a", [Put(what="4")])
        row = await context.get(Box, "a", after=last, timeout=20)
        assert row is not None
        assert row.things == ["1", "bad", "2", "3", "4"]
        said = [(each.actor, each.operation, each.target) for each in await context.projections.operator.operations()]
        assert said == [
            ("ann", "parked retry: done", 'box ["a"]'),
            ("ann", "parked retry: asked", 'box ["a"]'),
            ("ann", "parked retry: failed", 'box ["a"]'),
            ("ann", "parked retry: asked", 'box ["a"]'),
        ]


async def test_a_retry_that_fails_further_on_keeps_what_went_well(where: str | EventStore) -> None:
    BAD.update(["bad", "worse"])
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="bad"), Put(what="1"), Put(what="worse"), Put(what="2")])
        await _parked(context)
        BAD.remove("bad")
        failed = await _ask(context, "a", "retry")
        assert failed.details["failed_at"] == 3
        assert await _things(context, "a") == ["bad", "1"]
        (parked,) = await _parked(context)
        assert (parked.position, parked.attempts) == (3, 1)
        BAD.clear()
        assert (await _ask(context, "a", "retry")).details["done"]
        assert await _things(context, "a") == ["bad", "1", "worse", "2"]


async def test_a_skip_leaves_one_event_out_also_when_folded_anew(where: str | EventStore) -> None:
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="1"), Put(what="bad"), Put(what="2")])
        await _parked(context)
        with pytest.raises(InvalidQuery, match="for a reason"):
            await _ask(context, "a", "skip", " ")
        done = await _ask(context, "a", "skip", "the sensor was broken")
        assert done.details["done"]
        assert done.reason == "the sensor was broken"
        assert await _things(context, "a") == ["1", "2"]
        last = await context.append("box-a", [Put(what="3")])
        row = await context.get(Box, "a", after=last, timeout=20)
        assert row is not None
        assert row.things == ["1", "2", "3"]
        # A rebuild of the same definition does not stumble over it again.
        await context.rebuild(Box)
        assert await _things(context, "a") == ["1", "2", "3"]
        if isinstance(where, str) and where.startswith("postgresql"):
            # Nor do several processes, in which that event could be folded by now.
            await context.rebuild(Box, jobs=2)
            assert await _things(context, "a") == ["1", "2", "3"]


async def test_a_release_folds_the_row_from_the_beginning(where: str | EventStore) -> None:
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="1"), Put(what="bad"), Put(what="2")])
        await _parked(context)
        assert not (await _ask(context, "a", "release")).details["done"]
        assert await _things(context, "a") == ["1"]
        BAD.clear()
        done = await _ask(context, "a", "release")
        assert done.details == {"position": 2, "events": 3, "done": True}
        assert await _things(context, "a") == ["1", "bad", "2"]


async def test_what_is_asked_without_a_worker_is_done_by_who_asks(where: str | EventStore) -> None:
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="bad"), Put(what="2")])
        await _parked(context)
    BAD.clear()
    async with boxes.connect(where, projections=False, lease=1.0) as context:
        assert (await _ask(context, "a", "retry")).details["done"]
        assert await _things(context, "a") == ["bad", "2"]
        assert {each.owner for each in await context.projections.checkpoints()} == {""}


async def test_what_is_not_parked_cannot_be_dealt_with(where: str | EventStore) -> None:
    async with boxes.connect(where, lease=1.0) as context:
        with pytest.raises(InvalidQuery, match=r'box \["a"\] is not parked'):
            await _ask(context, "a", "retry")
        with pytest.raises(InvalidQuery, match="not parked"):
            await context.projections.operator.waiting(read_model_of(Box), "a", 10)


async def test_an_event_that_its_class_cannot_hold(where: str | EventStore) -> None:
    """Where the stream names the row, the row waits; a key function cannot be asked, so there the projection stops."""

    class Held(ReadModel, key="id", on_error="park"):
        id: str
        count: int = 0

        @evolve
        def put(self, event: Put) -> None:
            self.count += 1

    app = App("held", read_models=[Held, Box])
    async with app.connect(where, lease=1.0) as context:
        broken = NewEvent(type="Put", payload=b'{"what":7}')
        await context.store.append(Append((StreamAppend("box-a", ANY, (broken,)),)))
        last = await context.append("box-b", [Put(what="x")])
        row = await context.get(Held, "b", after=last, timeout=20)
        assert row is not None
        assert row.count == 1
        parked = await context.projections.operator.parked("held")
        assert [(each.key, each.position) for each in parked] == [('["a"]', 1)]
        stopped = await until(lambda: _stopped(context, "box"), "box to stop")
        assert stopped.position == 0
        await context.append("box-a", [Put(what="y")])
        skip = await context.projections.operator.ask(
            read_model_of(Held), "a", "skip", actor="ann", reason="it says nothing", timeout=20
        )
        assert skip.details["done"]
        row = await context.get(Held, "a")
        assert row is not None
        assert row.count == 1


async def _stopped(context: Context, name: str) -> Any:
    checkpoint = await context.projections.sink.checkpoint(name)
    return checkpoint if checkpoint is not None and checkpoint.status == STOPPED else None


async def test_a_row_that_no_column_can_keep_is_parked(where: str | EventStore) -> None:
    class Ratio(Event, name="Ratio"):
        ratio: float

    class Gauge(ReadModel, key="id", on_error="park"):
        id: str
        ratio: float = 0.0

        @evolve
        def measured(self, event: Ratio) -> None:
            self.ratio = event.ratio if event.ratio else float("nan")

    app = App("gauges", read_models=[Gauge])
    async with app.connect(where, lease=1.0) as context:
        await context.append("gauge-a", [Ratio(ratio=1.0), Ratio(ratio=0.0)])
        last = await context.append("gauge-b", [Ratio(ratio=2.0)])
        row = await context.get(Gauge, "b", after=last, timeout=20)
        assert row is not None
        (parked,) = await context.projections.operator.parked("gauge")
        assert parked.position == 2
        assert "Gauge.ratio is nan" in parked.error
        row = await context.get(Gauge, "a")
        assert row is not None
        assert row.ratio == 1.0


async def test_when_too_many_rows_fail_the_projection_stops(
    where: str | EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "PARKED_AT_MOST", 2)
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        for item in "abc":
            await context.append(f"box-{item}", [Put(what="bad")])
        stopped = await until(lambda: _stopped(context, "box"), "it to stop")
        assert stopped.position == 2
        assert "2 rows of 'box' are parked already" in stopped.error
        assert "at position 3" in stopped.error
        await _parked(context, 2)
        # What stands in the way is dealt with, and it goes on by itself.
        BAD.clear()
        assert (await _ask(context, "a", "retry")).details["done"]
        last = await context.append("box-c", [Put(what="x")])
        row = await context.get(Box, "c", after=last, timeout=20)
        assert row is not None
        assert row.things == ["bad", "x"]


async def test_a_projection_that_fails_does_not_slow_its_neighbour(
    where: str | EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it backs off, for longer than anybody waits here, what its neighbour waits for is there."""
    monkeypatch.setattr("refold.projections.projection._FIRST_PAUSE", 600.0)
    monkeypatch.setattr("refold.projections.projection._LONGEST_PAUSE", 600.0)
    BAD.add("bad")
    async with boxes.connect(where, lease=2.0) as context:
        await context.append("box-a", [Put(what="bad")])
        local = context.projections.local("box")
        assert local is not None
        await until(lambda: asyncio.sleep(0, "attempt 1" in local.error), "the first failure")
        for number in range(20):
            last = await context.append("box-b", [Put(what=str(number))])
            row = await context.get(Count, "b", after=last, timeout=20)
            assert row is not None
            assert row.count == number + 1
        assert "attempt 1" in local.error


class LongFromTheSecondOn(float):
    """Seconds: the first pause is short, and any other is longer than a test."""

    def __mul__(self, factor: float) -> float:
        return float(self) if factor == 2 else 600.0


async def test_failing_is_seen_while_it_is_tried_again(
    where: str | EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.projections.projection._FIRST_PAUSE", LongFromTheSecondOn(0.1))
    monkeypatch.setattr("refold.projections.projection._LONGEST_PAUSE", 600.0)
    BAD.add("bad")
    async with boxes.connect(where, lease=60) as context:
        await context.append("box-a", [Put(what="1"), Put(what="bad")])
        records = context.projections.sink.records

        async def second() -> Any:
            attempt = await records.attempt("box")
            return attempt if attempt is not None and attempt.failed == 2 else None

        attempt = await until(second, "the second failure")
        assert (attempt.first, attempt.last, attempt.begun) == (2, 2, 0)
        assert "cannot take bad" in attempt.error
        assert attempt.next_at > time.time_ns() // 1000
        status = await status_of(context.store, context.projections.sink, boxes)
        (box,) = [each for each in status.projections if each.name == "box"]
        assert box.state == "failing"
        assert re.match(
            r"attempt \d of 5, (next try in \d+ s|trying): ZeroDivisionError\('cannot take bad'\)", box.error
        )
        assert not box.wrong
        BAD.clear()
        local = context.projections.local("box")
        assert local is not None
        local.look()
        row = await context.get(Box, "a", after=2, timeout=20)
        assert row is not None
        assert row.things == ["1", "bad"]
        await until(lambda: _no_attempt(context), "what was tried to be forgotten")


async def _no_attempt(context: Context) -> bool:
    return await context.projections.sink.records.attempt("box") is None


async def test_a_failure_of_the_moment_parks_nothing(where: str | EventStore) -> None:
    class Shaky(ReadModel, key="id", on_error="park"):
        id: str
        count: int = 0

        @evolve
        def put(self, event: Put) -> None:
            self.count += 1
            if failures:
                raise failures.pop()

    failures = [ZeroDivisionError("once"), ZeroDivisionError("twice")]
    app = App("shaky", read_models=[Shaky])
    async with app.connect(where, lease=1.0) as context:
        last = await context.append("box-a", [Put(what="1"), Put(what="2")])
        row = await context.get(Shaky, "a", after=last, timeout=20)
        assert row is not None
        assert row.count == 2
        assert await context.projections.operator.parked() == []
        local = context.projections.local("shaky")
        assert local is not None
        assert (local.status, local.error) == (RUNNING, "")


async def test_parked_rows_go_with_their_version(where: str | EventStore) -> None:
    """A rebuild begins with nothing parked, and the version before keeps what waits there."""
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="bad"), Put(what="2")])
        await _parked(context)
        BAD.clear()
        await context.rebuild(Box)
        row = await context.get(Box, "a", after=2, timeout=20)
        assert row is not None
        assert row.things == ["bad", "2"]
        (kept,) = await context.projections.sink.records.parked()
        assert kept.name == "box__previous"


async def test_pause_and_resume(where: str | EventStore) -> None:
    async with boxes.connect(where, lease=1.0) as context:
        operator, box = context.projections.operator, read_model_of(Box)
        await context.get(Box, "a", after=await context.append("box-a", [Put(what="1")]), timeout=20)
        assert await operator.pause(box, actor="ann", reason="a migration")
        assert not await operator.pause(box, actor="ann", reason="again")
        local = context.projections.local("box")
        assert local is not None
        await until(lambda: asyncio.sleep(0, local.status == "paused"), "it to pause")
        last = await context.append("box-a", [Put(what="2")])
        began = time.monotonic()
        with pytest.raises(StaleRead, match=r"paused by ann since .*: a migration; run `refold resume box`"):
            await context.get(Box, "a", after=last, timeout=600)
        assert time.monotonic() - began < 300, "it waited for one that stands still"
        assert await context.get(Count, "a", after=last, timeout=20) is not None
        assert await _things(context, "a") == ["1"]
        assert {each.name for each in await context.projections.checkpoints() if not each.owner} == {"box"}
        with pytest.raises(InvalidQuery, match="not parked"):
            await _ask(context, "a", "retry")
    # Another process stands still too.
    async with boxes.connect(where, lease=1.0) as context:
        operator = context.projections.operator
        with pytest.raises(StaleRead, match="paused by ann"):
            await context.get(Box, "a", after=last, timeout=20)
        assert await operator.resume(box, actor="bob", reason="")
        assert not await operator.resume(box, actor="bob", reason="")
        row = await context.get(Box, "a", after=last, timeout=20)
        assert row is not None
        assert row.things == ["1", "2"]
        said = [(each.actor, each.operation, each.reason) for each in await operator.operations()]
        assert said == [("bob", "resume", ""), ("ann", "pause", "a migration")]


async def test_a_paused_one_is_not_dealt_with(where: str | EventStore) -> None:
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="bad")])
        await _parked(context)
        await context.projections.operator.pause(read_model_of(Box), actor="ann", reason="")
        with pytest.raises(ProjectionStopped, match="paused by ann"):
            await _ask(context, "a", "retry")


async def test_resume_of_one_that_has_stopped(where: str | EventStore) -> None:
    class Strict(ReadModel, key="id"):
        id: str
        count: int = 0

        @evolve
        def put(self, event: Put) -> None:
            if event.what in BAD:
                raise ZeroDivisionError("no")
            self.count += 1

    BAD.add("bad")
    app = App("strict", read_models=[Strict])
    async with app.connect(where, lease=2.0) as context:
        last = await context.append("box-a", [Put(what="bad")])
        await until(lambda: _stopped(context, "strict"), "it to stop")
        BAD.clear()
        assert await context.projections.operator.resume(read_model_of(Strict), actor="ann", reason="mended")
        row = await context.get(Strict, "a", after=last, timeout=20)
        assert row is not None
        assert row.count == 1


def test_definitions() -> None:
    with pytest.raises(DefinitionError, match="on_error='skip' must be 'stop' or 'park'"):

        class Wrong(ReadModel, key="id", on_error="skip"):
            id: str

            @evolve
            def put(self, event: Put) -> None: ...

    with pytest.raises(DefinitionError, match="inline read model cannot park"):

        class Inline(ReadModel, key="id", on_error="park", inline=True):
            id: str

            @evolve
            def put(self, event: Put) -> None: ...


def test_the_policy_is_not_part_of_the_fingerprint() -> None:
    def made(on_error: Any) -> str:
        class Same(ReadModel, key="id", on_error=on_error):
            id: str
            count: int = 0

            @evolve
            def put(self, event: Put) -> None:
                self.count += 1

        return read_model_of(Same).fingerprint

    assert made("park") == made("stop")


async def test_the_log_of_operations_only_grows(where: str | EventStore) -> None:
    async with boxes.connect(where, projections=False) as context:
        await context.projections.operator.record("rebuild", "box", actor="ann", details={"events": 7})
        (only,) = await context.projections.operator.operations()
        assert (only.operation, only.target, only.details) == ("rebuild", "box", {"events": 7})
        if not isinstance(where, str):
            return
        table = "refold_operations" if where.startswith("sqlite") else "refold.operations"
        for statement in (f"update {table} set actor = 'eve'", f"delete from {table}"):
            with pytest.raises(Exception, match=r"never changed|permission denied"):
                async with context.transaction() as unit:
                    await unit.execute(statement)
        assert await context.projections.operator.operations() == [only]


async def test_an_inline_one_is_not_paused(where: str | EventStore) -> None:
    async with boxes.connect(where, projections=False) as context:
        inline = msgspec.structs.replace(read_model_of(Count), inline=True)
        with pytest.raises(ConfigurationError, match="inline"):
            await context.projections.operator.pause(inline, actor="ann", reason="")


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_a_database_of_before_there_was_parking(kind: str, request: pytest.FixtureRequest, tmp_path: Any) -> None:
    """Its read models go on after `refold migrate`, from where they are."""
    url = place(kind, request, tmp_path)
    assert isinstance(url, str)
    async with boxes.connect(url, lease=1.0) as context:
        await context.get(Box, "a", after=await context.append("box-a", [Put(what="1")]), timeout=20)
    tables = ("parked", "skipped", "attempts", "pauses", "operations")
    if kind == "sqlite":
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            for table in tables:
                connection.execute(f"drop table refold_{table}")
            connection.execute("pragma user_version = 1")
            connection.commit()
    else:
        dropped = ", ".join(f"refold.{table}" for table in tables)
        run_sql(
            url,
            f"drop table {dropped}",
            "drop function refold.refuse_operations_change",
            "delete from refold.schema_version where version = 3",
        )
    with pytest.raises(SchemaMismatch, match="refold migrate"):
        async with boxes.connect(url):
            raise AssertionError("it was opened")
    await migrate(url)
    BAD.add("bad")
    async with boxes.connect(url, lease=1.0) as context:
        await context.append("box-a", [Put(what="2"), Put(what="bad")])
        await _parked(context)
        assert await _things(context, "a") == ["1", "2"]


async def test_verify_knows_what_is_parked_and_skipped(where: str | EventStore) -> None:
    BAD.update(["bad", "worse"])
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="1"), Put(what="bad"), Put(what="2")])
        last = await context.append("box-b", [Put(what="3"), Put(what="worse"), Put(what="4")])
        await _parked(context, 2)
        assert (await _ask(context, "b", "skip", "it is wrong")).details["done"]
        await context.get(Count, "b", after=last, timeout=20)
        checkpoint = await context.projections.sink.checkpoint("box")
        sink, definition = context.projections.sink, read_model_of(Box)

        async def checked() -> Any:
            comparing = ReadModelVerification(context.store, sink, context.types, None, [], Pace(), lambda *_: None)
            return await comparing.check(definition)

        check = await checked()
        assert check.looked_at == 2
        assert check.findings == []
        # And a row that is wrong beside is found.
        assert checkpoint is not None
        wrong = Box(id="a", things=["1", "2"])
        owned = await sink.claim("box", "somebody", 10.0, force=True)
        assert owned is not None
        move = Move(owned.position, owned.position, owned.append_id, owned.epoch)
        assert await sink.write(definition, "box", [wrong], [], move)
        await sink.release("box", owned.epoch)
        assert [finding.where for finding in (await checked()).findings] == ["row id=a"]


async def test_what_an_older_release_parks_is_parked_in_its_own_rows(where: str | EventStore) -> None:
    """Two releases run beside: each has its version of the rows, and its own failures."""

    class Newer(ReadModel, key="id", name="box", on_error="park"):
        id: str
        number: int = 0

        @evolve
        def put(self, event: Put) -> None:
            self.number += 1

    newer = App("boxes", read_models=[Newer, Count])
    async with boxes.connect(where, lease=1.0) as context:
        await context.get(Box, "a", after=await context.append("box-a", [Put(what="1")]), timeout=20)
    async with newer.connect(where, projections=False) as context:
        await context.rebuild(Newer)
    BAD.add("bad")
    async with boxes.connect(where, lease=1.0) as context:
        await context.append("box-a", [Put(what="bad")])
        last = await context.append("box-b", [Put(what="3")])
        row = await context.get(Box, "b", after=last, timeout=20)
        assert row is not None
        assert row.things == ["3"]
        (parked,) = await context.projections.sink.records.parked()
        assert (parked.name, parked.position) == ("box__previous", 2)
        with pytest.raises(StaleRead, match="is parked at position 2"):
            await context.get(Box, "a", after=last, timeout=5)
        assert await context.projections.pause(Box, actor="ann")
        local = context.projections.local("box")
        assert local is not None
        await until(lambda: asyncio.sleep(0, local.status == "paused"), "it to pause")
        assert await context.projections.resume(Box, actor="ann")
        await context.get(Box, "b", after=await context.append("box-b", [Put(what="4")]), timeout=20)
