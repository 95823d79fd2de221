"""Single-event appends through the application's event store, each with its version."""

import uuid
from collections.abc import Callable
from typing import Any

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsourcing.bank import Bank, event, open_bank
from benchmarks.contenders.runner import serve


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` threads over `seconds`."""
    with open_bank(arguments["url"], arguments["callers"]) as bank:
        return closed_loop.threads([caller(bank) for _ in range(arguments["callers"])], arguments["seconds"])._asdict()


def caller(bank: Bank) -> Callable[[], None]:
    """Appends one event at each call."""
    stream, version = uuid.uuid4(), 0

    def append() -> None:
        nonlocal stream, version
        if version == workload.EVENTS_PER_STREAM:
            stream, version = uuid.uuid4(), 0
        version += 1
        bank.events.put([event(stream, version, workload.amount(version), version)])

    return append


if __name__ == "__main__":
    serve(measure)
