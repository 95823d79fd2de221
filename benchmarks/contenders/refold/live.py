"""Eight projections of three kinds follow a log that others have filled, in one process with one reader."""

import asyncio
from decimal import Decimal
from time import perf_counter
from typing import Any

from benchmarks.contenders.refold.bank import Account, AccountOpened, MoneyDeposited, MoneyWithdrawn
from benchmarks.contenders.runner import peak_megabytes, serve
from refold import App, ReadModel, evolve

KINDS = 3


def balances(number: int) -> type[ReadModel]:
    """A row for each account."""

    class Balances(ReadModel, key="account_id", name=f"balances_{number}"):
        account_id: str
        balance: Decimal = Decimal(0)

        @evolve
        def opened(self, event: AccountOpened) -> None:
            """A row for the account."""

        @evolve
        def deposited(self, event: MoneyDeposited) -> None:
            self.balance += event.amount

        @evolve
        def withdrawn(self, event: MoneyWithdrawn) -> None:
            self.balance -= event.amount

    return Balances


def totals(number: int) -> type[ReadModel]:
    """One row that every event changes."""

    class Totals(ReadModel, key="currency", name=f"totals_{number}"):
        currency: str
        total: Decimal = Decimal(0)
        count: int = 0

        @evolve(key="currency")
        def deposited(self, event: MoneyDeposited) -> None:
            self.total += event.amount
            self.count += 1

    return Totals


def owners(number: int) -> type[ReadModel]:
    """What few events change."""

    class Owners(ReadModel, key="owner", name=f"owners_{number}"):
        owner: str
        accounts: int = 0

        @evolve(key="owner")
        def opened(self, event: AccountOpened) -> None:
            self.accounts += 1

    return Owners


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second that each of the projections has folded, when all have reached the log's end."""
    models = [kind(number) for number in range(3) for kind in (balances, totals, owners)][: arguments["projections"]]
    app = App("bank", aggregates=[Account], read_models=models)
    async with app.connect(arguments["url"], projections=False) as bank:
        head = (await bank.store.head()).position
    begin = perf_counter()
    async with app.connect(arguments["url"]) as bank:
        names = [each.__read_model__.name for each in models]
        followed = [bank.projections.local(name) for name in names]
        await asyncio.gather(*(each.applied.wait_beyond(head - 1, 600) for each in followed if each is not None))
        seconds = perf_counter() - begin
        reached = [each.position for each in await bank.projections.checkpoints() if each.name in names]
    assert min(reached) == head, reached
    return {"rate": head / seconds, "events": head, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
