"""How fast rows get into OpenSearch through the row store, beside the client's own bulk helper with the same rows.

`python -m benchmarks.sink_opensearch [URL] [--rows N] [--rounds N]`; without a URL a server is started. Each round
writes into a new index of the same settings and mapping, both in turn, in the other order each round.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import ExitStack
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
from opensearchpy import AsyncOpenSearch
from opensearchpy.helpers import async_streaming_bulk

from benchmarks.sink_rates import DEFINITION, BenchAccount, compare, through_the_row_store
from refold.projections.sinks.opensearch import OpenSearchRows
from refold.projections.sinks.opensearch_documents import documents_of
from refold.projections.sinks.opensearch_server import Server, place_of
from tests.servers import OpenSearchServer


async def ours(url: str, rows: list[BenchAccount]) -> float:
    """Seconds that the row store takes."""
    return await through_the_row_store(OpenSearchRows(Server(place_of(url))), rows)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        url = arguments.url or stack.enter_context(OpenSearchServer.create()).url()
        asyncio.run(compare(partial(ours, url), partial(theirs, url), arguments.rows, arguments.rounds))


if __name__ == "__main__":
    main()
