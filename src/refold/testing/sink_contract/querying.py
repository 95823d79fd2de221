"""Filters, order and pages."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from refold.projections.conditions import Condition, checked, field, orders_of
from refold.projections.sink import Answer, Query, Sink
from refold.testing.sink_contract.models import (
    EVERYTHING,
    Colour,
    Everything,
    Level,
    ids_of,
    put,
)

__all__ = ["Querying"]


def _day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


ROWS = [
    Everything(id="1", order="Anna", number=10, amount=Decimal("9.50"), at=_day(1), maybe=1, maybe_text="x"),
    Everything(id="2", order="anna", number=-5, amount=Decimal("10.5"), at=_day(2), colour=Colour.BLUE, yes=True),
    Everything(id="3", order="Änne", number=10, amount=Decimal("-100"), at=_day(3), maybe=3, ratio=0.5, raw=b"\x01"),
    Everything(id="4", order="%_\\'", number=2**40, amount=Decimal("9.5"), day=date(2026, 2, 1), maybe_text="%"),
    Everything(id="5", number=0, amount=Decimal("1E+3"), uid=UUID(int=5), level=Level.HIGH, maybe=-1, raw=b"\xff"),
]


class Querying:
    """Conditions, order and pages mean the same everywhere."""

    @pytest.mark.parametrize(
        ("condition", "wanted"),
        [
            (field("number") == 10, "13"),
            (field("number") != 10, "245"),
            (field("number") < 0, "2"),
            (field("number") <= 0, "25"),
            (field("number") > 10, "4"),
            (field("number") >= 10, "134"),
            (field("number").in_([10, 0, 77]), "135"),
            (field("number").in_([]), ""),
            (field("amount") == Decimal("9.5"), "14"),
            (field("amount") == "9.500", "14"),
            (field("amount") > Decimal("9.5"), "25"),
            (field("amount") < Decimal(0), "3"),
            (field("amount").in_([Decimal(1000), Decimal("10.50")]), "25"),
            (field("order").in_(["%_\\'", '"', "{1,2}", "NULL", "a,b", "\\", ""]), "45"),
            (field("ratio").in_([0.5, 0.25]), "3"),
            (field("yes").in_([True]), "2"),
            (field("at").in_([_day(1), _day(3)]), "13"),
            (field("day").in_([date(2026, 2, 1)]), "4"),
            (field("uid").in_([UUID(int=5), UUID(int=6)]), "5"),
            (field("raw").in_([b"\x01", b"\xff"]), "35"),
            (field("colour").in_([Colour.BLUE]), "2"),
            (field("order") == "anna", "2"),
            (field("order") > "a", "23"),
            (field("order").starts_with("A"), "1"),
            (field("order").starts_with(""), "12345"),
            (field("order").starts_with("%"), "4"),
            (field("order").contains("nn"), "123"),
            (field("order").contains("_"), "4"),
            (field("order").contains("'"), "4"),
            (field("yes") == True, "2"),  # noqa: E712  # a condition
            (field("ratio") > 0.25, "3"),
            (field("at") >= _day(2), "23"),
            (field("at") == datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=3))), "2"),
            (field("day") > date(2026, 1, 1), "4"),
            (field("uid") == UUID(int=5), "5"),
            (field("raw") == b"\xff", "5"),
            (field("colour") == Colour.BLUE, "2"),
            (field("colour") == "blue", "2"),
            (field("level") > Level.LOW, "5"),
            (field("kind") == "a", "12345"),
            (field("maybe") == None, "24"),  # noqa: E711  # a condition
            (field("maybe") != None, "135"),  # noqa: E711  # a condition
            (field("maybe").is_none(), "24"),
            (field("maybe") > 0, "13"),
            (field("maybe") != 1, "35"),
            (~(field("maybe") == 1), "2345"),
            (~(field("maybe").in_([1, 3])), "245"),
            (field("maybe_text") == "%", "4"),
            ((field("number") == 10) & (field("maybe") == 3), "3"),
            ((field("number") == -5) | (field("maybe") == 3) | (field("id") == "5"), "235"),
            (~((field("number") == 10) | (field("maybe").is_none())), "5"),
            (field("names") == [], "12345"),
        ],
    )
    async def test_conditions(self, sink: Sink, condition: Condition, wanted: str) -> None:
        """Each operator on each kind of column."""
        await put(sink, *ROWS)
        assert "".join(await ids_of(sink, condition)) == wanted
        definitely = checked(EVERYTHING, [condition], {})
        assert definitely is not None
        assert "".join(row.id for row in ROWS if definitely.holds(row)) == wanted

    @pytest.mark.parametrize(
        ("order", "wanted"),
        [
            ((), "12345"),
            ("-id", "54321"),
            ("number", "25134"),
            (("-number", "-id"), "43152"),
            ("amount", "31425"),
            (("-amount", "-id"), "52413"),
            ("maybe", "51324"),
            ("-maybe", "31524"),
            ("order", "54123"),
            ("at", "45123"),
            ("colour", "21345"),
            ("-level", "51234"),
            (("yes", "-ratio"), "31452"),
            ("uid", "12345"),
            ("-day", "41235"),
        ],
    )
    async def test_order(self, sink: Sink, order: Any, wanted: str) -> None:
        """Decimals as numbers, text by code points, missing values last, ties by the key."""
        await put(sink, *ROWS)
        assert "".join(await ids_of(sink, order=order)) == wanted

    async def test_pages(self, sink: Sink) -> None:
        """A limit, an offset, both."""
        await put(sink, *ROWS)
        assert await ids_of(sink, order="-id", limit=2) == ["5", "4"]
        assert await ids_of(sink, order="-id", limit=2, offset=1) == ["4", "3"]
        assert await ids_of(sink, offset=3) == ["4", "5"]
        assert await ids_of(sink, limit=0) == []
        assert await ids_of(sink, offset=9, limit=1) == []

    async def test_minus_zero_is_zero(self, sink: Sink) -> None:
        """In whatever condition and order, as a number and as a decimal that a float takes for zero."""
        decimals = [Decimal("-0"), Decimal(0), Decimal("-1E-400"), Decimal("0.0")]
        rows = [
            Everything(id=str(number), ratio=(-0.0, 0.0)[number % 2], amount=amount, maybe_amount=amount)
            for number, amount in enumerate(decimals)
        ]
        await put(sink, *rows)
        for zero in (0.0, -0.0):
            assert await ids_of(sink, field("ratio") < zero) == []
            assert await ids_of(sink, field("ratio") > zero) == []
            for same in (field("ratio") <= zero, field("ratio") >= zero, field("ratio") == zero):
                assert await ids_of(sink, same) == ["0", "1", "2", "3"]
        for none in (Decimal(0), Decimal("-0")):
            for name in ("amount", "maybe_amount"):
                assert await ids_of(sink, field(name) >= none) == ["0", "1", "3"]
                assert await ids_of(sink, field(name) <= none) == ["0", "1", "2", "3"]
                assert await ids_of(sink, field(name).in_([none])) == ["0", "1", "3"]
        assert await ids_of(sink, order=("ratio", "id"), limit=3) == ["0", "1", "2"]
        assert await ids_of(sink, order=("-ratio", "id"), limit=3) == ["0", "1", "2"]
        assert await ids_of(sink, order=("amount", "id"), limit=3) == ["2", "0", "1"]

    @pytest.mark.parametrize("size", [199, 201, 1_001, 4_001])
    async def test_long_texts(self, sink: Sink, size: int) -> None:
        """A text is compared to its end, however long it is."""
        long = "é" * size
        texts = ["e", long[1:], long, long + "z", "ê", ""]
        await put(sink, *(Everything(id=str(number), order=text) for number, text in enumerate(texts)))
        for condition, wanted in (
            (field("order") < long, "015"),
            (field("order") <= long, "0125"),
            (field("order") > long, "34"),
            (field("order") >= long, "234"),
            (~(field("order") > long), "0125"),
            (field("order").starts_with(long), "23"),
            (~field("order").starts_with(long), "0145"),
        ):
            assert "".join(await ids_of(sink, condition)) == wanted

    async def test_one_of_many_values(self, sink: Sink) -> None:
        """Ten thousand are asked for in a moment."""
        await put(sink, *ROWS)
        began = time.monotonic()
        assert await ids_of(sink, field("id").in_([str(number) for number in range(3, 10_000)])) == ["3", "4", "5"]
        assert time.monotonic() - began < 5

    async def test_keys_and_query_in_one(self, sink: Sink) -> None:
        """Both are answered from one snapshot."""
        await put(sink, *ROWS)
        where = checked(EVERYTHING, [field("id") > "3"], {})
        answer = await sink.read(EVERYTHING, [("1",), ("x",)], Query(where, orders_of(EVERYTHING, "-id"), 1))
        assert answer == Answer(1, {("1",): ROWS[0]}, [ROWS[4]])
