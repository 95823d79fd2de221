"""Balances at the end of a day, from the daily balances' rows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from examples.bank.read_models import DailyBalance
from refold.app import Context
from refold.commands.receipt import Receipt

_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class Balance:
    """What was in an account at the end of a day, after so many transactions."""

    account_id: str
    day: date
    balance: Decimal
    transactions: int


async def statement(bank: Context, account_id: str, *, after: Receipt | int | None = None) -> list[Balance]:
    """The balance at the end of each day on which it changed, in order of the days."""
    return [each async for each in _running(bank, None, after=after)]


async def balances_on(bank: Context, day: date, *, after: Receipt | int | None = None) -> dict[str, Balance]:
    """The balance of each account at the end of a day, by account id; of those that had a transaction by then."""
    return {each.account_id: each async for each in _running(bank, None, after=after)}


async def _running(bank: Context, where: Any, *, after: Receipt | int | None) -> AsyncIterator[Balance]:
    """The running total of each account over its days, page by page."""
    last = Balance("", date.min, Decimal(0), 0)
    seen = 0
    while True:
        page = await bank.find(
            DailyBalance, where, order_by=("account_id", "day"), limit=_PAGE, offset=seen, after=after
        )
        for row in page:
            before = last if last.account_id == row.account_id else Balance(row.account_id, row.day, Decimal(0), 0)
            last = Balance(row.account_id, row.day, before.balance + row.change, before.transactions + row.transactions)
            yield last
        seen += len(page)
        if len(page) < _PAGE:
            return
