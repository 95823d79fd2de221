"""Every key, every text and every number is found in OpenSearch as in the databases."""

from __future__ import annotations

from decimal import Decimal

import pytest

from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.projections.checkpoint import Move
from refold.projections.conditions import Any_, Condition, field, orders_of
from refold.projections.row_store import Standing
from refold.projections.sink import Query
from refold.projections.sinks.opensearch import OpenSearchRows
from refold.testing.sink_contract import EVERYTHING, ID, Everything
from tests.sinks.opensearch.common import NAME, Written, ids, put

pytestmark = pytest.mark.opensearch


async def test_every_key_is_a_document_of_its_own(rows: OpenSearchRows) -> None:
    """Also the empty one, those that look like ours, and those that are longer than an id may be."""
    keys = ["", "#", "refold:checkpoint", "_id", ".", "a/b c?&%", "日本", "x" * 511, "x" * 512, "x" * 5000, "é" * 300]
    await put(rows, *(Everything(id=key, number=number) for number, key in enumerate(keys)))
    assert (await rows.load(EVERYTHING, NAME, [(key,) for key in keys])).rows == {
        (key,): Everything(id=key, number=number) for number, key in enumerate(keys)
    }
    assert sorted(await ids(rows)) == sorted(keys)
    await put(rows, deleted=[(key,) for key in keys[1:]])
    assert await ids(rows) == [""]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        (field("order") == "a" * 5_000, "1"),
        (field("order") == "a" * 40_000, "2"),
        (field("order").starts_with("a" * 4_500), "12"),
        (field("order").starts_with("aa"), "12"),
        (field("order").contains("ab"), "3"),
        (field("order").contains("b" * 300), "3"),
        (~field("order").contains("b" * 300), "0124"),
        (field("order") != "a", "1234"),
        (field("order") > "a", "1234"),
        (~(field("order") > "a"), "0"),
        (field("order").in_(["a", "a" * 5_000]), "01"),
        (field("order").contains("\\*?"), "4"),
    ],
)
async def test_long_texts_fulfil_conditions_as_short_ones_do(
    rows: OpenSearchRows, condition: Condition, wanted: str
) -> None:
    """Though Lucene compares no text so long."""
    texts = ["a", "a" * 5_000, "a" * 40_000, "a" + "b" * 9_000, "c\\*?c"]
    await put(rows, *(Everything(id=f"{number}", order=text) for number, text in enumerate(texts)))
    assert "".join(await ids(rows, condition)) == wanted
    assert "".join(await ids(rows, condition, limit=len(wanted))) == wanted


async def test_numbers_that_are_written_in_several_ways(rows: OpenSearchRows) -> None:
    amounts = [
        "-1E+30",
        "-10.01",
        "-10",
        "-9.99",
        "0E-9",
        "-0",
        "1E-30",
        "0.10",
        "0.1",
        "9",
        "10.000000000000000000001",
    ]
    for number, amount in enumerate(amounts):
        await put(rows, Everything(id=f"{number:02}", amount=Decimal(amount), ratio=-0.0 if number else 0.0))
    assert await ids(rows, order="amount") == [f"{number:02}" for number in range(len(amounts))]
    assert await ids(rows, field("amount") == Decimal("0.100")) == ["07", "08"]
    assert await ids(rows, field("amount") > 10) == ["10"]
    for condition in (field("ratio") == 0, field("ratio") >= 0, field("ratio") <= 0, field("ratio").in_([0.0])):
        assert len(await ids(rows, condition)) == len(amounts)
    for condition in (field("ratio") < 0, field("ratio") > 0, field("ratio") != 0):
        assert await ids(rows, condition) == []


async def test_conditions_of_thousands_of_parts(rows: OpenSearchRows) -> None:
    """More than the server takes in one query, and nested deeper."""
    await put(rows, *(Everything(id=f"{number}", number=number) for number in range(4)))
    many = Any_(tuple(field("number") == number for number in range(2, 3_000)))
    assert await ids(rows, many) == ["2", "3"]
    deep = field("number") == 2
    for number in range(60):
        deep = ~(deep | (field("number") == 100 + number))
    assert await ids(rows, deep) == ["2"]


async def test_more_rows_than_one_answer_has(rows: OpenSearchRows) -> None:
    await put(rows, *(Everything(id=f"{number:05}", number=number % 7) for number in range(12_000)))
    wanted = [f"{number:05}" for number in range(12_000)]
    assert await ids(rows) == wanted
    assert await ids(rows, order="-id", limit=11_000) == wanted[:999:-1]
    query = Query(None, orders_of(EVERYTHING, ()), 5, 11_500)
    _, _, found = await rows.read(EVERYTHING, NAME, [("00001",)], query)
    assert [row.id for row in found] == wanted[11_500:11_505]  # type: ignore[attr-defined]


class Strict(ReadModel, key="id", name="strict", forbid_unknown_fields=True):
    """Takes no field that it does not know."""

    id: str
    amount: Decimal = Decimal(0)

    @evolve
    def written(self, event: Written) -> None:
        """Never called."""


async def test_a_row_that_takes_no_unknown_fields(rows: OpenSearchRows) -> None:
    strict = read_model_of(Strict)
    await rows.create(strict, "strict", {"strict": Standing(fingerprint=strict.fingerprint, epoch=1)})
    row = Strict(id="1", amount=Decimal("1.50"))
    assert await rows.write(strict, "strict", [row], [], Move(0, 1, ID, 1))
    assert (await rows.load(strict, "strict", [("1",)])).rows == {("1",): row}
