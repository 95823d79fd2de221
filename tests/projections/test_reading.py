"""Reading a read model: as it is, not older than a receipt, with no lag at all; filtered, sorted, in pages."""

from __future__ import annotations

import asyncio
import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
import pytest

from refold import App, Deleted, Event, ReadModel, Recorded, StaleRead, evolve, field
from refold.errors import ConfigurationError, InvalidQuery
from refold.testing.memory import MemoryStore
from tests.domain import AccountSummary, CloseAccount, DepositMoney, DepositsPerDay, OpenAccount, bank


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Where a context connects to: a store in memory, or the URL of an empty database. It may be connected to again."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bank.db"
    return request.getfixturevalue("postgres18").create_database(f"reading_{uuid4().hex}")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(msgspec.Struct):
    street: str
    number: int = 1


class Everything(msgspec.Struct):
    text: str = ""
    whole: int = 0
    yes: bool = False
    real: float = 0.0
    exact: Decimal = Decimal(0)
    moment: datetime | None = None
    day: date | None = None
    uuid: UUID | None = None
    raw: bytes = b""
    colour: Colour = Colour.RED
    kind: Literal["a", "b"] = "a"
    tags: list[str] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    address: Address | None = None
    maybe: int | None = None


class Set(Event):
    values: Everything


class Removed(Event):
    pass


class Thing(ReadModel, key="thing_id"):
    thing_id: str
    text: str = ""
    whole: int = 0
    yes: bool = False
    real: float = 0.0
    exact: Decimal = Decimal(0)
    moment: datetime | None = None
    day: date | None = None
    uuid: UUID | None = None
    raw: bytes = b""
    colour: Colour = Colour.RED
    kind: Literal["a", "b"] = "a"
    tags: list[str] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    address: Address | None = None
    maybe: int | None = None

    @evolve
    def was_set(self, event: Set) -> None:
        for name in event.values.__struct_fields__:
            setattr(self, name, getattr(event.values, name))

    @evolve
    def removed(self, event: Removed) -> object:
        return Deleted


things = App("things", read_models=[Thing])
FULL = Everything(
    text="žluťoučký 'kůň' \"🐎\" \\ %_",
    whole=2**62,
    yes=True,
    real=0.1,
    exact=Decimal("12345678901234567890.1200"),
    moment=datetime(2026, 1, 15, 12, 30, 15, 123457, tzinfo=UTC),
    day=date(2026, 2, 28),
    uuid=UUID(int=7),
    raw=bytes(range(256)),
    colour=Colour.BLUE,
    kind="b",
    tags=["x", "y'z"],
    counts={"a": 1},
    address=Address("high street", 7),
    maybe=-1,
)


async def test_values_of_every_type_come_back_as_they_were(place: Any):
    async with things.connect(place) as context:
        for key, values in (("full", FULL), ("empty", Everything())):
            receipt = await context.append(f"thing-{key}", [Set(values=values)])
            row = await context.get(Thing, key, after=receipt)
            assert row is not None
            for name in values.__struct_fields__:
                assert getattr(row, name) == getattr(values, name), name
            assert str(row.exact) == str(values.exact)
            assert (await context.find(Thing, thing_id=key)) == [row]


