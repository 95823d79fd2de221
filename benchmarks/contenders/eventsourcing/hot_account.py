"""32 threads that withdraw from one account, or from many, with the library's cache of aggregates."""

from itertools import cycle
from typing import Any

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsourcing.bank import entry_event, open_bank
from benchmarks.contenders.eventsourcing.commands import withdrawing
from benchmarks.contenders.runner import serve


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` threads on `accounts` accounts over `seconds`."""
    callers, accounts = arguments["callers"], arguments["accounts"]
    entries = workload.opened_with_money(accounts)
    with open_bank(arguments["url"], callers, cache=accounts) as bank:
        bank.events.put([entry_event(entry) for entry in entries])
        numbers = list(range(accounts))
        shares = [numbers] * callers if accounts == 1 else workload.shares(numbers, callers)
        driven = closed_loop.threads([withdrawing(bank, cycle(share)) for share in shares], arguments["seconds"])
    return {"rate": driven.rate, "stored": len(entries) + driven.acknowledged}


if __name__ == "__main__":
    serve(measure)
