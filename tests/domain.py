"""The small bank that tests share: one aggregate, its commands and events, and two read models."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from refold import Aggregate, App, Command, Deleted, Event, ReadModel, Recorded, Rejected, decide, evolve


class OpenAccount(Command):
    account_id: str
    owner: str


class DepositMoney(Command):
    account_id: str
    amount: Decimal


class WithdrawMoney(Command):
    account_id: str
    amount: Decimal


class CloseAccount(Command):
    account_id: str


class AccountOpened(Event):
    owner: str


class MoneyDeposited(Event):
    amount: Decimal


class MoneyWithdrawn(Event):
    amount: Decimal


class AccountClosed(Event):
    pass


class Account(Aggregate, stream="account", id="account_id"):
    owner: str | None = None
    balance: Decimal = Decimal(0)
    closed: bool = False

    @decide
    def open(self, command: OpenAccount) -> AccountOpened:
        if self.owner is not None:
            raise Rejected("this account is open already")
        return AccountOpened(owner=command.owner)

    @decide
    def deposit(self, command: DepositMoney) -> MoneyDeposited:
        return MoneyDeposited(amount=command.amount)

    @decide
    def withdraw(self, command: WithdrawMoney) -> MoneyWithdrawn:
        if command.amount > self.balance:
            raise Rejected(f"only {self.balance} is there")
        return MoneyWithdrawn(amount=command.amount)

    @decide
    def close(self, command: CloseAccount) -> AccountClosed | None:
        return None if self.closed else AccountClosed()

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        self.balance += event.amount

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        self.balance -= event.amount

    @evolve
    def was_closed(self, event: AccountClosed) -> None:
        self.closed = True


class AccountSummary(ReadModel, key="account_id"):
    account_id: str
    owner: str = ""
    balance: Decimal = Decimal(0)
    movements: int = 0

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    @evolve
    def moved(self, event: MoneyDeposited | MoneyWithdrawn) -> None:
        self.balance += event.amount if isinstance(event, MoneyDeposited) else -event.amount
        self.movements += 1

    @evolve
    def closed(self, event: AccountClosed) -> object:
        return Deleted


def _day(event: MoneyDeposited, recorded: Recorded[MoneyDeposited]) -> date:
    return recorded.occurred_at.date()


class DepositsPerDay(ReadModel, key="day"):
    day: date
    amount: Decimal = Decimal(0)
    count: int = 0

    @evolve(key=_day)
    def deposited(self, event: MoneyDeposited) -> None:
        self.amount += event.amount
        self.count += 1


bank = App("bank", aggregates=[Account], read_models=[AccountSummary, DepositsPerDay])


class Movements(ReadModel, key="account_id", inline=True):
    """Changed in the appending transaction."""

    account_id: str
    count: int = 0

    @evolve
    def moved(self, event: MoneyDeposited | MoneyWithdrawn) -> None:
        self.count += 1


inline_bank = App("bank", aggregates=[Account], read_models=[AccountSummary, DepositsPerDay, Movements])
