"""Deposits at a steady pace, for the latency benchmark."""

from typing import Any

from benchmarks import workload
from benchmarks.contenders.eventsourcing.bank import entry_event, event, open_bank
from benchmarks.contenders.latency_protocol import DEPOSIT, acknowledge, paced, serve_writer


def write(arguments: dict[str, Any]) -> None:
    """Deposit one crown on each account in turn."""
    accounts = arguments["accounts"]
    with open_bank(arguments["url"]) as bank:
        bank.events.put([entry_event(entry) for entry in workload.opened(accounts)])
        for number in paced(arguments):
            account, earlier = number % accounts, number // accounts
            bank.events.put([event(workload.account_uuid(account), earlier + 2, DEPOSIT, number)])
            acknowledge(number)


if __name__ == "__main__":
    serve_writer(write)
