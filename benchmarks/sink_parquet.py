"""How fast rows get into Parquet files through the row store, beside pyarrow alone with the same rows.

`python -m benchmarks.sink_parquet [--rows N] [--rounds N]`. Pyarrow alone writes a file for each page too, and
waits for the disk; it keeps no checkpoint, sorts nothing and merges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from functools import partial
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.sink_rates import DEFINITION, PAGE, BenchAccount, compare, through_the_row_store
from refold.projections.sinks.parquet import open_parquet


async def ours(folder: Path, rows: list[BenchAccount]) -> float:
    """Seconds that the row store takes."""
    store = await open_parquet(f"parquet://{folder}/ours")
    await store.prepare()
    return await through_the_row_store(store, rows)


async def theirs(folder: Path, rows: list[BenchAccount]) -> float:
    """Seconds that pyarrow takes, from typed rows too."""
    names = DEFINITION.cls.__struct_fields__
    began = time.perf_counter()
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        columns = {name: list(map(attrgetter(name), page)) for name in names}
        columns["balance"] = list(map(str, columns["balance"]))
        with (folder / f"{start}.parquet").open("wb") as file:
            pq.write_table(pa.table(columns), file)
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(compare(partial(ours, folder), partial(theirs, folder), arguments.rows, arguments.rounds))


if __name__ == "__main__":
    main()
