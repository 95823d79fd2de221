"""Reads the whole log into the library's domain events, 1,000 notifications at a time."""

from decimal import Decimal
from time import perf_counter
from typing import Any

from benchmarks.contenders.eventsourcing.bank import Account, open_bank
from benchmarks.contenders.runner import peak_megabytes, serve

PAGE = 1000


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second from the first to the last."""
    with open_bank(arguments["url"]) as bank:
        begin = perf_counter()
        events = position = 0
        total = Decimal(0)
        while page := bank.recorder.select_notifications(position, PAGE, inclusive_of_start=False):
            for notification in page:
                event: Any = bank.mapper.to_domain_event(notification)
                if type(event) is Account.MoneyDeposited:
                    total += event.amount
            events += len(page)
            position = page[-1].id
        seconds = perf_counter() - begin
    return {"rate": events / seconds, "events": events, "total": total, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
