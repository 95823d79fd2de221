"""How fast rows get into OpenSearch through the row store, beside the client's own bulk helper with the same rows.

`python -m benchmarks.sink_opensearch [URL] [--rows N] [--rounds N]`; without a URL a server is started. Each round
writes into a new index of the same settings and mapping, both in turn, in the other order each round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import ExitStack
from decimal import Decimal
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
from opensearchpy import AsyncOpenSearch
from opensearchpy.helpers import async_streaming_bulk

from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.row_store import Standing
from refold.projections.sink import building
from refold.projections.sinks.opensearch import OpenSearchRows
from refold.projections.sinks.opensearch_documents import documents_of
from refold.projections.sinks.opensearch_server import Server, place_of
from tests.servers import OpenSearchServer

PAGE = 20_000
"""As many rows as a projection writes at once."""


class Opened(Event, name="BenchmarkSinkOpened"):
    """Never recorded."""


class BenchAccount(ReadModel, key="account_id", name="bench_account"):
    """A row of the usual size."""

    account_id: str
    owner: str = ""
    city: str = ""
    balance: Decimal = Decimal(0)
    movements: int = 0
    note: str | None = None

    @evolve
    def opened(self, event: Opened) -> None:
        """Never called."""


DEFINITION = read_model_of(BenchAccount)


def rows_of(number: int) -> list[BenchAccount]:
    return [
        BenchAccount(
            account_id=f"account-{each:08}",
            owner=f"Owner {each % 977} of {each % 13} houses",
            city=f"City {each % 101}",
            balance=Decimal(each) / 100,
            movements=each % 50,
            note=None if each % 3 else f"opened by hand, case {each}",
        )
        for each in range(number)
    ]


async def ours(url: str, rows: list[BenchAccount]) -> float:
    """Seconds, from typed rows to a checkpoint that has moved."""
    store = OpenSearchRows(Server(place_of(url)))
    table = building(DEFINITION.name)
    await store.create(DEFINITION, table, {table: Standing(fingerprint=DEFINITION.fingerprint, epoch=1)})
    began = time.perf_counter()
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        assert await store.write(DEFINITION, table, page, [], Move(start, start + len(page), "", 1))
    took = time.perf_counter() - began
    assert await store.count(DEFINITION, table, None) == len(rows)
    await store.drop(table)
    await store.close()
    return took


async def theirs(url: str, rows: list[BenchAccount]) -> float:
    """Seconds that the client's helper takes, in chunks of its own size, from typed rows too."""
    parts = urlsplit(url)
    client = AsyncOpenSearch(hosts=[{"host": parts.hostname, "port": parts.port}], timeout=60)
    index = f"bench-{uuid4().hex[:8]}"
    settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
    body = {
        "settings": {"index": {**settings, "translog": {"durability": "async"}}},
        "mappings": documents_of(DEFINITION).mapping(),
    }
    await client.indices.create(index=index, body=body)
    began = time.perf_counter()
    actions = ({"_index": index, "_id": row.account_id, "_source": msgspec.to_builtins(row)} for row in rows)
    async for _ in async_streaming_bulk(client, actions):
        pass
    took = time.perf_counter() - began
    await client.indices.refresh(index=index)
    assert (await client.count(index=index))["count"] == len(rows)
    await client.indices.delete(index=index)
    await client.close()
    return took


async def measure(url: str, number: int, rounds: int) -> None:
    rows = rows_of(number)
    await ours(url, rows[:20_000])
    await theirs(url, rows[:20_000])
    rates: dict[str, list[float]] = {"row store": [], "client's bulk": []}
    for turn in range(rounds):
        pair = [("row store", ours), ("client's bulk", theirs)]
        for name, write in pair if turn % 2 == 0 else pair[::-1]:
            rates[name].append(number / await write(url, rows))
    for name, found in rates.items():
        print(f"{name:14} {statistics.median(found):9,.0f} rows/s   ({', '.join(f'{each:,.0f}' for each in found)})")
    share = statistics.median(rates["row store"]) / statistics.median(rates["client's bulk"])
    print(f"{share:.0%} of the client's own rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        url = arguments.url or stack.enter_context(OpenSearchServer.create()).url()
        asyncio.run(measure(url, arguments.rows, arguments.rounds))


if __name__ == "__main__":
    main()
