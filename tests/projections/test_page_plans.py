"""How Postgres reads a page of a large read model: by the key's index in its order, and else sorting no more than the
page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest

from refold import field
from refold.app import Context
from refold.folds.read_model import read_model_of
from refold.operations.worker import catch_up
from refold.projections.conditions import Condition, Order, orders_of
from refold.projections.sinks import postgres_pages
from refold.server.api.cursors import behind, cursor_of
from tests.domain import AccountSummary, OpenAccount, bank

pytestmark = pytest.mark.postgres

DEFINITION = read_model_of(AccountSummary)
ROWS = 20_000


@pytest.fixture
async def large(empty_postgres18: str) -> AsyncIterator[Context]:
    """A context of a bank with so many rows."""
    async with bank.connect(empty_postgres18) as context:
        await context.execute(OpenAccount(account_id="first", owner="alice"))
        await catch_up(context)
        with psycopg.connect(empty_postgres18) as connection:
            connection.execute(
                "insert into account_summary (account_id, owner, balance, movements) "
                "select 'a' || n, 'owner ' || n %% 100, n %% 1000, n %% 7 from generate_series(1, %s) n",
                [ROWS],
            )
            connection.execute("analyze account_summary")
        yield context


async def _plan(context: Context, url: str, conditions: Sequence[Condition], order_by: str, rows: int = 51) -> str:
    """The plan by which a page is read."""
    asked: list[tuple[str, Sequence[Any]]] = []
    store: Any = context.store
    run = store.run

    async def recording(sql: str, parameters: Sequence[Any] = ()) -> Any:
        asked.append((sql, parameters))
        return await run(sql, parameters)

    store.run = recording
    try:
        assert len(await context.find(AccountSummary, *conditions, order_by=order_by, limit=51)) == rows
    finally:
        store.run = run
    (sql, parameters) = next(each for each in asked if "account_summary" in each[0])
    with psycopg.connect(url, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute("set max_parallel_workers_per_gather = 0")
        plan = "\n".join(row[0] for row in connection.execute(f"explain analyze {sql}", parameters))
    # Beside it the same statement loads the rows of no keys.
    return plan[plan.index("WindowAgg") :]


@pytest.mark.parametrize("order_by", ["account_id", "-account_id"])
@pytest.mark.parametrize("further_on", [False, True])
async def test_pages_in_the_keys_order_read_its_index(
    large: Context, empty_postgres18: str, order_by: str, further_on: bool
) -> None:
    conditions = []
    if further_on:
        orders = (Order("account_id", order_by.startswith("-")),)
        row = (await large.find(AccountSummary, order_by=order_by, limit=1, offset=ROWS // 2))[0]
        conditions.append(behind(DEFINITION, cursor_of(row, orders), orders))

    plan = await _plan(large, empty_postgres18, conditions, order_by)

    assert "Seq Scan on account_summary" not in plan
    assert "Rows Removed by Filter" not in plan or int(plan.split("Rows Removed by Filter: ")[1].split()[0]) <= 1


@pytest.mark.parametrize("order_by", ["balance", "-balance", "owner"])
async def test_pages_in_another_order_keep_no_more_than_the_page(
    large: Context, empty_postgres18: str, order_by: str
) -> None:
    plan = await _plan(large, empty_postgres18, [], order_by)

    assert "top-N heapsort" in plan
    assert "external merge" not in plan


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (field("owner").contains("nobody"), 0),
        (field("owner") == "owner 7", 51),
        (field("movements") == 6, 51),
        (field("balance") == 999, 20),
    ],
)
@pytest.mark.parametrize("order_by", ["account_id", "-account_id"])
@pytest.mark.parametrize("first", [10, 1_000, 20_000])
async def test_what_is_filtered_is_found_wherever_it_stands(
    large: Context, condition: Condition, found: int, order_by: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_pages, "_FIRST", first)
    everything = await large.find(AccountSummary, order_by=order_by, limit=None)
    expected = [row for row in everything if condition.holds(row)]

    page = await large.find(AccountSummary, condition, order_by=order_by, limit=51)

    assert page == expected[:51]
    assert len(page) == found
    if len(page) == 51:
        orders = orders_of(DEFINITION, order_by)
        following = behind(DEFINITION, cursor_of(page[-1], orders), orders)
        assert await large.find(AccountSummary, condition, following, order_by=order_by, limit=51) == expected[51:102]


async def test_a_filter_that_few_rows_fulfil_does_not_walk_through_the_index(
    large: Context, empty_postgres18: str
) -> None:
    plan = await _plan(large, empty_postgres18, [field("owner").contains("nobody")], "account_id", rows=0)

    assert "Seq Scan on account_summary" in plan


@pytest.mark.parametrize("text", ["a1999", "first", "a", "", "z", "\ud7ff", "\U0010ffff", "a\U0010ffff"])
async def test_beginnings_are_found_by_the_index(large: Context, empty_postgres18: str, text: str) -> None:
    ids = {row.account_id for row in await large.find(AccountSummary, limit=None)}
    condition = field("account_id").starts_with(text)

    found = await large.find(AccountSummary, condition, limit=None)

    assert {row.account_id for row in found} == {each for each in ids if each.startswith(text)}
    if text not in ("", "a", "\U0010ffff"):  # most of all are better read as they stand; the last has no end
        plan = await _plan(large, empty_postgres18, [condition], "account_id", rows=min(51, len(found)))
        assert "Seq Scan on account_summary" not in plan
