"""Checking an imported ledger against the bank's own record: the balance that it wrote beside each transaction."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from examples.bank.account import Account
from examples.bank.balances import Balance, balances_on
from examples.bank.ledger import LedgerEntry, account_id, moment, read_accounts, read_entries
from refold.app import Context

TOLERANCE = Decimal("0.60")
"""The bank rounds interest to 0.10, so its own balances and the sums of its transactions drift apart a little."""

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class CheckedAccount:
    """The balance of one account at the end of the day, by three sources, and how many transactions each has seen."""

    account_id: str
    recorded: Decimal
    by_temporal_query: Decimal
    by_read_model: Decimal
    transactions: tuple[int, int, int]

    @property
    def deviation(self) -> Decimal:
        """How far the folded balance is from the recorded one."""
        return abs(self.by_temporal_query - self.recorded)

    @property
    def holds(self) -> bool:
        """Whether both folds saw each transaction, agree to the last digit, and are near to the bank's own record."""
        return (
            self.deviation <= TOLERANCE
            and self.by_read_model == self.by_temporal_query
            and len(set(self.transactions)) == 1
        )


async def check_ledger(bank: Context, folder: Path, day: date) -> list[CheckedAccount]:
    """All accounts with a transaction up to the end of that day, in order of their numbers. Raises `LedgerError`."""
    entries = read_entries(folder, read_accounts(folder))
    recorded = recorded_balances(entry for entry in entries if entry.day <= day)
    head = await bank.store.head()
    from_rows = await balances_on(bank, day, after=head.position)
    checked: list[CheckedAccount] = []
    numbers = sorted(recorded)
    for start in range(0, len(numbers), _AT_ONCE):
        page = numbers[start : start + _AT_ONCE]
        states = await asyncio.gather(
            *(bank.load(Account, account_id(number), as_of=moment(day), time="occurred") for number in page)
        )
        for number, state in zip(page, states, strict=True):
            name = account_id(number)
            balance, transactions = recorded[number]
            row = from_rows.get(name, Balance(name, day, Decimal(0), 0))
            checked.append(
                CheckedAccount(
                    name, balance, state.balance, row.balance, (transactions, state.transactions, row.transactions)
                )
            )
    return checked


def recorded_balances(entries: Iterable[LedgerEntry]) -> dict[int, tuple[Decimal, int]]:
    """For each account the balance that the bank recorded last, and the number of its transactions."""
    of_account: dict[int, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        of_account[entry.account].append(entry)
    found: dict[int, tuple[Decimal, int]] = {}
    for account, booked in of_account.items():
        balance = Decimal(0)
        for _, of_day in groupby(sorted(booked, key=attrgetter("day")), key=attrgetter("day")):
            balance = closing_balance(balance, list(of_day))
        found[account] = balance, len(booked)
    return found


def closing_balance(opening: Decimal, of_day: list[LedgerEntry]) -> Decimal:
    """The balance that the bank recorded last on a day that began with `opening`.

    Inside of a day the file's order is not the booking order, but each transaction began where another one ended (or
    the day began): take away each beginning, and the one end that is left is the end of the day.
    """
    ends = [opening, *(entry.balance for entry in of_day)]
    for entry in of_day:
        beginning = entry.balance - entry.change
        ends.remove(min(ends, key=lambda end: abs(end - beginning)))
    return ends[0]
