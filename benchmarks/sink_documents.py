"""How fast rows get into Postgres as columns and as JSON documents: new ones, the same again, and read by key.

`python -m benchmarks.sink_documents [--rows N] [--rounds N]`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import defaultdict

import msgspec

from benchmarks.sink_rates import DEFINITION, PAGE, BenchAccount, rows_of
from refold.folds.read_model import ReadModelDefinition
from refold.projections.checkpoint import Move
from refold.projections.sinks.postgres import PostgresSink
from refold.store.postgres import open_postgres
from tests.servers import PostgresServer

LAYOUTS = {
    "columns": DEFINITION,
    "documents": msgspec.structs.replace(DEFINITION, documents=True, fingerprint="documents"),
}


async def rates(sink: PostgresSink, definition: ReadModelDefinition, rows: list[BenchAccount]) -> dict[str, float]:
    """Rows a second, by what was done."""
    await sink.register(definition, definition.name)
    mine = await sink.claim(definition.name, "benchmark", 600)
    assert mine is not None
    found, position = {}, 0
    pages = [rows[start : start + PAGE] for start in range(0, len(rows), PAGE)]
    for what in ("new", "changed"):
        began = time.perf_counter()
        for page in pages:
            move = Move(position, position + len(page), "", mine.epoch)
            assert await sink.write(definition, definition.name, page, [], move)
            position += len(page)
        found[what] = len(rows) / (time.perf_counter() - began)
    began = time.perf_counter()
    for page in pages:
        loaded = await sink.load(definition, definition.name, [definition.key_of(row) for row in page])
        assert len(loaded.rows) == len(page)
    found["loaded"] = len(rows) / (time.perf_counter() - began)
    await sink.drop(definition.name)
    return found


async def run(url: str, number: int, rounds: int) -> None:
    store = await open_postgres(url)
    sink = PostgresSink(store)
    await sink.prepare()
    rows = rows_of(number)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for turn in range(rounds):
        names = list(LAYOUTS) if turn % 2 == 0 else list(LAYOUTS)[::-1]
        for layout in names:
            for what, rate in (await rates(sink, LAYOUTS[layout], rows)).items():
                found[what, layout].append(rate)
    await store.close()
    for (what, layout), measured in sorted(found.items()):
        print(f"{what:8} {layout:10} {statistics.median(measured):9,.0f} rows/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with PostgresServer.create("postgres18") as server:
        asyncio.run(run(server.create_database("bench"), arguments.rows, arguments.rounds))


if __name__ == "__main__":
    main()
