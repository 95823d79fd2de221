"""Appends to a log that has events already, and where asked for while another session holds a snapshot open."""

from contextlib import ExitStack
from typing import Any

import psycopg

from benchmarks.contenders import closed_loop
from benchmarks.contenders.refold.append import caller
from benchmarks.contenders.refold.bank import app
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate over the last `seconds`; with `held`, the snapshot has been open under load for so long before."""
    with ExitStack() as held:
        if arguments["held"]:
            # Another session, not another task: the connection only has to stay open.
            session = held.enter_context(psycopg.connect(arguments["url"]))
            session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            session.execute("SELECT count(*) FROM pg_class")
        async with app.connect(arguments["url"], projections=False) as bank:
            callers = [caller(bank.store) for _ in range(arguments["callers"])]
            warm_up = max(arguments["held"], closed_loop.WARM_UP)
            driven = await closed_loop.tasks(callers, arguments["seconds"], warm_up)
    return {"rate": driven.rate, "stored": arguments["events"] + driven.acknowledged}


if __name__ == "__main__":
    serve(measure)
