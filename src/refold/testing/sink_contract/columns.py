"""What goes in comes out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from refold.errors import InvalidQuery
from refold.projections.sink import Query, Sink
from refold.testing.sink_contract.models import (
    EVERYTHING,
    Address,
    Colour,
    Everything,
    Level,
    OwnerName,
    every_row,
    put,
)

__all__ = ["Columns"]


class Columns:
    """What goes in comes out."""

    @pytest.mark.parametrize(
        "row",
        [
            Everything(id="plain"),
            Everything(id="", order="group", owner=OwnerName('o\'Neil "x" \\ $1 :a ? % {} \n\t')),
            Everything(id="Zürich 東京 \U0001f600", order="null", owner=OwnerName("true"), maybe_text="null"),
            Everything(id="n", number=2**63 - 1, maybe=-(2**63), ratio=0.1 + 0.2, yes=True),
            Everything(id="f", ratio=-1.7976931348623157e308),
            Everything(id="d", amount=Decimal("12345678901234567890123456789.123456789012345678900")),
            Everything(id="d0", amount=Decimal("100.00"), maybe_amount=Decimal("-0.10")),
            Everything(id="t", at=datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC), maybe_text=""),
            Everything(id="t+", at=datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))),
            Everything(id="t0", maybe_at=datetime(1900, 1, 1, tzinfo=UTC), day=date(9999, 12, 31)),
            Everything(id="u", uid=UUID(int=2**128 - 1), maybe_uid=UUID(int=7)),
            Everything(id="b", raw=bytes(range(256)) * 3, maybe_raw=b""),
            Everything(id="e", colour=Colour.BLUE, level=Level.HIGH, kind="b", maybe_colour=Colour.RED, maybe=0),
            Everything(id="l", names=["a", "ü'\""], counts={"x": 1, "": 2**53}, address=Address("S 1", ["x", "y"])),
            Everything(id="x", either="7", whatever={"a": [1, None, "b", 1.5]}),
            Everything(id="y", either=7, whatever="null"),
        ],
        ids=lambda row: row.id or "empty",
    )
    async def test_a_row_comes_back_as_it_was(self, sink: Sink, row: Everything) -> None:
        """Every type, in each way of reading."""
        await put(sink, row)
        loaded = await sink.load(EVERYTHING, EVERYTHING.name, [(row.id,), ("absent",)])
        answer = await sink.read(EVERYTHING, [(row.id,)], Query(None))
        assert loaded.rows == answer.rows == {(row.id,): row}
        assert answer.found == [row]
        found = answer.found[0]
        assert isinstance(found, Everything)
        # Equal is not enough for decimals: the zeros at their end are part of what was said.
        assert (str(found.amount), str(found.maybe_amount)) == (str(row.amount), str(row.maybe_amount))
        assert found.at.utcoffset() is not None

    @pytest.mark.parametrize("at", ["at", "maybe_at"])
    async def test_a_moment_without_a_zone_is_refused(self, sink: Sink, at: str) -> None:
        """It names no moment."""
        await put(sink)
        with pytest.raises(InvalidQuery, match=f"Everything.{at} is .* which has no time zone"):
            await put(sink, msgspec.structs.replace(Everything(id="1"), **{at: datetime(2026, 1, 1)}))  # noqa: DTZ001  # what is refused
        assert await every_row(sink) == []

    @pytest.mark.parametrize("ratio", [float("nan"), float("inf"), float("-inf")])
    async def test_what_is_no_number_is_refused(self, sink: Sink, ratio: float) -> None:
        """JSON has no such numbers; they would come back as nothing."""
        await put(sink)
        with pytest.raises(InvalidQuery, match=r"Everything\.ratio is .* not a finite number"):
            await put(sink, Everything(id="1", ratio=ratio))
        assert await every_row(sink) == []

    @pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("Infinity")])
    async def test_a_decimal_that_is_no_number_is_refused(self, sink: Sink, amount: Decimal) -> None:
        """It cannot be compared, so it would break whatever sorts by it."""
        await put(sink)
        with pytest.raises(InvalidQuery, match=r"Everything\.amount is .* not a finite number"):
            await put(sink, Everything(id="1", amount=amount))
        assert await every_row(sink) == []

    @pytest.mark.parametrize("amount", ["1E+131072", "1E-16384"])
    async def test_a_decimal_of_more_digits_than_postgres_holds_is_refused(self, sink: Sink, amount: str) -> None:
        """In every store, and before it is written: so that a read model that parks has a row to park."""
        await put(sink)
        with pytest.raises(InvalidQuery, match=r"Everything\.amount is .* more digits than a column holds"):
            await put(sink, Everything(id="1", amount=Decimal(amount)))
        assert await every_row(sink) == []

    async def test_rows_given_and_taken_are_copies(self, sink: Sink) -> None:
        """Nobody changes a row behind the sink's back."""
        row = Everything(id="1", names=["a"])
        await put(sink, row)
        row.names.append("b")
        (await sink.load(EVERYTHING, EVERYTHING.name, [("1",)])).rows[("1",)].names.append("c")  # type: ignore[attr-defined]
        (await every_row(sink))[0].names.append("d")
        assert await every_row(sink) == [Everything(id="1", names=["a"])]
