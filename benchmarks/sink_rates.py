"""What the benchmarks of sinks share: the rows, the row store's turn, and the comparison with a client alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, ReadModelDefinition, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import building

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
    """That many rows, all different."""
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


async def through_the_row_store(
    store: RowStore, rows: Sequence[ReadModel], definition: ReadModelDefinition = DEFINITION
) -> float:
    """Seconds, from typed rows to a checkpoint that has moved."""
    table = building(definition.name)
    await store.create(definition, table, {table: Standing(fingerprint=definition.fingerprint, epoch=1)})
    began = time.perf_counter()
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        assert await store.write(definition, table, page, [], Move(start, start + len(page), "", 1))
    took = time.perf_counter() - began
    assert await store.count(definition, table, None) == len(rows)
    await store.drop(table)
    await store.close()
    return took


Write = Callable[[list[Any]], Awaitable[float]]


async def compare(
    ours: Write, theirs: Write, number: int, rounds: int, made: Callable[[int], list[Any]] = rows_of
) -> None:
    """Prints both rates, measured in turn, in the other order each round, and ours as a share of the client's."""
    rows = made(number)
    for write in (ours, theirs):
        await write(rows[:20_000])
    rates: dict[str, list[float]] = {"row store": [], "client alone": []}
    for turn in range(rounds):
        pair = [("row store", ours), ("client alone", theirs)]
        for name, write in pair if turn % 2 == 0 else pair[::-1]:
            rates[name].append(number / await write(rows))
    for name, found in rates.items():
        print(f"{name:14} {statistics.median(found):9,.0f} rows/s   ({', '.join(f'{each:,.0f}' for each in found)})")
    share = statistics.median(rates["row store"]) / statistics.median(rates["client alone"])
    print(f"{share:.0%} of the client's own rate")
