"""Writes a history through the library's recorder, 1,000 events at a time."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from benchmarks import workload
from benchmarks.contenders.eventsourcing.bank import Bank, entry_event, open_bank
from benchmarks.contenders.runner import serve

PAGE = 1000


def write(arguments: dict[str, Any]) -> dict[str, Any]:
    """`events` events over `accounts` accounts, or of one account when `accounts` is 1."""
    with open_bank(arguments["url"]) as bank:
        write_history(bank, history(arguments))
    return {}


def history(arguments: dict[str, Any]) -> Iterator[workload.Entry]:
    """The history that the arguments ask for."""
    if arguments["accounts"] == 1:
        return workload.long_history(arguments["events"])
    return workload.history(arguments["accounts"], arguments["events"])


def write_history(bank: Bank, entries: Iterator[workload.Entry]) -> None:
    """Append the events of a history."""
    while page := list(islice(entries, PAGE)):
        bank.events.put([entry_event(entry) for entry in page])


if __name__ == "__main__":
    serve(write)
