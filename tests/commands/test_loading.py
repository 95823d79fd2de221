"""Loading folds what was recorded, now or as it was; a snapshot is a head start that is never trusted over events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from refold import Aggregate, App, Command, Event, decide, evolve
from refold.app import Context
from refold.errors import ConfigurationError, InvalidQuery
from refold.folds.aggregate import definition_of
from refold.store.event_store import EventStore, Snapshot
from refold.testing.memory import MemoryStore
from tests.domain import Account, DepositMoney, MoneyDeposited, OpenAccount


class Count(Command):
    counter_id: str
    by: int = 1


class Counted(Event):
    by: int


class Counter(Aggregate, stream="counter", id="counter_id", snapshot_every=10):
    total: int = 0
    events: int = 0

    @decide
    def count(self, command: Count) -> Counted:
        return Counted(by=command.by)

    @evolve
    def counted(self, event: Counted) -> None:
        self.total += event.by
        self.events += 1


counters = App("counters", aggregates=[Counter])
STREAM = "counter-1"


async def count(context: Context, times: int) -> None:
    for _ in range(times):
        await context.execute(Count(counter_id="1"))
    await context._commands.snapshots.settled()


async def test_a_stream_without_events_is_the_initial_state(context: Context):
    assert await context.load(Account, "nobody") == Account()


async def test_what_was_at_a_version_a_position_and_a_moment(context: Context):
    await context.execute(OpenAccount(account_id="42", owner="alice"))
    await context.execute(OpenAccount(account_id="43", owner="bob"))
    first = await context.execute(DepositMoney(account_id="42", amount=Decimal(100)))
    second = await context.execute(DepositMoney(account_id="42", amount=Decimal(50)))

    assert (await context.load(Account, "42", at_version=1)).balance == 0
    assert (await context.load(Account, "42", at_version=2)).balance == 100
    assert (await context.load(Account, "42", at_version=99)).balance == 150
    assert (await context.load(Account, "42", at_position=2)).balance == 0
    assert (await context.load(Account, "42", at_position=first.position)).balance == 100
    assert (await context.load(Account, "42", as_of=second.timestamp)).balance == 150
    assert (await context.load(Account, "42", as_of=datetime(2000, 1, 1, tzinfo=UTC))) == Account()


async def test_recorded_and_occurred_time_are_told_apart(context: Context):
    day = datetime(1994, 1, 15, tzinfo=UTC)
    # Recorded in another order than they happened, as imports do.
    for days, amount in ((3, 1), (0, 10), (1, 100)):
        await context.append(
            "account-42", [MoneyDeposited(amount=Decimal(amount))], occurred_at=day + timedelta(days=days)
        )
    assert (await context.load(Account, "42", as_of=day, time="occurred")).balance == 10
    assert (await context.load(Account, "42", as_of=day + timedelta(days=2), time="occurred")).balance == 110
    assert (await context.load(Account, "42", as_of=day + timedelta(days=9))).balance == 0


async def test_a_point_in_time_that_is_none_is_refused(context: Context):
    with pytest.raises(InvalidQuery, match="no time zone"):
        await context.load(Account, "42", as_of=datetime(2026, 1, 15))
    with pytest.raises(InvalidQuery, match="must be 0 or more"):
        await context.load(Account, "42", at_version=-1)
    with pytest.raises(InvalidQuery, match="'recorded' or 'occurred'"):
        await context.load(Account, "42", as_of=datetime(2026, 1, 15, tzinfo=UTC), time="never")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not an aggregate of app"):
        await context.load(Counter, "1")


async def test_snapshots_are_taken_every_n_events_and_used(where: str | EventStore):
    async with counters.connect(where, projections=False) as context:
        await count(context, 25)
        snapshot = await context.store.load_snapshot(STREAM)
        assert snapshot is not None
        assert (snapshot.version, snapshot.position) == (20, 20)

        # To see that it is used, it says something that the events do not.
        forged = msgspec.json.encode({"total": 1000, "events": 20})
        await context.store.drop_snapshot(STREAM)
        await context.store.save_snapshot(msgspec.structs.replace(snapshot, data=forged))
        assert (await context.load(Counter, "1")).total == 1005
        assert (await context.load(Counter, "1", at_version=22)).total == 1002
        assert (await context.load(Counter, "1", at_version=19)).total == 19
        assert (await context.load(Counter, "1", at_position=20)).total == 1000


def _of_another_definition(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, fingerprint="another", data=b'{"total":1000}')


def _broken(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, data=b'{"total":')


def _of_the_wrong_type(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, data=b'{"total":"many"}')


def _ahead_of_the_log(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, version=1000, position=1000, data=b'{"total":1000}')


def _of_another_history(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, append_id=bytes(16), data=b'{"total":1000}')


@pytest.mark.parametrize(
    "damage", [_of_another_definition, _broken, _of_the_wrong_type, _ahead_of_the_log, _of_another_history]
)
async def test_a_snapshot_that_does_not_fit_is_ignored_and_healed(
    damage: Callable[[Snapshot], Snapshot], where: str | EventStore
):
    async with counters.connect(where, projections=False) as context:
        await count(context, 25)
        snapshot = await context.store.load_snapshot(STREAM)
        assert snapshot is not None
        await context.store.drop_snapshot(STREAM)
        await context.store.save_snapshot(damage(snapshot))
        assert await context.load(Counter, "1") == Counter(total=25, events=25)

    async with counters.connect(where, projections=False) as context:  # another process, with no state in memory
        await count(context, 6)
        assert await context.load(Counter, "1") == Counter(total=31, events=31)
        healed = await context.store.load_snapshot(STREAM)
        assert healed is not None
        assert healed.version >= 30
        assert healed.fingerprint == definition_of(Counter).fingerprint
        assert msgspec.json.decode(healed.data)["total"] == healed.version


async def test_a_missing_snapshot_is_taken_as_soon_as_the_stream_is_used(where: str | EventStore):
    async with counters.connect(where, projections=False) as context:
        await count(context, 25)
        await context.store.drop_snapshot(STREAM)
    async with counters.connect(where, projections=False) as context:
        await count(context, 1)
        snapshot = await context.store.load_snapshot(STREAM)
        assert snapshot is not None
        assert snapshot.version == 25


class Measure(Command):
    gauge_id: str
    value: float


class Measured(Event):
    value: float


class Gauge(Aggregate, stream="gauge", id="gauge_id", snapshot_every=1):
    lowest: float | None = float("inf")
    spoilt: Any = None

    @decide
    def measure(self, command: Measure) -> Measured:
        return Measured(value=command.value)

    @evolve
    def measured(self, event: Measured) -> None:
        if event.value < 0:
            self.spoilt = object()
        elif event.value < 100 and self.lowest is not None:
            self.lowest = min(self.lowest, event.value)


async def test_a_state_that_json_cannot_keep_has_no_snapshot_and_its_command_is_done():
    async with App("gauges", aggregates=[Gauge]).connect(MemoryStore()) as gauges:
        assert (await gauges.execute(Measure(gauge_id="1", value=1000.0))).version == 1
        assert (await gauges.load(Gauge, "1")).lowest == float("inf")
        assert (await gauges.execute(Measure(gauge_id="1", value=5.0))).version == 2
        await gauges._commands.snapshots.settled()
        assert [snapshot.version for snapshot in await gauges.store.snapshots()] == [2]
        assert (await gauges.execute(Measure(gauge_id="1", value=-1.0))).version == 3
        assert (await gauges.execute(Measure(gauge_id="1", value=4.0))).version == 4