async def test_each_kind_of_field_can_be_compared(place: Any):
    async with things.connect(place) as context:
        await context.append("thing-full", [Set(values=FULL)])
        receipt = await context.append("thing-empty", [Set(values=Everything())])
        conditions = [
            field("text") == FULL.text,
            field("text").starts_with("žluť"),
            field("text").contains("%_"),
            field("whole") > 2**61,
            field("yes") == True,  # noqa: E712  # a condition
            field("real") >= 0.1,
            field("exact") > Decimal(9),
            field("exact").in_([Decimal("12345678901234567890.12")]),
            field("moment") == datetime(2026, 1, 15, 13, 30, 15, 123457, tzinfo=timezone(timedelta(hours=1))),
            field("moment") < datetime(2027, 1, 1, tzinfo=UTC),
            field("day") >= date(2026, 2, 28),
            field("uuid") == UUID(int=7),
            field("raw") == bytes(range(256)),
            field("colour") == Colour.BLUE,
            field("kind") != "a",
            field("maybe") < 0,
            field("maybe") != None,  # noqa: E711  # a condition
            ~(field("maybe") == None),  # noqa: E711  # a condition
            ~(field("whole") == 0) & (field("text") != ""),
            (field("whole") == 7) | (field("whole") == 2**62),
        ]
        for condition in conditions:
            for fresh in (False, True):
                rows = await context.find(Thing, condition, after=receipt, fresh=fresh)
                assert [row.thing_id for row in rows] == ["full"], condition
        assert [row.thing_id for row in await context.find(Thing, ~(field("maybe") > 0))] == ["empty", "full"]


async def test_order_and_pages(place: Any):
    async with things.connect(place) as context:
        for number in range(12):
            exact = Decimal(number) / 2 if number != 5 else Decimal(10)
            values = Everything(exact=exact, whole=number % 3, maybe=None if number % 4 == 0 else number)
            receipt = await context.append(f"thing-{number:02}", [Set(values=values)])
        for fresh in (False, True):

            async def ids(order: Any, limit: int | None = None, offset: int = 0, fresh: bool = fresh) -> list[int]:
                found = await context.find(
                    Thing, order_by=order, limit=limit, offset=offset, after=receipt, fresh=fresh
                )
                return [int(row.thing_id) for row in found]

            assert await ids("-exact", 3) == [5, 11, 10]  # as numbers: 10 before 9 only as text
            assert await ids(("whole", "-exact"), 4) == [9, 6, 3, 0]
            assert await ids(("whole", "-exact"), 4, 4) == [10, 7, 4, 1]
            assert (await ids("maybe"))[-3:] == [0, 4, 8]
            assert (await ids("-maybe"))[-3:] == [0, 4, 8]
            assert await ids(()) == list(range(12))
            assert await ids((), 0) == []
            assert await ids((), 5, 100) == []
        assert await context.count(Thing) == 12
        assert await context.count(Thing, field("exact") >= 4) == 5
        assert await context.count(Thing, whole=1) == 4


