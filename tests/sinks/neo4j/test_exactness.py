"""What Neo4j has no snapshots for, and what the server decides of a query: nothing is lost, doubled or left out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from msgspec import UNSET, UnsetType

from refold.errors import InvalidQuery, StoreCorrupt
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.projections.checkpoint import Move
from refold.projections.conditions import Condition, Order, checked, field
from refold.projections.ordering import found_among
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Query, building, previous
from refold.projections.sinks.neo4j_queries import narrow, sort_key
from refold.projections.sinks.neo4j_rows import Shape
from refold.testing.sink_contract import EVERYTHING, Everything
from tests.projections.stores import Added, Stock
from tests.servers import Neo4jServer
from tests.sinks.common import STOCK, assert_readers_never_see_old_rows, made, opened

pytestmark = pytest.mark.neo4j


@pytest.fixture
async def rows(url: str) -> AsyncIterator[RowStore]:
    async with opened(url) as found:
        yield found


async def test_readers_never_see_old_rows_after_a_newer_standing(rows: RowStore) -> None:
    await assert_readers_never_see_old_rows(rows, 40)


async def test_a_large_commit_comes_into_sight_at_once(url: str, rows: RowStore) -> None:
    """Neo4j shows what a commit changes bit by bit; a reader of Refold sees none of it, or all."""
    await made(rows)
    done = asyncio.Event()

    async def write() -> None:
        for position in range(1, 9):
            page = [Stock(item=f"{position % 2} {item}", count=position) for item in range(2_000)]
            gone = [(f"{1 - position % 2} {item}",) for item in range(2_000)]
            assert await rows.write(STOCK, "stock", page, gone, Move(position - 1, position, "x", 1))
        done.set()

    async def read() -> None:
        async with opened(url) as own:
            while not done.is_set():
                stands, _, found = await own.read(STOCK, "stock", [], Query(field("count") >= 0))
                assert stands is not None
                assert len(found) == (2_000 if stands.position else 0)
                assert {each.count for each in found} <= {stands.position}  # type: ignore[attr-defined]
                assert await own.count(STOCK, "stock", None) in (0, 2_000)

    await asyncio.gather(write(), read())


async def test_a_stale_owner_writes_nothing(url: str, rows: RowStore) -> None:
    """One that stood still while another took over."""
    await made(rows)
    async with opened(url) as other:
        assert await rows.write(STOCK, "stock", [Stock(item="a", count=1)], [], Move(0, 1, "x", 1))
        assert (await other.fence("stock", 2)) == Standing(
            position=1, append_id="x", fingerprint=STOCK.fingerprint, epoch=2
        )
        assert not await rows.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(1, 2, "y", 1))
        assert await other.write(STOCK, "stock", [Stock(item="a", count=2)], [], Move(1, 2, "y", 2))
        assert not await other.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(1, 2, "y", 2))
        assert (await rows.load(STOCK, "stock", [("a",)])).rows == {("a",): Stock(item="a", count=2)}
        assert (await rows.fence("stock", 1)) == (await rows.standing("stock"))
        # Not even into a table that took the place of its own.
        await made(other, building("stock"), 7)
        assert await other.switch(STOCK, building("stock"), "stock", previous("stock"))
        assert not await rows.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(2, 3, "z", 2))


async def test_several_writers_at_once(url: str, rows: RowStore) -> None:
    """Of those that write from the same position one is believed, however many try; of two shards each has its own."""
    await rows.create(
        STOCK, "stock", {f"stock:{shard}": Standing(fingerprint=STOCK.fingerprint, epoch=1) for shard in "01"}
    )
    async with opened(url) as other:
        for position in range(1, 12):
            done = await asyncio.gather(
                *(
                    store.write(
                        STOCK,
                        "stock",
                        [Stock(item=shard, count=number)],
                        [],
                        Move(position - 1, position, "", 1, f"stock:{shard}"),
                    )
                    for number, (store, shard) in enumerate(itertools.product((rows, other), "01"))
                )
            )
            assert (done[0] + done[2], done[1] + done[3]) == (1, 1)
            found = (await rows.load(STOCK, "stock", [("0",), ("1",)])).rows
            assert done[found[("0",)].count]  # type: ignore[attr-defined]
            assert done[found[("1",)].count]  # type: ignore[attr-defined]
        assert await rows.write(STOCK, "stock", [], [], Move(11, 20, "", 1, "stock:1"))
        stands, _, _ = await rows.read(STOCK, "stock", [], None)
        assert stands is not None
        assert stands.position == 11


async def test_a_switch_turns_one_pointer(url: str, rows: RowStore, neo4j_server: Neo4jServer) -> None:
    """While somebody asks with plain Cypher: of one version, or of the other, never of both or none."""
    for table, count in (("stock", 1), (building("stock"), 2)):
        await made(rows, table)
        page = [Stock(item=f"{item}", count=count) for item in range(300)]
        assert await rows.write(STOCK, table, page, [], Move(0, 1, "x", 1))
    seen: set[tuple[int, int]] = set()
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            named = "MATCH (t:RefoldTable {name: 'shop.stock'}) RETURN t.stored_as AS label"
            (row,) = await asyncio.to_thread(neo4j_server.ask, named)
            counted = f"MATCH (s:{row['label']}) RETURN min(s.count) AS least, max(s.count) AS most, count(s) AS number"
            (row,) = await asyncio.to_thread(neo4j_server.ask, counted)
            assert row["number"] == 300
            seen.add((row["least"], row["most"]))

    async def turn() -> None:
        try:
            while not seen:
                await asyncio.sleep(0.01)
            assert await rows.switch(STOCK, building("stock"), "stock", previous("stock"))
            while (2, 2) not in seen:
                await asyncio.sleep(0.01)
        finally:
            done.set()

    await asyncio.gather(ask(), turn())
    assert seen == {(1, 1), (2, 2)}


async def test_nothing_is_left_but_the_rows(rows: RowStore, neo4j_server: Neo4jServer) -> None:
    for number in range(3):
        await made(rows, building("stock"))
        page = [Stock(item=f"{item}", count=number) for item in range(10)]
        assert await rows.write(STOCK, building("stock"), page, [], Move(0, 1, "x", 1))
        assert await rows.switch(STOCK, building("stock"), "stock", None)
    everything = "MATCH (n) UNWIND labels(n) AS label RETURN label, count(*) AS number ORDER BY label"
    assert {row["label"]: row["number"] for row in neo4j_server.ask(everything)} == {
        "RefoldCheckpoint": 1,
        "RefoldGeneration": 1,
        "RefoldReadModel": 1,
        "RefoldTable": 1,
        "ShopStock_3": 10,
    }
    await rows.drop("stock")
    assert neo4j_server.ask(everything) == [{"label": "RefoldReadModel", "number": 1}]
    left = neo4j_server.ask(
        "SHOW CONSTRAINTS YIELD labelsOrTypes WHERE any(l IN labelsOrTypes WHERE l =~ 'ShopStock.*')"
    )
    assert left == []


def _day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


BIG = 2**80
ROWS = [
    Everything(id="0", number=-BIG, amount=Decimal("0.1"), order="￿", at=_day(1), ratio=0.1, yes=True),
    Everything(id="1", number=BIG, amount=Decimal("0.10000000000000000001"), order="\U0001f600", at=_day(2)),
    Everything(id="2", number=BIG + 1, amount=Decimal("0.100"), order="a", maybe=3, uid=UUID(int=9), raw=b"x"),
    Everything(id="3", number=2**63 - 1, amount=Decimal("1E+400"), order="B", maybe=-BIG, maybe_at=_day(3)),
    Everything(id="4", number=-(2**63), amount=Decimal("-1E+400"), order="", maybe_amount=Decimal("-0")),
    Everything(id="5", number=0, amount=Decimal("-0.1"), order="é", maybe_amount=Decimal("1E-400"), names=["a"]),
    Everything(id="6", number=1, amount=Decimal(2**70), order="e\u0301", maybe_text="", ratio=-1.5),
    Everything(id="7", number=-1, amount=Decimal(2**70 + 1), order="a\x00", maybe_text="null", ratio=5e-324),
]
CONDITIONS: list[Condition] = [
    *(
        condition
        for value in (0, 1, -1, 2**63 - 1, -(2**63))
        for condition in (
            field("number") < value,
            field("number") <= value,
            field("number") > value,
            field("number") >= value,
            field("number") != value,
            ~(field("maybe") == value),
            field("maybe").in_([value, 3]),
            ~(field("maybe") > value),
        )
    ),
    *(
        condition
        for value in ("0.1", "0.10000000000000000001", "1E+400", "-1E+400", str(2**70))
        for condition in (
            field("amount") < Decimal(value),
            field("amount") >= Decimal(value),
            field("amount") == Decimal(value),
            field("amount") != Decimal(value),
            ~(field("amount") > Decimal(value)),
            (field("amount") <= Decimal(value)) & (field("number") > 0),
            (field("amount") > Decimal(value)) | (field("number") > 0),
            field("amount").in_([Decimal(value), Decimal(5)]),
        )
    ),
    field("order") > "￿",
    field("order") < "\U0001f600",
    field("order").contains("\u0301"),
    field("order").starts_with("e"),
    field("maybe_amount") == Decimal(0),
    field("raw") == b"x",
    ~(field("names") == ["a"]),
    field("at") > _day(1),
    ~(field("maybe_at") > _day(1)),
    field("uid") >= UUID(int=1),
    field("ratio") > 0.0,
    field("yes") < True,
]


async def test_what_the_server_is_asked_is_what_is_meant(rows: RowStore) -> None:
    """Numbers of any size, decimals that are one float, text beyond the first plane: as Python compares them."""
    name = EVERYTHING.name
    await rows.create(EVERYTHING, name, {name: Standing(fingerprint=EVERYTHING.fingerprint, epoch=1)})
    assert await rows.write(EVERYTHING, name, ROWS, [], Move(0, 1, "x", 1))
    assert (await rows.load(EVERYTHING, name, [(row.id,) for row in ROWS])).rows == {(row.id,): row for row in ROWS}
    shape = Shape(EVERYTHING)
    for given in CONDITIONS:
        where = checked(EVERYTHING, [given], {})
        wanted = found_among(ROWS, Query(where, [Order("id", False)]))
        _, _, found = await rows.read(EVERYTHING, name, [], Query(where, [Order("id", False)]))
        assert found == wanted, narrow(shape, where)
        assert await rows.count(EVERYTHING, name, where) == len(wanted), narrow(shape, where)
    for field_name in shape.kinds:
        if sort_key(shape, Order(field_name, False)) is None:
            continue
        for descending, limit, offset in itertools.product((False, True), (1, 3), (0, 2)):
            query = Query(None, [Order(field_name, descending), Order("id", False)], limit, offset)
            assert (await rows.read(EVERYTHING, name, [], query))[2] == found_among(ROWS, query), field_name


class Odd(ReadModel, key="item", name="odd"):
    item: str
    by_number: dict[int, str] = {}
    maybe: int | UnsetType = 0

    @evolve
    def added(self, event: Added) -> None:
        """Never called."""


ODD = read_model_of(Odd)


async def test_odd_rows(rows: RowStore, neo4j_server: Neo4jServer) -> None:
    """What cannot be kept is named; what somebody else has changed, too."""
    await rows.create(ODD, "odd", {"odd": Standing(fingerprint=ODD.fingerprint, epoch=1)})
    row = Odd(item="a", by_number={1: "x", -20: "y"})
    assert await rows.write(ODD, "odd", [row], [], Move(0, 1, "x", 1))
    assert (await rows.load(ODD, "odd", [("a",)])).rows == {("a",): row}
    bad: list[tuple[Any, str]] = [
        (Odd(item="b", maybe=UNSET), r"the row \('b',\) of Odd.maybe is UNSET, .*keep None"),
        (Odd(item="x" * 4_001), "has 4,001 bytes in its key, and Neo4j indexes 4,000; use a shorter key"),
        (Odd(item="ü" * 2_001), "has 4,002 bytes in its key"),
        (Odd(item="b\ud800"), r"Odd\.item is 'b\\ud800', which holds a NUL or half a character"),
        (Odd(item="b", by_number={1: "y" * (16 * 2**20)}), "bytes, and Neo4j is to keep 16,777,216 at most"),
    ]
    for each, said in bad:
        with pytest.raises(InvalidQuery, match=said):
            await rows.write(ODD, "odd", [Odd(item="good"), each], [], Move(1, 2, "x", 1))
    for gone in (rows.load(ODD, "odd", [("b\ud800",)]), rows.write(ODD, "odd", [], [("b\ud800",)], Move(1, 2, "x", 1))):
        with pytest.raises(InvalidQuery, match="Odd has half a character in one of the keys"):
            await gone
    assert await rows.write(ODD, "odd", [Odd(item="ü" * 2_000)], [], Move(1, 2, "x", 1))
    assert await rows.count(ODD, "odd", None) == 2
    for change in ("SET n.maybe = 'text'", "REMOVE n.maybe", "SET n.by_number = '{'"):
        neo4j_server.ask(f"MATCH (n:ShopOdd_1 {{item: 'a'}}) {change}")
        with pytest.raises(StoreCorrupt, match="was changed by somebody else; run `refold rebuild odd`"):
            await rows.load(ODD, "odd", [("a",)])
        neo4j_server.ask("MATCH (n:ShopOdd_1 {item: 'a'}) SET n.maybe = 0, n.by_number = '{}'")
