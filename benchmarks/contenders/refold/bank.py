"""The bank with Refold: the aggregate, the read model, and what callers send."""

import uuid
from decimal import Decimal

from benchmarks import workload
from refold import Aggregate, Command, Event, Metadata, ReadModel, Rejected, decide, evolve
from refold.app import App
from refold.messages.event_types import encode_json
from refold.messages.metadata import encode_metadata
from refold.messages.recorded import NewEvent


class AccountOpened(Event):
    owner: str


class MoneyDeposited(Event):
    amount: Decimal
    currency: str
    reference: str
    counterparty: str
    text: str


class MoneyWithdrawn(Event):
    amount: Decimal
    currency: str
    reference: str
    counterparty: str
    text: str


class DepositMoney(Command):
    account_id: str
    amount: Decimal
    reference: str


class WithdrawMoney(Command):
    account_id: str
    amount: Decimal
    reference: str


class Account(Aggregate, stream="account", id="account_id"):
    """An account with a balance."""

    owner: str = ""
    balance: Decimal = Decimal(0)

    @decide
    def deposit(self, command: DepositMoney) -> MoneyDeposited:
        """Always allowed."""
        return MoneyDeposited(
            amount=command.amount,
            currency=workload.CURRENCY,
            reference=command.reference,
            counterparty=workload.COUNTERPARTY,
            text=workload.TEXT,
        )

    @decide
    def withdraw(self, command: WithdrawMoney) -> MoneyWithdrawn:
        """Not below zero."""
        if self.balance < command.amount:
            raise Rejected(f"the account has only {self.balance}")
        return MoneyWithdrawn(
            amount=command.amount,
            currency=workload.CURRENCY,
            reference=command.reference,
            counterparty=workload.COUNTERPARTY,
            text=workload.TEXT,
        )

    @evolve
    def opened(self, event: AccountOpened) -> None:
        """Has an owner now."""
        self.owner = event.owner

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        """The balance grows."""
        self.balance += event.amount

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        """The balance shrinks."""
        self.balance -= event.amount


class LongAccount(Account, stream="account", id="account_id", snapshot_every=1000):
    """The same account with snapshots."""


class AccountBalance(ReadModel, key="account_id"):
    """One row an account."""

    account_id: str
    balance: Decimal = Decimal(0)

    @evolve
    def opened(self, event: AccountOpened) -> None:
        """A row for the account."""

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        """The balance grows."""
        self.balance += event.amount

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        """The balance shrinks."""
        self.balance -= event.amount


app = App("bank", aggregates=[Account], read_models=[AccountBalance])
long_app = App("bank", aggregates=[LongAccount])


def deposited(amount: Decimal, number: int) -> MoneyDeposited:
    """A deposit."""
    return MoneyDeposited(
        amount=amount,
        currency=workload.CURRENCY,
        reference=workload.reference(number),
        counterparty=workload.COUNTERPARTY,
        text=workload.TEXT,
    )


def new_event(event: Event) -> NewEvent:
    """An event as the store takes it, with the usual metadata."""
    metadata = Metadata(
        actor=workload.ACTOR,
        correlation_id=str(uuid.uuid4()),
        causation_id=str(uuid.uuid4()),
        command=workload.COMMAND,
    )
    return NewEvent(type=type(event).__message_name__, payload=encode_json(event), metadata=encode_metadata(metadata))


def entry_event(entry: workload.Entry) -> NewEvent:
    """The event of one entry of a history."""
    if entry.amount is None:
        return new_event(AccountOpened(owner=workload.OWNER))
    return new_event(deposited(entry.amount, entry.number))


def new_stream() -> str:
    """The id of a stream that nobody has."""
    return f"account-{uuid.uuid4().hex}"