@pytest.mark.parametrize(
    "ask",
    [
        lambda context: context.find(AccountSummary, field("colour") == 1),
        lambda context: context.find(AccountSummary, colour=1),
        lambda context: context.find(AccountSummary, order_by="colour"),
        lambda context: context.find(AccountSummary, field("balance") > "much"),
        lambda context: context.find(AccountSummary, field("movements").starts_with("1")),
        lambda context: context.find(AccountSummary, limit=-1),
        lambda context: context.find(AccountSummary, offset=-1),
        lambda context: context.find(AccountSummary, "balance > 1"),
        lambda context: context.find(AccountSummary, order_by=5),
        lambda context: context.find(AccountSummary, order_by=(5,)),
        lambda context: context.find(AccountSummary, reduce(or_, (field("movements") == n for n in range(3000)))),
        lambda context: context.get(AccountSummary, "42", after="1"),
        lambda context: context.get(AccountSummary, "42", after=-1),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(ask: Any):
    async with bank.connect("sqlite:///:memory:") as context:
        with pytest.raises(InvalidQuery):
            await ask(context)


async def test_another_apps_read_model_is_refused():
    async with bank.connect("sqlite:///:memory:") as context:
        with pytest.raises(ConfigurationError, match="not a read model of app 'bank'"):
            await context.get(Thing, "1")


async def test_a_fresh_read_has_no_lag_and_needs_no_worker(place: Any):
    async with bank.connect(place, projections=False) as context:
        await context.execute(OpenAccount(account_id="42", owner="alice"))
        await context.execute(DepositMoney(account_id="42", amount=Decimal(5)))
        await context.execute(OpenAccount(account_id="43", owner="bob"))
        assert await context.get(AccountSummary, "42") is None
        row = await context.get(AccountSummary, "42", fresh=True)
        assert row == AccountSummary(account_id="42", owner="alice", balance=Decimal(5), movements=1)
        assert [each.account_id for each in await context.find(AccountSummary, order_by="-balance", fresh=True)] == [
            "42",
            "43",
        ]
    async with bank.connect(place) as context:  # written now
        await context.get(AccountSummary, "42", after=(await context.store.head()).position)
    async with bank.connect(place, projections=False) as context:
        await context.execute(DepositMoney(account_id="43", amount=Decimal(50)))
        await context.execute(CloseAccount(account_id="42"))
        assert await context.get(AccountSummary, "42") is not None
        assert await context.get(AccountSummary, "42", fresh=True) is None
        rich = await context.find(AccountSummary, field("balance") > 10, fresh=True)
        assert [each.account_id for each in rich] == ["43"]  # entered the filter
        assert await context.find(AccountSummary, field("balance") < 10, fresh=True) == []  # left it, or was removed


async def test_waiting_for_a_receipt(place: Any):
    async with bank.connect(place) as context:
        for number in range(20):
            receipt = await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
            row = await context.get(AccountSummary, "42", after=receipt)
            assert row is not None
            assert row.movements == number + 1


async def test_waiting_for_events_that_no_handler_sees(place: Any):
    async with bank.connect(place) as context:
        receipt = await context.execute(OpenAccount(account_id="42", owner="alice"))
        assert await context.get(DepositsPerDay, date(2026, 1, 1), after=receipt) is None


async def test_without_a_worker_waiting_ends_in_words(place: Any):
    async with bank.connect(place, projections=False) as context:
        receipt = await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
        with pytest.raises(StaleRead, match="at position 0, not yet at 1") as stale:
            await context.get(AccountSummary, "42", after=receipt, timeout=0.05)
        assert (stale.value.wanted, stale.value.reached) == (1, 0)


async def test_several_keys_for_one_event_and_none():
    class Moved(Event):
        source: str
        target: str
        silent: bool = False

    class Stock(ReadModel, key="place"):
        place: str
        moves: int = 0

        @evolve(key=lambda event: None if event.silent else [event.source, event.target])
        def moved(self, event: Moved) -> None:
            self.moves += 1

    class Pairs(ReadModel, key=("source", "target")):
        source: str
        target: str
        positions: list[int] = msgspec.field(default_factory=list)

        @evolve(key=lambda event, recorded: (event.source, event.target))
        def moved(self, event: Moved, recorded: Recorded[Moved]) -> None:
            self.positions.append(recorded.position)

    app = App("stock", read_models=[Stock, Pairs])
    async with app.connect("sqlite:///:memory:") as context:
        await context.append("move-1", [Moved(source="a", target="b"), Moved(source="b", target="c")])
        receipt = await context.append("move-1", [Moved(source="a", target="b", silent=True)])
        for fresh in (False, True):
            rows = await context.find(Stock, after=receipt, fresh=fresh)
            assert {row.place: row.moves for row in rows} == {"a": 1, "b": 2, "c": 1}
            assert (await context.get(Pairs, ("a", "b"), after=receipt, fresh=fresh)).positions == [1, 3]


async def test_a_subscription_gives_each_event_once_and_in_order(place: Any):
    async with bank.connect(place, projections=False) as context:
        seen: list[int] = []
        await context.execute_many(DepositMoney(account_id="x", amount=Decimal(1)) for _ in range(5))

        async def follow() -> None:
            async for recorded in context.subscribe(after=2):
                seen.append(recorded.position)
                if recorded.position == 300:
                    return

        following = asyncio.create_task(follow())
        for _ in range(30):
            await context.execute_many(DepositMoney(account_id=str(n), amount=Decimal(1)) for n in range(10))
        await asyncio.wait_for(following, 30)
        assert seen == list(range(3, 301))
        some = [recorded.position async for recorded in context.events(after=290, categories=["account"])]
        assert some == list(range(291, 306))
