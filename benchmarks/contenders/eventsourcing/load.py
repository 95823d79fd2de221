"""Loads one aggregate with many events, from a fresh process; or from a snapshot and the events after it."""

from time import perf_counter
from typing import Any

from benchmarks import workload
from benchmarks.contenders.eventsourcing.bank import event, open_bank
from benchmarks.contenders.runner import peak_megabytes, serve


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of one load, over an open connection."""
    with open_bank(arguments["url"], snapshots=arguments["snapshot"]) as bank:
        if arguments["snapshot"]:
            bank.take_snapshot(workload.account_uuid(0))
            bank.events.put(_later(arguments["events"], arguments["after_snapshot"]))
        bank.recorder.max_notification_id()
        begin = perf_counter()
        account: Any = bank.repository.get(workload.account_uuid(0))
        milliseconds = (perf_counter() - begin) * 1000
    return {
        "milliseconds": milliseconds,
        "version": account.version,
        "balance": account.balance,
        "peak": peak_megabytes(),
    }


def _later(version: int, events: int) -> list[Any]:
    account = workload.account_uuid(0)
    return [event(account, version + n + 1, workload.amount(version + n), version + n) for n in range(events)]


if __name__ == "__main__":
    serve(measure)
