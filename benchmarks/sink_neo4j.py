"""How fast rows get into Neo4j through the row store, beside the driver's own bulk write of the same rows: nodes, and
relationships between nodes.

`python -m benchmarks.sink_neo4j [--rows N] [--rounds N]`. The driver's writes keep no checkpoint; both have a
uniqueness constraint on the key, and commit as many rows at once. Then: what a switch of that many rows costs.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import msgspec
from neo4j import AsyncGraphDatabase

from benchmarks.sink_rates import DEFINITION, PAGE, Opened, compare, rows_of, through_the_row_store
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, ReadModelDefinition, read_model_of
from refold.projections.checkpoint import Move
from refold.projections.row_store import Standing
from refold.projections.sink import building, previous
from refold.projections.sinks.neo4j import open_neo4j
from tests.servers import Neo4jServer

ACCOUNTS = 4_000
NODES = "UNWIND $rows AS row MERGE (n:Theirs {account_id: row.account_id}) SET n = row"
RELATIONSHIPS = """UNWIND $rows AS row
MERGE (a:TheirAccount {id: row.payer}) MERGE (b:TheirAccount {id: row.payee})
CREATE (a)-[p:THEIRS]->(b) SET p = row"""
CONSTRAINTS = (
    "CREATE CONSTRAINT theirs IF NOT EXISTS FOR (n:Theirs) REQUIRE n.account_id IS UNIQUE",
    "CREATE CONSTRAINT their_accounts IF NOT EXISTS FOR (n:TheirAccount) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT their_payments IF NOT EXISTS FOR ()-[p:THEIRS]-() REQUIRE (p.payer, p.payee) IS UNIQUE",
)
AccountId = Annotated[str, msgspec.Meta(extra={"node": "Account"})]


class BenchPayment(ReadModel, key=("payer", "payee"), name="bench_payment"):
    """A relationship of the usual size."""

    payer: AccountId
    payee: AccountId
    sent: Decimal = Decimal(0)
    times: int = 0

    @evolve(key=lambda event: ("a", "b"))
    def opened(self, event: Opened) -> None:
        """Never called."""


PAYMENT = read_model_of(BenchPayment)


def payments_of(number: int) -> list[BenchPayment]:
    """That many pairs, all different, of a few accounts."""
    return [
        BenchPayment(
            payer=f"{each % ACCOUNTS}",
            payee=f"{(each % ACCOUNTS + each // ACCOUNTS + 1) % ACCOUNTS}",
            sent=Decimal(each) / 100,
            times=each % 50,
        )
        for each in range(number)
    ]


async def ours(url: str, definition: ReadModelDefinition, rows: Sequence[Any]) -> float:
    """Seconds that the row store takes."""
    return await through_the_row_store(await open_neo4j(url), rows, definition)


async def theirs(server: Neo4jServer, statement: str, rows: Sequence[Any]) -> float:
    """Seconds that the driver takes, from typed rows too."""
    login = ("neo4j", server.password)
    async with (
        AsyncGraphDatabase.driver(f"bolt://127.0.0.1:{server.port}", auth=login) as driver,
        driver.session(database="neo4j") as session,
    ):
        for constraint in CONSTRAINTS:
            await session.run(constraint)
        began = time.perf_counter()
        for start in range(0, len(rows), PAGE):
            page = [msgspec.to_builtins(row) for row in rows[start : start + PAGE]]
            await (await session.run(statement, rows=page)).consume()
        took = time.perf_counter() - began
        for label in ("Theirs", "TheirAccount"):
            emptied = f"MATCH (n:{label}) CALL (n) {{ DETACH DELETE n }} IN TRANSACTIONS OF 5000 ROWS"
            await (await session.run(emptied)).consume()
    return took


async def switches(url: str, number: int) -> None:
    """Prints how long readers' pointer takes to be turned to another version of that many rows."""
    store, built, name = await open_neo4j(url), building(DEFINITION.name), DEFINITION.name
    rows = rows_of(number)
    took = []
    for table in (name, built):
        await store.create(DEFINITION, table, {table: Standing(fingerprint=DEFINITION.fingerprint, epoch=1)})
        for start in range(0, number, PAGE):
            page = rows[start : start + PAGE]
            assert await store.write(DEFINITION, table, page, [], Move(start, start + len(page), "", 1))
    began = time.perf_counter()
    assert await store.switch(DEFINITION, built, name, previous(name))
    took.append(time.perf_counter() - began)
    for _ in range(10):
        began = time.perf_counter()
        assert await store.exchange(name, previous(name))
        took.append(time.perf_counter() - began)
    times = ", ".join(f"{each * 1_000:.0f}" for each in took)
    print(f"a switch and ten exchanges of two versions of {number:,} rows: {times} ms")
    for table in (name, previous(name)):
        await store.drop(table)
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with Neo4jServer.create() as server:
        url = server.url("bench")
        for what, definition, made, statement in (
            ("nodes", DEFINITION, rows_of, NODES),
            ("relationships", PAYMENT, payments_of, RELATIONSHIPS),
        ):
            print(what)
            pair = partial(ours, url, definition), partial(theirs, server, statement)
            asyncio.run(compare(*pair, arguments.rows, arguments.rounds, made))
        asyncio.run(switches(url, arguments.rows))


if __name__ == "__main__":
    main()
