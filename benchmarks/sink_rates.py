"""What the benchmarks of sinks share: the rows, the row store's turn, and the comparison with a client alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal

from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
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


async def through_the_row_store(store: RowStore, rows: list[BenchAccount]) -> float:
    """Seconds, from typed rows to a checkpoint that has moved."""
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


Write = Callable[[list[BenchAccount]], Awaitable[float]]


async def compare(ours: Write, theirs: Write, number: int, rounds: int) -> None:
    """Prints both rates, measured in turn, in the other order each round, and ours as a share of the client's."""
    rows = rows_of(number)
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
