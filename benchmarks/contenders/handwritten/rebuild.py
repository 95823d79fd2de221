"""A balance table rebuilt by hand: pages of 1,000 events, folded in memory, one upsert and the checkpoint in one
transaction each.
"""

import json
from collections import defaultdict
from decimal import Decimal
from time import perf_counter
from typing import Any

import asyncpg

from benchmarks.contenders.handwritten import store
from benchmarks.contenders.runner import peak_megabytes, serve

TABLES = """
CREATE TABLE balances (account_id text PRIMARY KEY, balance numeric NOT NULL);
CREATE TABLE checkpoints (name text PRIMARY KEY, position bigint NOT NULL);
INSERT INTO checkpoints VALUES ('balances', 0)
"""
PAGE = "SELECT position, stream, type, payload FROM events WHERE position > $1 ORDER BY position LIMIT 1000"
UPSERT = """
INSERT INTO balances SELECT * FROM unnest($1::text[], $2::numeric[])
ON CONFLICT (account_id) DO UPDATE SET balance = balances.balance + excluded.balance
"""
CHECKPOINT = "UPDATE checkpoints SET position = $1 WHERE name = 'balances'"


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second, from the empty table to the end of the log."""
    connection = await asyncpg.connect(arguments["url"])
    await connection.execute(TABLES)
    events = position = 0
    begin = perf_counter()
    while page := await connection.fetch(PAGE, position):
        changes: defaultdict[str, Decimal] = defaultdict(Decimal)
        for _, stream, kind, payload in page:
            account = stream.partition("-")[2]
            if kind == store.DEPOSITED:
                changes[account] += Decimal(json.loads(payload)["amount"])
            elif kind == store.OPENED:
                changes[account] += 0
        position = page[-1][0]
        async with connection.transaction():
            await connection.execute(UPSERT, list(changes), list(changes.values()))
            await connection.execute(CHECKPOINT, position)
        events += len(page)
    seconds = perf_counter() - begin
    await connection.close()
    return {"rate": events / seconds, "events": events, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
