"""Views that live where their questions are answered best: one line of configuration each says where."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from examples.bank.events import (
    AccountOpened,
    Credit,
    Debit,
    FeeCharged,
    InterestPaid,
    MoneyDeposited,
    MoneyWithdrawn,
    PenaltyInterestCharged,
    TransferReceived,
    TransferSent,
)
from refold import Event, ReadModel, Recorded, evolve


class HotBalance(ReadModel, key="account_id"):
    """What is asked at every card payment: Redis."""

    account_id: str
    balance: Decimal = Decimal(0)

    @evolve
    def opened(self, event: AccountOpened) -> None:
        """A row for the account."""

    @evolve
    def credited(self, event: Credit) -> None:
        self.balance += event.amount

    @evolve
    def debited(self, event: Debit) -> None:
        self.balance -= event.amount


def position_of(event: Event, recorded: Recorded[Event]) -> int:
    """Every movement has a row of its own."""
    return recorded.position


class Movement(ReadModel, key="position"):
    """Every movement in words, to be searched in: OpenSearch."""

    position: int
    account_id: str = ""
    day: date | None = None
    amount: Decimal = Decimal(0)
    text: str = ""

    @evolve(key=position_of)
    def credit(self, event: Credit, recorded: Recorded[Credit]) -> None:
        self._tell(event, recorded, event.amount)

    @evolve(key=position_of)
    def debit(self, event: Debit, recorded: Recorded[Debit]) -> None:
        self._tell(event, recorded, -event.amount)

    def _tell(self, event: Event, recorded: Recorded[Any], amount: Decimal) -> None:
        self.account_id, self.day, self.amount = recorded.stream_key, recorded.occurred_at.date(), amount
        self.text = in_words(event)


def in_words(event: Event) -> str:
    """What a bank statement would say."""
    match event:
        case MoneyDeposited():
            return "cash paid in"
        case MoneyWithdrawn(by="card"):
            return "cash taken out by card"
        case MoneyWithdrawn():
            return "cash taken out at the counter"
        case TransferSent():
            return _transfer("to", event.to_account, event.bank, event.purpose)
        case TransferReceived():
            return _transfer("from", event.from_account, event.bank, event.purpose)
        case InterestPaid():
            return "interest"
        case PenaltyInterestCharged():
            return "penalty interest"
        case FeeCharged():
            return f"fee for {event.service}"
    return type(event).__name__


def _transfer(direction: str, account: str, bank: str | None, purpose: str | None) -> str:
    return " ".join(["transfer", direction, "account", account, "of bank", bank or "our own", purpose or ""]).strip()


def counterpart(bank: str | None, account: str) -> str:
    """An account of another bank is known by both; one of our own by its number."""
    return account if bank is None else f"{bank}/{account}"


def payer_and_payee(event: TransferReceived, recorded: Recorded[TransferReceived]) -> tuple[str, str] | None:
    """What came from an account of our own was told by that one already."""
    return None if event.bank is None else (counterpart(event.bank, event.from_account), recorded.stream_key)


AccountNode = Annotated[str, msgspec.Meta(extra={"node": "Account"})]


class Payment(ReadModel, key=("payer", "payee")):
    """Who pays whom, and how much in all: relationships between accounts in Neo4j."""

    payer: AccountNode
    payee: AccountNode
    amount: Decimal = Decimal(0)
    times: int = 0

    @evolve(key=lambda event, recorded: (recorded.stream_key, counterpart(event.bank, event.to_account)))
    def paid(self, event: TransferSent) -> None:
        self._add(event.amount)

    @evolve(key=payer_and_payee)
    def was_paid(self, event: TransferReceived) -> None:
        self._add(event.amount)

    def _add(self, amount: Decimal) -> None:
        self.amount += amount
        self.times += 1


class Branch(ReadModel, key="account_id"):
    """Where each account was opened: Parquet files, to be joined with what moved."""

    account_id: str
    district: str | None = None

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.district = event.district


def month_account_and_kind(event: Event, recorded: Recorded[Event]) -> tuple[str, str, str]:
    """The key of a monthly volume."""
    return f"{recorded.occurred_at:%Y-%m}", recorded.stream_key, type(event).__name__


class MonthlyVolume(ReadModel, key=("month", "account_id", "kind")):
    """How much an account moved in a month, by kind: Parquet files in a folder for each month.

    It has no district: that is a fact of the account's opening, which no later event repeats. DuckDB joins it with
    `Branch`, and sums up by whatever is asked (`examples.bank.volumes`).
    """

    month: str
    account_id: str
    kind: str
    amount: Decimal = Decimal(0)
    times: int = 0

    @evolve(key=month_account_and_kind)
    def credit(self, event: Credit) -> None:
        self.amount += event.amount
        self.times += 1

    @evolve(key=month_account_and_kind)
    def debit(self, event: Debit) -> None:
        self.amount += event.amount
        self.times += 1
