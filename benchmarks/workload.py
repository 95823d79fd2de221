"""What every contender does in a benchmark: the same accounts, the same deposits, the same metadata.

Contenders run in environments of their own, so this needs nothing but Python.
"""

import random
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

ACTOR = "alice.novakova"
OWNER = "Alice Nováková"
COMMAND = "DepositMoney"
CURRENCY = "CZK"
COUNTERPARTY = "CZ65 0800 0000 1920 0014 5399"
TEXT = "standing order no. 00123456, monthly rent for the flat in Brno, Údolní 53"
"""With the other fields, a deposit's payload comes to about 200 bytes of JSON."""

PENNY = Decimal("0.01")
"""What commands withdraw: no account runs dry."""

EVENTS_PER_STREAM = 10
"""Callers that append go on to a new stream after so many events, so that most of the expected versions are not "no
stream".
"""


class Entry(NamedTuple):
    """One event of a history: `amount` is None when it opens the account, which is the first of the account's
    events.
    """

    account: int
    version: int
    amount: Decimal | None
    number: int


def amount(number: int) -> Decimal:
    """The amount of the deposit with this number: 10.00 to 19.96."""
    return Decimal(1000 + number % 997) / 100


def reference(number: int) -> str:
    """The reference of the deposit with this number."""
    return f"2026-{number:09d}"


def account_uuid(number: int) -> uuid.UUID:
    """An account's id where the peer wants a UUID."""
    return uuid.UUID(int=(0x5EED << 112) | number)


def history(accounts: int, events: int) -> Iterator[Entry]:
    """The same history each time: all accounts are opened, then deposits fall on accounts at random, as they do in a
    bank.
    """
    chance = random.Random(accounts)
    versions = [1] * accounts
    for number in range(accounts):
        yield Entry(number, 1, None, number)
    for number in range(accounts, events):
        account = chance.randrange(accounts)
        versions[account] += 1
        yield Entry(account, versions[account], amount(number), number)


def long_history(events: int) -> Iterator[Entry]:
    """One account with so many events."""
    yield Entry(0, 1, None, 0)
    for number in range(1, events):
        yield Entry(0, number + 1, amount(number), number)


def opened(accounts: int) -> list[Entry]:
    """Accounts that were opened, and nothing else."""
    return [Entry(account, 1, None, account) for account in range(accounts)]


def opened_with_money(accounts: int) -> list[Entry]:
    """Accounts with one large deposit each: two events an account."""
    return opened(accounts) + [Entry(account, 2, Decimal(1_000_000), account) for account in range(accounts)]


def total(entries: Iterator[Entry]) -> Decimal:
    """The sum of all balances after a history."""
    return sum((entry.amount for entry in entries if entry.amount is not None), Decimal(0))


def shuffled(accounts: int) -> list[int]:
    """The accounts in an order that has nothing to do with how they were opened."""
    numbers = list(range(accounts))
    random.Random(7).shuffle(numbers)
    return numbers


def shares(accounts: list[int], callers: int) -> list[list[int]]:
    """The accounts dealt out to the callers, so that no two of them want the same one."""
    return [accounts[caller::callers] for caller in range(callers)]
