"""Rows that are documents: what is nested stays as it is, can be asked for, and moves with the checkpoint."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from refold import faults
from refold.app import App, Context
from refold.errors import ConfigurationError, DefinitionError, InvalidQuery
from refold.folds.dispatch import evolve
from refold.folds.read_model import Deleted, ReadModel, read_model_of
from refold.messages.event import Event
from refold.operations.verify import Report, verify
from refold.projections.checkpoint import Move
from refold.projections.columns import column_kinds
from refold.projections.conditions import Condition, field
from refold.projections.sinks.postgres import PostgresSink
from refold.store.event_store import EventStore
from refold.store.postgres import open_postgres
from tests.projections.stores import STORES, assert_equals_fold
from tests.servers import PostgresServer


class City(msgspec.Struct, rename={"name": "cityName"}):
    name: str
    founded: date | None = None


class Address(msgspec.Struct):
    street: str
    city: City


class Line(msgspec.Struct):
    article: str
    price: Decimal
    packed: bool = False


class Ordered(Event, name="DocumentOrdered"):
    address: Address | None
    lines: list[Line]
    at: datetime
    labels: dict[str, int]


class Packed(Event, name="DocumentPacked"):
    number: int


class Cancelled(Event, name="DocumentCancelled"):
    pass


class OrderView(ReadModel, key="order_id", documents=True):
    order_id: str
    address: Address | None = None
    lines: list[Line] = []  # msgspec copies it
    total: Decimal = Decimal(0)
    last: Line | None = None
    first_at: datetime | None = None
    labels: dict[str, int] = {}  # msgspec copies it
    seal: bytes = b""

    @evolve
    def ordered(self, event: Ordered) -> None:
        self.address, self.first_at, self.labels = event.address, event.at, event.labels
        self.lines += event.lines
        self.total += sum((line.price for line in event.lines), Decimal(0))
        self.last, self.seal = self.lines[-1], self.lines[-1].article.encode()

    @evolve
    def packed(self, event: Packed) -> None:
        self.lines[event.number].packed = True

    @evolve
    def cancelled(self, event: Cancelled) -> Any:
        return Deleted


class InlineView(OrderView, key="order_id", inline=True, documents=True):
    @evolve
    def ordered(self, event: Ordered) -> None:
        self.lines += event.lines


class ColumnsView(OrderView, key="order_id", name="order_view"):
    @evolve
    def packed(self, event: Packed) -> None:
        self.lines[event.number].packed = True


EVENTS: list[type[Event]] = [Ordered, Packed, Cancelled]
app = App("orders", read_models=[OrderView, InlineView], events=EVENTS)
before = App("orders", read_models=[ColumnsView], events=EVENTS)
WIEN, BERN = City("Wien \"'\\ %", date(1, 1, 1)), City("Bern", date(1191, 1, 1))
AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))


async def place_orders(context: Context) -> int:
    """Five orders: to Wien, to Bern twice, to nowhere, and one that is cancelled."""
    for number, (city, prices) in enumerate(
        [(WIEN, ["1.10", "2.20"]), (BERN, ["100.00"]), (BERN, ["9.5"]), (None, ["0.3"]), (WIEN, ["1"])], start=1
    ):
        await context.append(
            f"order-{number}",
            [
                Ordered(
                    address=None if city is None else Address("High Street", city),
                    lines=[Line(f"a{at}", Decimal(price)) for at, price in enumerate(prices)],
                    at=AT + timedelta(days=number),
                    labels={"weight": number, "two words": 7} if number % 2 else {},
                ),
                Packed(number=0),
            ],
        )
    return (await context.append("order-5", [Cancelled()])).last


async def verified(context: Context) -> Report:
    return await verify(context.store, context.projections.sink, context.app)


@pytest.fixture
async def orders(where: str | EventStore) -> AsyncIterator[Context]:
    """The five orders, seen by their views."""
    async with app.connect(where, lease=1.0) as context:
        await context.count(OrderView, after=await place_orders(context))
        yield context


CONDITIONS: list[tuple[Condition, str]] = [
    (field("address.city.name") == "Bern", "23"),
    (field("address.city.name") == WIEN.name, "1"),
    (field("address.city.name") > "C", "1"),
    (field("address.city.name").starts_with("Be"), "23"),
    (field("address.city.name").is_none(), "4"),
    (~(field("address.city.name") == "Bern"), "14"),
    (field("address.city.founded") < date(1000, 1, 1), "1"),
    (field("address").is_none(), "4"),
    (field("address") == Address("High Street", BERN), "23"),
    (field("last.price") > Decimal("9.49"), "23"),
    (field("last.price") == Decimal("100.0"), "2"),
    (field("last.packed") == True, "234"),  # noqa: E712  # a condition
    (field("total").in_([Decimal("3.3"), Decimal("0.30")]), "14"),
    (field("labels.weight") >= 3, "3"),
    (field("labels.two words") == 7, "13"),
    (field("labels.weight").is_none(), "24"),
    (field("labels") == {"weight": 3, "two words": 7}, "3"),
    (field("first_at") > (AT + timedelta(days=2)).astimezone(UTC), "34"),
    (field("first_at") == (AT + timedelta(days=2)).astimezone(UTC), "2"),
    (field("seal") == b"a1", "1"),
    (field("order_id") > "2", "34"),
    ((field("address.city.name") == "Bern") & (field("total") < 10), "3"),
]


async def test_what_is_nested_can_be_asked_for(orders: Context) -> None:
    """The same rows, whether the database compares or (fresh) this process does."""
    for condition, wanted in CONDITIONS:
        for fresh in (False, True):
            found = await orders.find(OrderView, condition, order_by="order_id", fresh=fresh)
            assert ("".join(row.order_id for row in found), fresh) == (wanted, fresh), condition
        assert await orders.count(OrderView, condition) == len(wanted), condition


async def test_what_is_nested_can_be_sorted_by(orders: Context) -> None:
    """Numbers as numbers, moments as moments, missing values last."""
    for order, wanted in [
        ("address.city.founded", "1234"),
        ("-address.city.name", "1234"),
        ("last.price", "4132"),
        ("-first_at", "4321"),
        ("labels.weight", "1324"),
    ]:
        for fresh in (False, True):
            found = await orders.find(OrderView, order_by=order, fresh=fresh)
            assert "".join(row.order_id for row in found) == wanted, order


async def test_rows_come_back_to_the_last_digit(orders: Context) -> None:
    await assert_equals_fold(orders)
    row = await orders.get(OrderView, "2")
    assert row is not None
    assert str(row.total) == str(row.lines[0].price) == "100.00"
    assert (row.address, row.first_at) == (Address("High Street", BERN), AT + timedelta(days=2))
    assert (await verified(orders)).ok


async def test_in_the_appending_transaction(where: str | EventStore) -> None:
    async with app.connect(where, projections=False) as context:
        await place_orders(context)
        row = await context.get(InlineView, "1")
        assert row is not None
        assert [line.packed for line in row.lines] == [True, False]
        await assert_equals_fold(context, InlineView)


async def test_columns_become_documents_and_columns_again(
    where: str | EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed class is built beside and takes the place; the way back is one step."""
    async with before.connect(where, lease=0.5) as context:
        last = await place_orders(context)
        columns = await context.find(ColumnsView, after=last)
    with caplog.at_level(logging.ERROR, logger="refold"):
        async with app.connect(where, lease=0.5) as context:
            documents = await context.find(OrderView, after=last, timeout=30)
            assert [msgspec.structs.asdict(row) for row in documents] == [
                msgspec.structs.asdict(row) for row in columns
            ]
            assert (await context.find(OrderView, field("last.price") == 100))[0].order_id == "2"
            await context.rebuild(OrderView)
            assert await context.rollback(OrderView) == last
            assert await context.find(OrderView) == documents
            assert await context.refold(OrderView, "1") == documents[0]
            assert (await verified(context)).ok
    assert "documents is new" in caplog.text


