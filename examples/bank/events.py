"""What has happened to an account. An event does not repeat its account's id: its stream says that (`account-42`)."""

from decimal import Decimal
from typing import Literal

from refold import Event


class AccountOpened(Event):
    """The account was opened for its owner, at a branch in `district`; None where that was not recorded."""

    owner: str
    district: str | None = None


class PersonAuthorised(Event):
    """A person may use the account beside its owner."""

    person: str


class MoneyDeposited(Event):
    """Cash was paid in."""

    amount: Decimal


class MoneyWithdrawn(Event):
    """Cash was taken out, at the counter or by card."""

    amount: Decimal
    by: Literal["cash", "card"] = "cash"
    purpose: str | None = None


class TransferSent(Event):
    """Money went to another account; `bank` is None for one of this bank."""

    amount: Decimal
    to_account: str
    bank: str | None = None
    purpose: str | None = None


class TransferReceived(Event):
    """Money came from another account; `bank` is None for one of this bank."""

    amount: Decimal
    from_account: str
    bank: str | None = None
    purpose: str | None = None


class InterestPaid(Event):
    """The account earned interest."""

    amount: Decimal


class PenaltyInterestCharged(Event):
    """The account paid for its time below zero."""

    amount: Decimal


class FeeCharged(Event):
    """The account paid for a service."""

    amount: Decimal
    service: str


class AccountSuspended(Event):
    """Nothing goes in or out until the suspension is lifted."""

    reason: str


class SuspensionLifted(Event):
    """The account can be used again."""


class AccountClosed(Event):
    """The account was closed for good."""


Credit = MoneyDeposited | TransferReceived | InterestPaid
"""What raises the balance."""

Debit = MoneyWithdrawn | TransferSent | PenaltyInterestCharged | FeeCharged
"""What lowers the balance."""
