"""Rows that are relationships: what a person finds in the graph, and what becomes of the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest

from refold.app import App
from refold.errors import ConfigurationError
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.projections.checkpoint import Move
from refold.projections.conditions import checked, field, orders_of
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Query, building, previous
from tests.projections.stores import assert_equals_fold
from tests.servers import Neo4jServer
from tests.sinks.common import LEASE, opened
from tests.sinks.neo4j.common import PAYMENT, AccountId, Paid, Payment, pay, paying

pytestmark = pytest.mark.neo4j


@pytest.fixture
async def rows(url: str) -> AsyncIterator[RowStore]:
    async with opened(url) as found:
        yield found


def nodes(server: Neo4jServer) -> str:
    """The ids of all accounts."""
    return "".join(row["id"] for row in server.ask("MATCH (a:ShopAccount) RETURN a.id AS id ORDER BY id"))


def payments(server: Neo4jServer, table: str = "shop.payment") -> list[str]:
    """Who pays whom, read as anybody would: the table says of what type the relationships are."""
    (named,) = server.ask("MATCH (t:RefoldTable {name: $table}) RETURN t.stored_as AS type", {"table": table})
    found = server.ask(
        f"MATCH (a:ShopAccount)-[p:{named['type']}]->(b:ShopAccount) "
        "WHERE p.payer = a.id AND p.payee = b.id RETURN a.id + b.id AS pair, p.times AS times ORDER BY pair"
    )
    return [f"{row['pair']}{row['times']}" for row in found]


async def test_a_row_is_a_relationship_between_two_nodes(rows: RowStore, neo4j_server: Neo4jServer) -> None:
    await paying(rows)
    await pay(rows, "ab", "ac", "bc", "aa")
    await pay(rows, "ac", "cd", times=2)
    assert payments(neo4j_server) == ["aa1", "ab1", "ac2", "bc1", "cd2"]
    assert nodes(neo4j_server) == "abcd"
    asked = neo4j_server.ask("MATCH p = shortestPath((:ShopAccount {id: 'a'})-[*]->(:ShopAccount {id: 'd'})) RETURN p")
    assert len(asked[0]["p"]) == 5  # a, pays, c, pays, d
    assert neo4j_server.ask("MATCH ()-[p:SHOP_PAYMENT_1 {payer: 'c'}]->() RETURN p.amount AS amount") == [
        {"amount": "2"}
    ]


async def test_it_is_read_like_any_row(rows: RowStore) -> None:
    await paying(rows)
    at = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
    page = [Payment(payer="a", payee=f"{number:02}", times=number, amount=Decimal(number) / 4) for number in range(20)]
    page.append(Payment(payer="b", payee="a", times=2**70, last=at))
    assert await rows.write(PAYMENT, "payment", page, [], Move(0, 1, "x", 1))
    loaded = await rows.load(PAYMENT, "payment", [("b", "a"), ("a", "07"), ("a", "b")])
    assert loaded.rows == {("b", "a"): page[20], ("a", "07"): page[7]}
    where = checked(PAYMENT, [field("amount") > Decimal("4.5")], {})
    assert await rows.count(PAYMENT, "payment", where) == 1
    assert await rows.count(PAYMENT, "payment", None) == 21
    query = Query(checked(PAYMENT, [field("times") >= 18], {}), orders_of(PAYMENT, "-times"), 2)
    assert (await rows.read(PAYMENT, "payment", [], query))[2] == [page[20], page[19]]


async def test_nodes_go_with_the_last_relationship(rows: RowStore, neo4j_server: Neo4jServer) -> None:
    """Unless somebody has added to them."""
    await paying(rows)
    await pay(rows, "ab", "bc", "cd", "ee")
    neo4j_server.ask("MATCH (d:ShopAccount {id: 'd'}) SET d.name = 'Dora'")
    await pay(rows, "be", deleted="ab cd xy ee")
    assert payments(neo4j_server) == ["bc1", "be1"]
    assert nodes(neo4j_server) == "bcde"
    await rows.drop("payment")
    assert nodes(neo4j_server) == "d"


async def test_two_versions_share_the_nodes(rows: RowStore, neo4j_server: Neo4jServer) -> None:
    """Who reads the table sees one of them, before the switch and after it."""
    await paying(rows)
    await pay(rows, "ab", "bc")
    await paying(rows, building("payment"))
    await pay(rows, "bc", "cd", table=building("payment"), times=7)
    assert payments(neo4j_server) == ["ab1", "bc1"]
    assert nodes(neo4j_server) == "abcd"
    assert await rows.switch(PAYMENT, building("payment"), "payment", previous("payment"))
    assert payments(neo4j_server) == ["bc7", "cd7"]
    assert payments(neo4j_server, "shop.payment__previous") == ["ab1", "bc1"]
    await rows.drop(previous("payment"))
    assert nodes(neo4j_server) == "bcd"
    assert payments(neo4j_server) == ["bc7", "cd7"]


async def test_writers_whose_nodes_are_the_same(url: str, rows: RowStore, neo4j_server: Neo4jServer) -> None:
    """They are in one another's way, wait, and nothing is lost: nodes come and go under their hands."""
    names = ["payment", building("payment"), previous("payment")]
    for table in names:
        await paying(rows, table)

    async def work(table: str) -> None:
        async with opened(url) as own:
            for turn in range(12):
                await pay(own, "ab", "bc", "ca", table=table, times=turn)
                await pay(own, "ad", deleted="ab bc ca" if turn % 2 else "bc", table=table)

    await asyncio.gather(*(work(table) for table in names))
    for table in names:
        assert await rows.count(PAYMENT, table, None) == 1
    assert nodes(neo4j_server) == "ad"
    assert payments(neo4j_server) == ["ad1"]


