"""Indexes that a read model declares: they are there whatever is rebuilt, and are used."""

from __future__ import annotations

import re
import secrets
import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from refold import App, Event, ReadModel, evolve, field
from refold.app import Context
from refold.errors import DefinitionError, ProjectionStopped, StaleRead
from refold.folds.read_model import read_model_of
from refold.operations.worker import catch_up
from refold.projections.definitions import changes_between
from refold.store.event_store import EventStore

ROWS = 3_000


class Joined(Event, name="IndexesJoined"):
    customer_id: str
    city: str
    since: date
    spent: Decimal


class Customer(
    ReadModel, key="customer_id", name="indexed_customer", indexes=("city", ("kind", "since"), "spent", "note")
):
    customer_id: str
    city: str = ""
    kind: int = 0
    since: date = date(2000, 1, 1)
    spent: Decimal = Decimal(0)
    note: str | None = None

    @evolve(key="customer_id")
    def joined(self, event: Joined) -> None:
        self.city, self.since, self.spent = event.city, event.since, event.spent
        self.kind = event.since.day % 3


crm = App("crm", events=[Joined], read_models=[Customer])


class Database:
    """Looks into a database from beside."""

    def __init__(self, where: str | EventStore) -> None:
        if not isinstance(where, str):
            pytest.skip("there are no tables in memory")
        self.url = where
        self.postgres = where.startswith("postgresql")

        self.expected = [["city"], ["kind", "since"], ["note"], ["spent"]][: None if self.postgres else 3]
        """On SQLite a decimal is text, and has no index."""

    def rows(self, sql: str) -> list[Any]:
        if self.postgres:
            with psycopg.connect(self.url, autocommit=True) as connection:
                cursor = connection.execute(sql.encode())
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(Path(self.url.removeprefix("sqlite:///")))) as opened:
            return opened.execute(sql).fetchall()

    def indexed(self, table: str) -> list[list[str]]:
        """The columns of each index of a table, but for that of its key."""
        if self.postgres:
            found = self.rows(
                "select array(select a.attname from unnest(i.indkey) with ordinality k (n, o) join pg_attribute a "
                "on a.attrelid = i.indrelid and a.attnum = k.n order by k.o)::text[] from pg_index i "
                f"where i.indrelid = to_regclass('{table}') and not i.indisprimary"
            )
            return sorted(each[0] for each in found)
        names = [each[1] for each in self.rows(f'pragma index_list("{table}")') if each[3] == "c"]
        return sorted([each[2] for each in self.rows(f'pragma index_info("{name}")')] for name in names)


@pytest.fixture
def database(where: str | EventStore) -> Database:
    return Database(where)


async def _filled(context: Context) -> None:
    events = [
        Joined(
            customer_id=f"{number:05}",
            city=f"city {number % 500}",
            since=date(2020, 1 + number % 12, 1 + number % 28),
            spent=Decimal(number) / 10,
        )
        for number in range(ROWS)
    ]
    await context.append("customers-all", events)
    await catch_up(context)


async def test_they_are_there_whatever_is_rebuilt(where: str | EventStore, database: Database) -> None:
    async with crm.connect(where) as context:
        event = Joined(customer_id="1", city="Bern", since=date(2026, 1, 2), spent=Decimal("1.50"))
        await context.append("customers-all", [event])
        await catch_up(context)
        assert database.indexed("indexed_customer") == database.expected
        for _ in range(2):
            await context.rebuild(Customer)
            assert database.indexed("indexed_customer") == database.expected
            assert database.indexed("indexed_customer__previous") == database.expected
        await context.rollback(Customer)
        assert database.indexed("indexed_customer") == database.expected
        assert (await context.find(Customer, field("city") == "Bern"))[0].spent == Decimal("1.50")


@pytest.mark.parametrize(
    ("conditions", "order_by"),
    [
        ([field("city") == "city 7"], "customer_id"),
        ([field("kind") == 1, field("since") > date(2020, 11, 27)], "customer_id"),
        ([field("spent") > Decimal("299.5")], "customer_id"),
        ([field("city").starts_with("city 49")], "customer_id"),
        ([], "spent"),
        ([], "-spent"),
        ([], "city"),
        ([], "-city"),
        ([], "note"),
    ],
)
async def test_they_are_used(where: str | EventStore, database: Database, conditions: list[Any], order_by: str) -> None:
    if not database.postgres and "spent" in f"{conditions}{order_by}":
        pytest.skip("on SQLite a decimal is text, and has no index")
    async with crm.connect(where) as context:
        await _filled(context)
        if database.postgres:
            database.rows("analyze indexed_customer")
        asked: list[tuple[str, Any]] = []
        _record(context, asked)
        found = await context.find(Customer, *conditions, order_by=order_by, limit=20)
        everything = await context.find(Customer, order_by=order_by, limit=None)
    assert found == [row for row in everything if all(each.holds(row) for each in conditions)][:20]
    assert found
    plan = _plan(
        database, *next(each for each in asked if re.search('from "?indexed_customer', each[0], re.IGNORECASE))
    )
    assert "indexed_customer_" in plan
    assert "_idx" in plan


def _record(context: Context, asked: list[tuple[str, Any]]) -> None:
    store: Any = context.store
    if hasattr(store, "run"):
        run = store.run

        async def recording(sql: str, parameters: Any = ()) -> Any:
            asked.append((sql, parameters))
            return await run(sql, parameters)

        store.run = recording
        return
    query = store.query

    async def traced(work: Any) -> Any:
        def run_traced(connection: sqlite3.Connection) -> Any:
            connection.set_trace_callback(lambda sql: asked.append((sql, None)))
            try:
                return work(connection)
            finally:
                connection.set_trace_callback(None)

        return await query(run_traced)

    store.query = traced