@pytest.mark.parametrize("where", STORES[1:], indirect=True)
async def test_a_rebuild_that_fails_leaves_the_old_ones(orders: Context) -> None:
    """At the switch, with both tables renamed and nothing committed."""

    def fail(point: str) -> None:
        if point == "rebuild.switching":
            raise ZeroDivisionError

    rows = await orders.find(OrderView)
    faults.install(fail)
    try:
        with pytest.raises(ZeroDivisionError):
            await orders.rebuild(OrderView)
    finally:
        faults.install(None)
    assert await orders.find(OrderView) == rows
    await orders.rebuild(OrderView)
    assert await orders.find(OrderView) == rows


@pytest.mark.postgres
async def test_plain_sql_on_postgres(postgres18: PostgresServer) -> None:
    """The table has the key and the document; an index on what a condition asks for is used."""
    url = postgres18.create_database("documents_in_sql")
    async with app.connect(url, lease=1.0) as context:
        await context.count(OrderView, after=await place_orders(context))
        with psycopg.connect(url) as database:
            columns = database.execute(
                "select column_name, data_type from information_schema.columns where table_name = 'order_view' "
                "order by ordinal_position"
            ).fetchall()
            assert columns == [("order_id", "text"), ("document", "jsonb")]
            found = database.execute(
                "select order_id, (document ->> 'total')::numeric from order_view "
                "where document -> 'address' -> 'city' ->> 'cityName' = 'Bern' order by 1"
            ).fetchall()
            assert found == [("2", Decimal("100.00")), ("3", Decimal("9.5"))]
            database.execute("create index by_total on order_view (((document ->> 'total')::numeric))")
            database.commit()
            database.execute("analyze order_view")
            assert [row.order_id for row in await context.find(OrderView, field("total") > 99)] == ["2"]
            database.execute("update order_view set document = document || '{\"total\": \"1\"}' where order_id = '2'")
            database.commit()
        report = await verified(context)
        assert not report.ok
        assert "order_view" in str([check.name for check in report.checks if check.findings])