async def test_folded_from_the_log(tmp_path: Any, url: str, neo4j_server: Neo4jServer) -> None:
    app = App("bank", read_models=[Payment])
    async with app.connect(f"sqlite:///{tmp_path}/log.db", sinks={"payment": url}, lease=LEASE) as bank:
        for number in range(60):
            await bank.append(f"account-{number % 3}", [Paid(to=f"{number % 5}", amount=Decimal("1.10"))])
        await assert_equals_fold(bank)
        await bank.rebuild(Payment)
        await assert_equals_fold(bank)
        assert (await bank.get(Payment, ("0", "3"))).amount == Decimal("4.40")
    assert len(payments(neo4j_server)) == 15


def _wrong(**fields: Any) -> Any:
    class Wrong(ReadModel, key=("left", "right"), name="wrong"):
        __annotations__ = {"left": str, "right": str, "more": str, **fields}
        more = ""

        @evolve(key=lambda event: ("a", "b"))
        def paid(self, event: Paid) -> None:
            """Never called."""

    return read_model_of(Wrong)


def _node(label: Any) -> Any:
    return Annotated[str, msgspec.Meta(extra={"node": label})]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"left": _node("Account")}, "Wrong names 1 nodes, and a relationship is between two"),
        (
            {"left": _node("Account"), "more": _node("Account")},
            r"Wrong\.more names a node, so it must be .* key fields",
        ),
        ({"left": _node("my account")}, r"Wrong\.left: the node 'my account' must be letters and digits"),
        ({"right": _node(7)}, r"Wrong\.right: the node 7 must be"),
        ({"left": _node("RefoldTable")}, "are Refold's own"),
    ],
)
async def test_wrong_definitions(rows: RowStore, fields: Any, said: str) -> None:
    definition = _wrong(**fields)
    with pytest.raises(ConfigurationError, match=said):
        await rows.create(definition, "wrong", {"wrong": Standing(fingerprint="x")})


class Monthly(ReadModel, key=("payee", "month", "payer"), name="monthly"):
    """Several relationships between the same two nodes, of other kinds, in the order of the key."""

    payer: AccountId
    payee: Annotated[str, msgspec.Meta(extra={"node": "Shop"})]
    month: int
    times: int = 0

    @evolve(key=lambda event: ("a", 1, "b"))
    def paid(self, event: Paid) -> None:
        """Never called."""


async def test_several_relationships_between_two_nodes(rows: RowStore, neo4j_server: Neo4jServer) -> None:
    definition = read_model_of(Monthly)
    await rows.create(definition, "monthly", {"monthly": Standing(fingerprint=definition.fingerprint, epoch=1)})
    page = [Monthly(payer="a", payee="s", month=month, times=month) for month in (1, 2, 3)]
    assert await rows.write(definition, "monthly", page, [], Move(0, 1, "x", 1))
    assert await rows.write(definition, "monthly", page[:1], [("s", 2, "a")], Move(1, 2, "x", 1))
    asked = neo4j_server.ask("MATCH (:ShopShop)-[m:SHOP_MONTHLY_1]->(:ShopAccount) RETURN sum(m.times) AS times")
    assert asked == [{"times": 4}]
    assert (await rows.load(definition, "monthly", [("s", 3, "a")])).rows == {("s", 3, "a"): page[2]}