def _plan(database: Database, sql: str, parameters: Any) -> str:
    if not database.postgres:
        return "\n".join(each[3] for each in database.rows(f"explain query plan {sql}"))
    with psycopg.connect(database.url, cursor_factory=psycopg.RawCursor) as connection:
        return "\n".join(row[0] for row in connection.execute(f"explain {sql}", parameters))


@pytest.mark.parametrize(
    ("indexes", "said"),
    [
        ("city", "must be a tuple of fields"),
        (7, "must be a tuple of fields"),
        ((7,), "must be a tuple of fields"),
        (("town",), "names 'town', which is no field of it"),
        (("city", "city"), "something twice"),
        ((("city", "city"),), "something twice"),
        (((),), "names nothing"),
        (("customer_id",), "the key's own index serves"),
    ],
)
def test_what_is_no_index_is_refused(indexes: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):

        class Refused(ReadModel, key="customer_id", name="refused", indexes=indexes):
            customer_id: str
            city: str = ""

            @evolve
            def joined(self, event: Joined) -> None: ...


def test_documents_have_no_columns_to_index() -> None:
    with pytest.raises(DefinitionError, match="documents, which have no columns to index"):

        class Refused(ReadModel, key="customer_id", name="refused", documents=True, indexes=("city",)):
            customer_id: str
            city: str = ""

            @evolve
            def joined(self, event: Joined) -> None: ...


async def test_what_has_no_order_is_refused(where: str | EventStore, database: Database) -> None:
    class Tagged(ReadModel, key="customer_id", name="tagged", indexes=("tags",)):
        customer_id: str
        tags: list[str] = []

        @evolve
        def joined(self, event: Joined) -> None: ...

    with pytest.raises(DefinitionError, match="Tagged: indexes= names 'tags'"):
        async with App("tags", events=[Joined], read_models=[Tagged]).connect(where):
            pass


def test_a_new_index_is_a_new_definition() -> None:
    def defined(**options: Any) -> Any:
        class Same(ReadModel, key="customer_id", name="same", **options):
            customer_id: str
            city: str = ""

            @evolve
            def joined(self, event: Joined) -> None: ...

        return read_model_of(Same)

    plain, none, one, two = defined(), defined(indexes=()), defined(indexes=("city",)), defined(indexes=[("city",)])
    assert plain.fingerprint == none.fingerprint
    assert plain.fingerprint != one.fingerprint
    assert one.fingerprint == two.fingerprint
    assert changes_between(plain.parts, one.parts) == "indexes is new"


@pytest.mark.usefixtures("short_pauses")
async def test_a_row_that_the_database_does_not_take_is_parked(where: str | EventStore, database: Database) -> None:
    """Its events can be folded; only writing it fails. All other rows stood still with it."""
    if not database.postgres:
        pytest.skip("only in Postgres is a text too long for an index")

    class Parks(ReadModel, key="customer_id", name="parks", indexes=("city",), on_error="park"):
        customer_id: str
        city: str = ""

        @evolve(key="customer_id")
        def joined(self, event: Joined) -> None:
            self.city = event.city

    def event(number: int, city: str) -> Joined:
        return Joined(customer_id=str(number), city=city, since=date(2026, 1, 2), spent=Decimal(1))

    long = secrets.token_hex(5_000)
    async with App("crm", read_models=[Parks]).connect(where) as context:
        events = [event(1, "Bern"), event(2, long), event(3, "Basel")]
        receipt = await context.append("customers-all", events)
        assert await context.get(Parks, "3", after=receipt, timeout=30) == Parks(customer_id="3", city="Basel")
        (parked,) = await context.projections.parked(Parks)
        assert (parked.key, parked.position) == ('["2"]', 2)
        assert "index row requires" in parked.error
        # What came later makes a row of it that is taken.
        receipt = await context.append("customers-all", [event(2, "Chur")])
        await context.get(Parks, "3", after=receipt)
        done = await context.projections.retry(Parks, "2", actor="ann")
        assert done.details["done"] is True
        assert await context.get(Parks, "2", after=receipt) == Parks(customer_id="2", city="Chur")

        receipt = await context.append("customers-all", [event(4, long), event(1, "Olten")])
        assert await context.get(Parks, "1", after=receipt, timeout=30) == Parks(customer_id="1", city="Olten")
        for again in (context.projections.retry, context.projections.release):
            failed = await again(Parks, "4", actor="ann")
            assert failed.details["done"] is False
            assert "index row requires" in str(failed.details["error"])
        receipt = await context.append("customers-all", [event(1, "Bern")])
        assert await context.get(Parks, "1", after=receipt, timeout=5) == Parks(customer_id="1", city="Bern")


async def test_a_text_too_long_for_an_index_says_so(where: str | EventStore, database: Database) -> None:
    """What stands in an index of Postgres has 2,704 bytes at most, when it cannot be compressed."""
    long = secrets.token_hex(5_000)
    async with crm.connect(where) as context:
        event = Joined(customer_id="1", city=long, since=date(2026, 1, 2), spent=Decimal(1))
        receipt = await context.append("customers-all", [event])
        if not database.postgres:
            assert (await context.get(Customer, "1", after=receipt)) is not None
            return
        with pytest.raises((StaleRead, ProjectionStopped), match="index row requires"):
            await context.get(Customer, "1", after=receipt, timeout=30)
