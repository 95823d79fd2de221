"""Commands: get the aggregate, call it, save it; again when somebody else was faster.

Cold: without the library's cache of aggregates. Warm: with it, filled.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from eventsourcing.persistence import IntegrityError

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsourcing.bank import Bank, open_bank
from benchmarks.contenders.runner import serve

WARM_ACCOUNTS = 500
"""Few enough to be all in the cache soon, at this library's rate."""


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rates of `callers` threads, each over `seconds`: every account once, then a few again and again."""
    url, callers, accounts = arguments["url"], arguments["callers"], workload.shuffled(arguments["accounts"])
    with open_bank(url, callers) as bank:
        once = [withdrawing(bank, iter(share)) for share in workload.shares(accounts, callers)]
        cold = closed_loop.threads(once, arguments["seconds"], closed_loop.COLD_WARM_UP)
    with open_bank(url, callers, cache=arguments["accounts"]) as bank:
        again = accounts[:WARM_ACCOUNTS]
        for account in again:
            bank.repository.get(workload.account_uuid(account))
        repeated = [withdrawing(bank, cycle(share)) for share in workload.shares(again, callers)]
        warm = closed_loop.threads(repeated, arguments["seconds"])
    stored = arguments["events"] + cold.acknowledged + warm.acknowledged
    return {"cold": cold.rate, "warm": warm.rate, "stored": stored}


def withdrawing(bank: Bank, accounts: Iterator[int]) -> Callable[[], None]:
    """Withdraws from the next account at each call, as often as it takes."""

    def withdraw() -> None:
        number = next(accounts, None)
        if number is None:
            raise closed_loop.Exhausted
        while True:
            account: Any = bank.repository.get(workload.account_uuid(number))
            account.withdraw(workload.PENNY, number)
            try:
                bank.save(account)
            except IntegrityError:
                continue
            return

    return withdraw


if __name__ == "__main__":
    serve(measure)
