"""Balances at the end of a day: running totals over the rows of `DailyBalance`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from operator import attrgetter

from examples.bank.read_models import DailyBalance
from refold import field
from refold.app import Context


@dataclass(frozen=True, slots=True)
class Balance:
    """What was in an account at the end of a day, after so many transactions."""

    account_id: str
    day: date
    balance: Decimal
    transactions: int


async def statement(bank: Context, account_id: str, *, after: int | None = None) -> list[Balance]:
    """The balance at the end of each day on which it changed, in order of the days."""
    days = await bank.find(DailyBalance, account_id=account_id, order_by="day", after=after)
    return list(_running_totals(days))


async def balances_on(bank: Context, day: date, *, after: int | None = None) -> dict[str, Balance]:
    """The balance of each account at the end of a day, by account id; of those that had a transaction by then."""
    days = await bank.find(DailyBalance, field("day") <= day, order_by=("account_id", "day"), after=after)
    of_accounts = groupby(days, key=attrgetter("account_id"))
    return {account_id: list(_running_totals(days))[-1] for account_id, days in of_accounts}


def _running_totals(days: Iterable[DailyBalance]) -> Iterator[Balance]:
    balance, transactions = Decimal(0), 0
    for row in days:
        balance += row.change
        transactions += row.transactions
        yield Balance(row.account_id, row.day, balance, transactions)
