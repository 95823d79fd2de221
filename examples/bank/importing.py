"""Importing a ledger: history is recorded as it was, on the days on which it happened, and not judged again."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path

from examples.bank.account import Account
from examples.bank.events import AccountOpened, PersonAuthorised
from examples.bank.ledger import LedgerAccount, account_id, moment, read_accounts, read_entries
from refold import Event
from refold.app import Context
from refold.folds.aggregate import definition_of

_AT_ONCE = 2_000
"""Appends that wait for their commit at the same time: they share it."""


@dataclass(frozen=True, slots=True)
class Import:
    """What an import did. `already_there` counts the events of `events` that an earlier run had recorded."""

    accounts: int
    transactions: int
    events: int
    already_there: int
    position: int


@dataclass(frozen=True, slots=True)
class _Step:
    """One append. Its id comes from the source, so that it is stored once however often it is imported.

    It expects the version that the steps before it lead to: the order in each stream is the ledger's, whatever fails.
    """

    stream: str
    events: tuple[Event, ...]
    expected: int
    id: str
    day: date


async def import_ledger(bank: Context, folder: Path, *, progress: Callable[[int, int], None]) -> Import:
    """Imports accounts and transactions. `progress` is told the events done and the events there are.

    The whole ledger is read and checked first, so that a broken line stores nothing (`LedgerError`). May be killed at
    any point and run again. Raises `Conflict` for an account into which somebody else has written meanwhile.
    """
    accounts = read_accounts(folder)
    transactions = sum(1 for _ in read_entries(folder, accounts))
    total = sum(1 + len(account.authorised) for account in accounts) + transactions
    done = already_there = position = 0
    steps = _steps(folder, accounts)
    while page := list(islice(steps, _AT_ONCE)):
        results = await asyncio.gather(*(_append(bank, step) for step in page))
        for step, (repeated, last) in zip(page, results, strict=True):
            done += len(step.events)
            already_there += len(step.events) if repeated else 0
            position = max(position, last)
        progress(done, total)
    return Import(len(accounts), transactions, total, already_there, position)


async def _append(bank: Context, step: _Step) -> tuple[bool, int]:
    result = await bank.append(
        step.stream,
        step.events,
        expected=step.expected,
        append_id=step.id,
        actor="ledger",
        occurred_at=moment(step.day),
    )
    return result.repeated, result.last


def _steps(folder: Path, accounts: list[LedgerAccount]) -> Iterator[_Step]:
    stream_of = definition_of(Account).stream_of
    versions: dict[int, int] = {}
    for account in accounts:
        opened = AccountOpened(owner=account.owner, district=account.district)
        authorised = [PersonAuthorised(person=person) for person in account.authorised]
        versions[account.number] = 1 + len(authorised)
        yield _Step(
            stream_of(account_id(account.number)),
            (opened, *authorised),
            0,
            f"ledger/account/{account.number}",
            account.opened_on,
        )
    for entry in read_entries(folder, accounts):
        yield _Step(
            stream_of(account_id(entry.account)),
            (entry.event,),
            versions[entry.account],
            f"ledger/transaction/{entry.id}",
            entry.day,
        )
        versions[entry.account] += 1
