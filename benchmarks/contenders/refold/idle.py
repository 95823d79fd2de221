"""Ten projections with nothing to do: what they ask of the server and of the processor."""

import asyncio
import resource
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.contenders.refold.bank import Account
from benchmarks.contenders.refold.live import balances, owners, totals
from benchmarks.contenders.runner import serve
from refold import App

SETTLING = 5.0


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _transactions(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "select sum(xact_commit + xact_rollback) from pg_stat_database where datname = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Transactions a second, and the share of a core, over some seconds in which nothing is appended."""
    kinds = (balances, totals, owners)
    models = [kinds[number % 3](number) for number in range(arguments["projections"])]
    app = App("bank", aggregates=[Account], read_models=models)
    async with app.connect(arguments["url"]) as bank:
        head = (await bank.store.head()).position
        for model in models:
            local = bank.projections.local(model.__read_model__.name)
            assert local is not None
            await local.applied.wait_beyond(head - 1, 300)
        await asyncio.sleep(SETTLING)
        before, used, begin = _transactions(arguments["url"]), _processor(), perf_counter()
        await asyncio.sleep(arguments["seconds"])
        seconds, used = perf_counter() - begin, _processor() - used
        # The counting itself is two transactions.
        queries = (_transactions(arguments["url"]) - before - 2) / seconds
    return {"queries": max(0.0, queries), "core": 100 * used / seconds, "events": head}


if __name__ == "__main__":
    serve(measure)
