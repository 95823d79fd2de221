"""How fast rows get into Redis through the row store, beside the client's own pipeline with the same hashes.

`python -m benchmarks.sink_redis [--rows N] [--rounds N]`. The pipeline is not a transaction, and keeps no checkpoint.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial

import msgspec
import redis.asyncio as redis

from benchmarks.sink_rates import BenchAccount, compare, through_the_row_store
from refold.projections.sinks.redis import open_redis
from tests.servers import RedisServer

CHUNK = 1_000


async def ours(url: str, rows: list[BenchAccount]) -> float:
    """Seconds that the row store takes."""
    return await through_the_row_store(await open_redis(url), rows)


async def theirs(url: str, rows: list[BenchAccount]) -> float:
    """Seconds that pipelines of HSET take, from typed rows too."""
    client = redis.Redis.from_url(url.partition("?")[0])
    encode = msgspec.json.Encoder().encode
    began = time.perf_counter()
    for start in range(0, len(rows), CHUNK):
        pipeline = client.pipeline(transaction=False)
        for row in rows[start : start + CHUNK]:
            fields = msgspec.to_builtins(row)
            mapping = {name: value if isinstance(value, str) else encode(value) for name, value in fields.items()}
            pipeline.hset(f"bench:{row.account_id}", mapping=mapping)
        await pipeline.execute()
    took = time.perf_counter() - began
    await client.flushdb()
    await client.aclose()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with RedisServer.create() as server:
        url = server.url("bench")
        asyncio.run(compare(partial(ours, url), partial(theirs, url), arguments.rows, arguments.rounds))


if __name__ == "__main__":
    main()
