"""A small domain in which everything occurs that an API must cope with: several keys, optional and nested fields,
refusals of three kinds, keys that hold anything.
"""

from __future__ import annotations

import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from refold import Aggregate, App, Command, Event, ReadModel, Rejected, decide, evolve


class NotYours(Rejected):
    """Only its owner may do that."""

    status = 403


class Nonsense(Rejected):
    """No account could do that."""

    status = 422


class Kind(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Address(msgspec.Struct, frozen=True):
    street: str
    city: str = "Praha"


class OpenAccount(Command):
    """Open an account for its owner."""

    account_id: str
    owner: str
    address: Address | None = None


class DepositMoney(Command):
    account_id: str
    amount: Decimal
    on: datetime | None = None


class WithdrawMoney(Command):
    account_id: str
    amount: Decimal


class Relabel(Command):
    account_id: str
    labels: list[str]


class TakeNote(Command):
    note_id: str
    text: Annotated[str, msgspec.Meta(max_length=100)]


class AccountOpened(Event):
    owner: str
    address: Address | None = None


class MoneyDeposited(Event, tags="payer"):
    amount: Decimal
    payer: str | None = None


class MoneyWithdrawn(Event):
    amount: Decimal


class Relabelled(Event):
    labels: list[str]


class NoteTaken(Event):
    text: str


class Account(Aggregate, stream="account", id="account_id", snapshot_every=5):
    owner: str | None = None
    address: Address | None = None
    balance: Decimal = Decimal(0)
    labels: list[str] = []

    @decide
    def open(self, command: OpenAccount) -> AccountOpened:
        if self.owner is not None:
            raise Rejected("this account is open already")
        return AccountOpened(owner=command.owner, address=command.address)

    @decide
    def deposit(self, command: DepositMoney) -> MoneyDeposited:
        if command.amount <= 0:
            raise Nonsense("an amount is above 0")
        return MoneyDeposited(amount=command.amount, payer=self.owner)

    @decide
    def withdraw(self, command: WithdrawMoney) -> MoneyWithdrawn:
        if self.owner is None:
            raise NotYours("this account is nobody's")
        if command.amount > self.balance:
            raise Rejected(f"only {self.balance} is there")
        return MoneyWithdrawn(amount=command.amount)

    @decide
    def relabel(self, command: Relabel) -> Relabelled | None:
        return None if command.labels == self.labels else Relabelled(labels=command.labels)

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner, self.address = event.owner, event.address

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        self.balance += event.amount

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        self.balance -= event.amount

    @evolve
    def relabelled(self, event: Relabelled) -> None:
        self.labels = event.labels


class Note(Aggregate, stream="note", id="note_id"):
    text: str = ""

    @decide
    def take(self, command: TakeNote) -> NoteTaken:
        return NoteTaken(text=command.text)

    @evolve
    def taken(self, event: NoteTaken) -> None:
        self.text = event.text


class AccountSummary(ReadModel, key="account_id"):
    account_id: str
    owner: str = ""
    balance: Decimal = Decimal(0)
    kind: Kind = Kind.SMALL
    city: str | None = None
    limit: int = 0
    movements: int = 0

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner = event.owner
        self.city = event.address.city if event.address is not None else None

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        self._moved(event.amount)

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        self._moved(-event.amount)

    def _moved(self, amount: Decimal) -> None:
        self.balance += amount
        self.movements += 1
        self.kind = Kind.LARGE if self.balance >= 1000 else Kind.SMALL


def _owner_and_day(event: MoneyDeposited) -> tuple[str, date] | None:
    return None if event.payer is None else (event.payer, date(2026, 1, 15))


class DepositsPerDay(ReadModel, key=("owner", "day")):
    owner: str
    day: date
    amount: Decimal = Decimal(0)

    @evolve(key=_owner_and_day)
    def deposited(self, event: MoneyDeposited) -> None:
        self.amount += event.amount


app = App("bank", aggregates=[Account, Note], read_models=[AccountSummary, DepositsPerDay])