@pytest.mark.slow
@pytest.mark.postgres
async def test_a_page_larger_than_an_array_of_jsonb(postgres18: PostgresServer) -> None:
    """300 MB in one write; Postgres keeps no array of jsonb beyond 256 MB."""
    store = await open_postgres(postgres18.create_database("large_documents"))
    sink, definition = PostgresSink(store), read_model_of(OrderView)
    await sink.prepare()
    await sink.register(definition, definition.name)
    mine = await sink.claim(definition.name, "me", 60)
    assert mine is not None
    rows = [OrderView(order_id=f"{number}", labels={"x" * 1_000_000: number}) for number in range(300)]
    assert await sink.write(definition, definition.name, rows, [], Move(0, 1, "", mine.epoch))
    assert (await sink.load(definition, definition.name, [("299",)])).rows == {("299",): rows[299]}
    await store.close()


async def test_plain_sql_on_sqlite(tmp_path: Path) -> None:
    async with app.connect(f"sqlite:///{tmp_path}/log.db", lease=1.0) as context:
        await context.count(OrderView, after=await place_orders(context))
        with sqlite3.connect(tmp_path / "log.db") as database:
            sql = "select order_id, json_extract(document, '$.total') from order_view where order_id = '2'"
            assert database.execute(sql).fetchall() == [("2", "100.00")]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (field("address.town") == "x", "OrderView has no field 'address.town'; Address has street, city"),
        (field("address.city.name.first") == "x", "no field 'address.city.name.first': only structs and dicts"),
        (field("lines.price") == 1, "no field 'lines.price': only structs and dicts of texts have fields inside"),
        (field('labels.a"b') == 1, "is no key that a condition can name"),
        (field("last.price") == "dear", r"OrderView.last.price cannot be compared with 'dear'"),
        (field("address.city") < BERN, "OrderView.address.city has no order"),
        (field("nothing") == 1, "OrderView has no field 'nothing'; it has order_id, address"),
    ],
)
async def test_what_cannot_be_asked_for(condition: Condition, said: str) -> None:
    async with app.connect("sqlite:///:memory:", projections=False) as context:
        with pytest.raises(InvalidQuery, match=said):
            await context.find(OrderView, condition)


async def test_columns_are_not_asked_for_what_is_nested() -> None:
    async with before.connect("sqlite:///:memory:", projections=False) as context:
        with pytest.raises(InvalidQuery, match=r"only rows kept as documents \(documents=True\)"):
            await context.find(ColumnsView, field("address.city") == BERN)


async def test_they_live_with_the_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'order_view' is kept as documents in the log's own database"):
        async with app.connect(f"sqlite:///{tmp_path}/log.db", sinks={"order_view": f"parquet://{tmp_path}/rows"}):
            pass


def test_a_key_that_has_the_name_of_the_column() -> None:
    class Paper(ReadModel, key="document", documents=True):
        document: str

        @evolve
        def ordered(self, event: Ordered) -> None:
            """Never called."""

    with pytest.raises(DefinitionError, match="name the key field otherwise"):
        column_kinds(read_model_of(Paper))
