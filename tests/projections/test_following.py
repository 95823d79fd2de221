"""A projection keeps its read model equal to the fold of the log, stops loudly, and never skips."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refold import App, Event, ReadModel, StaleRead, evolve
from refold.errors import ProjectionStopped
from refold.folds.engine import RowFold
from refold.projections.projection import Projection
from refold.projections.sink import building
from refold.store.append import ANY, Append, StreamAppend
from refold.testing.memory import MemoryStore
from tests.domain import (
    AccountSummary,
    DepositMoney,
    Movements,
    OpenAccount,
    bank,
    inline_bank,
)
from tests.faults.checking import log_of


class Noted(Event):
    number: int


class Ignored(Event):
    pass


class Notes(ReadModel, key="note_id"):
    note_id: str
    total: int = 0

    @evolve
    def noted(self, event: Noted) -> None:
        if event.number < 0:
            raise ValueError(f"{event.number} is poison")
        self.total += event.number


class Calm(ReadModel, key="note_id"):
    note_id: str
    seen: int = 0

    @evolve
    def noted(self, event: Noted) -> None:
        self.seen += 1


notes = App("notes", read_models=[Notes, Calm], events=[Ignored])


async def stopped(context: Any, name: str) -> Projection:
    projection = context.projections.local(name)
    assert projection is not None
    async with asyncio.timeout(30):
        while projection.status != "stopped":
            await asyncio.sleep(0.01)
    found: Projection = projection
    return found


async def test_a_poisoned_event_stops_its_projection_right_before_it_and_no_other(place: Any):
    async with notes.connect(place) as context:
        await context.append("note-1", [Noted(number=1), Noted(number=2)])
        poison = await context.append("note-2", [Noted(number=-1)])
        last = await context.append("note-1", [Noted(number=4)])
        projection = await stopped(context, "notes")
        assert "-1 is poison" in projection.error
        assert f"at position {poison.last}: 'Noted' of stream 'note-2'" in projection.error
        checkpoint = await context.projections.sink.checkpoint("notes")
        assert checkpoint is not None
        assert (checkpoint.position, checkpoint.status) == (2, "stopped")
        assert "-1 is poison" in checkpoint.error
        assert (await context.get(Notes, "1")).total == 3
        assert (await context.get(Calm, "1", after=last)).seen == 3
        # Waiting says at once why it cannot end, rather than at the time-out.
        async with asyncio.timeout(5):
            with pytest.raises(StaleRead, match="-1 is poison"):
                await context.get(Notes, "1", after=last, timeout=60)


async def test_an_event_that_no_class_knows_stops_it_right_before_it(place: Any):
    class Stranger(Event):
        pass

    other = App("other", events=[Stranger])
    async with other.connect(place, projections=False) as context:
        await context.append("note-0", [Stranger()])
    async with notes.connect(place) as context:
        projection = await stopped(context, "notes")
        assert "'Stranger' (position 1, stream 'note-0')" in projection.error
        assert (await context.projections.sink.checkpoint("notes")).position == 0
    async with App("both", read_models=[Notes, Calm], events=[Stranger]).connect(place) as context:
        receipt = await context.append("note-1", [Noted(number=1)])
        assert (await context.get(Notes, "1", after=receipt)).total == 1


async def test_many_events_that_match_no_handler_move_the_checkpoint(place: Any):
    count = 20_000
    async with notes.connect(place) as context:
        new = context.types.prepare(Ignored())[0]
        for turn in range(count // 5_000):
            await context.store.append(Append((StreamAppend(f"ignored-{turn}", ANY, (new,) * 5_000),)))
        assert await context.get(Notes, "1", after=count, timeout=30) is None
        assert (await context.projections.sink.checkpoint("notes")).position == count


async def test_a_changed_definition_is_refused_until_it_is_rebuilt(place: Any):
    async with notes.connect(place) as context:
        receipt = await context.append("note-1", [Noted(number=1)])
        assert (await context.get(Notes, "1", after=receipt)).total == 1

    class Changed(ReadModel, key="note_id", name="notes"):
        note_id: str
        total: int = 0
        doubled: int = 0

        @evolve
        def noted(self, event: Noted) -> None:
            self.total += event.number
            self.doubled += 2 * event.number

    async with App("notes", read_models=[Changed], events=[Ignored]).connect(place) as context:
        receipt = await context.append("note-1", [Noted(number=5)])
        with pytest.raises(ProjectionStopped, match="refold rebuild notes"):
            await context.get(Changed, "1")
        with pytest.raises(ProjectionStopped, match="refold rebuild notes"):
            await context.find(Changed)
        assert (await context.projections.sink.checkpoint("notes")).position == 1  # not half old, half new
        await context.rebuild(Changed)
        row = await context.get(Changed, "1", after=receipt, timeout=15)
        assert (row.total, row.doubled) == (6, 12)


@pytest.mark.parametrize("change", [{"position": 1000}, {"append_id": "00" * 16}])
async def test_a_checkpoint_that_the_log_does_not_bear_out_is_refused(place: Any, change: dict[str, Any]):
    async with notes.connect(place) as context:
        receipt = await context.append("note-1", [Noted(number=1)])
        await context.get(Notes, "1", after=receipt)
    async with notes.connect(place, projections=False) as context:
        await tamper(context, change)
    async with notes.connect(place) as context:
        projection = await stopped(context, "notes")
        assert "refold rebuild notes" in projection.error
        await context.append("note-1", [Noted(number=2)])
        assert (await context.get(Notes, "1")).total == 1
        await context.rebuild(Notes)
        assert (await context.get(Notes, "1", after=2, timeout=15)).total == 3


async def tamper(context: Any, change: dict[str, Any]) -> None:
    """What a restored backup of the log leaves behind: a checkpoint of another history."""
    name, value = next(iter(change.items()))
    store = context.store
    if isinstance(store, MemoryStore):
        sink = context.projections.sink
        sink._checkpoints["notes"] = msgspec.structs.replace(sink._checkpoints["notes"], **change)
        return
    table = "refold.checkpoints" if hasattr(store, "schema") else "refold_checkpoints"
    async with context.transaction() as unit:
        await unit.execute(f"update {table} set {name} = '{value}' where name = 'notes'")


@pytest.mark.postgres
async def test_two_contexts_share_by_lease_and_the_second_takes_over(postgres18: Any):
    url = postgres18.create_database(f"lease_{uuid4().hex}")
    async with notes.connect(url, lease=1.0) as first:
        receipt = await first.append("note-1", [Noted(number=1)])
        await first.get(Notes, "1", after=receipt)
        async with notes.connect(url, lease=1.0) as second:
            receipt = await second.append("note-1", [Noted(number=1)])
            assert (await second.get(Notes, "1", after=receipt)).total == 2  # waits for the other's checkpoint
            assert not second.projections.local("notes").owns
            await first.projections.stop()
            receipt = await second.append("note-1", [Noted(number=1)])
            assert (await second.get(Notes, "1", after=receipt, timeout=15)).total == 3
            assert second.projections.local("notes").owns


async def test_rebuild_while_events_keep_coming(place: Any):
    async with bank.connect(place) as context:
        await context.execute_many(DepositMoney(account_id=str(n % 7), amount=Decimal(n)) for n in range(200))
        done = asyncio.Event()

        async def keep_depositing() -> None:
            while not done.is_set():
                await context.execute(DepositMoney(account_id="1", amount=Decimal(1)))

        depositing = asyncio.create_task(keep_depositing())
        seen: list[Any] = []
        for _ in range(3):
            await context.rebuild(AccountSummary, progress=seen.append)
            assert await context.get(AccountSummary, "1") is not None  # never empty
        done.set()
        await depositing
        assert seen
        assert all(0 <= each.done <= each.total for each in seen)
        await equals_the_fold(context)
        assert await context.projections.sink.checkpoint(building("account_summary")) is None


async def equals_the_fold(context: Any) -> None:
    log = await log_of(context.store)
    for cls, definition in context.app.read_models.items():
        rows: dict[Any, Any] = {}
        RowFold(definition).fold(rows, [context.types.decode(event) for event in log])
        found = await context.find(cls, after=len(log), timeout=30)
        assert {definition.key_of(row): row for row in found} == {k: row for k, row in rows.items() if row is not None}


async def test_two_rebuilds_at_once_do_not_mix(place: Any):
    async with bank.connect(place) as context:
        await context.execute_many(DepositMoney(account_id=str(n % 7), amount=Decimal(n)) for n in range(500))
        outcomes = await asyncio.gather(*(context.rebuild(AccountSummary) for _ in range(3)), return_exceptions=True)
        assert any(isinstance(outcome, int) for outcome in outcomes)
        assert all(isinstance(outcome, (int, ProjectionStopped)) for outcome in outcomes), outcomes
        await equals_the_fold(context)


async def test_an_inline_read_model_is_there_with_the_receipt(place: Any):
    async with inline_bank.connect(place, projections=False) as context:
        for number in range(5):
            await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
            assert (await context.get(Movements, "42")).count == number + 1
        await asyncio.gather(*(context.execute(DepositMoney(account_id=str(n), amount=Decimal(1))) for n in range(20)))
        assert await context.count(Movements) == 21


async def test_an_inline_read_model_that_is_new_catches_up_first(place: Any):
    async with bank.connect(place, projections=False) as context:
        await context.execute_many(DepositMoney(account_id="42", amount=Decimal(1)) for _ in range(50))
    async with inline_bank.connect(place, projections=False) as context:
        assert (await context.get(Movements, "42")).count == 50
        await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
        assert (await context.get(Movements, "42")).count == 51
    async with bank.connect(place, projections=False) as context:  # a process that does not know it
        await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
    async with inline_bank.connect(place, projections=False) as context:
        await context.rebuild(Movements)
        await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
        assert (await context.get(Movements, "42")).count == 53


@pytest.mark.postgres
async def test_an_inline_read_model_heals_what_another_process_left_out(postgres18: Any):
    url = postgres18.create_database(f"inline_{uuid4().hex}")
    async with inline_bank.connect(url, projections=False) as knows, bank.connect(url, projections=False) as old:
        for _ in range(3):
            await knows.execute(DepositMoney(account_id="42", amount=Decimal(1)))
            await old.execute(DepositMoney(account_id="42", amount=Decimal(1)))
        await knows.execute(OpenAccount(account_id="42", owner="alice"))
        assert (await knows.get(Movements, "42")).count == 6


async def test_an_inline_fold_that_fails_stores_nothing_of_its_own_append(place: Any):
    class Strict(ReadModel, key="note_id", inline=True):
        note_id: str
        total: int = 0

        @evolve
        def noted(self, event: Noted) -> None:
            if event.number < 0:
                raise ValueError("poison")
            self.total += event.number

    async with App("strict", read_models=[Strict]).connect(place, projections=False) as context:
        outcomes = await asyncio.gather(
            *(context.append(f"note-{n}", [Noted(number=-1 if n == 3 else n)]) for n in range(8)),
            return_exceptions=True,
        )
        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [3]
        assert (await context.store.head()).position == 7
        assert sum(row.total for row in await context.find(Strict)) == 25
        async with context.transaction() as unit:
            unit.append("note-9", [Noted(number=9)])
        assert (await context.get(Strict, "9")).total == 9


OPERATIONS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 4)), max_size=30)


@given(operations=OPERATIONS, stop_at=st.integers(0, 30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rows_are_the_fold_however_the_pages_fall(operations: list[tuple[str, int, int]], stop_at: int):
    async def run() -> None:
        store = MemoryStore()
        for part in (operations[:stop_at], operations[stop_at:]):
            async with notes.connect(store) as context:
                for stream, number, times in part:
                    await context.append(f"note-{stream}", [Noted(number=number)] * times)
                await equals_the_fold(context)

    asyncio.run(run())
