"""What somebody wants to happen to an account."""

from decimal import Decimal

from refold import Command


class OpenAccount(Command):
    """Open an account for its owner, at a branch in `district`."""

    account_id: str
    owner: str
    district: str | None = None


class AuthorisePerson(Command):
    """Let a person use the account beside its owner."""

    account_id: str
    person: str


class DepositMoney(Command):
    """Pay cash in."""

    account_id: str
    amount: Decimal


class WithdrawMoney(Command):
    """Take cash out. `person` is who stands at the counter; None for the bank's own doing."""

    account_id: str
    amount: Decimal
    person: str | None = None


class SendTransfer(Command):
    """Send money to another account, of this bank or (`bank`) of another."""

    account_id: str
    amount: Decimal
    to_account: str
    bank: str | None = None
    person: str | None = None


class ReceiveTransfer(Command):
    """Book money that another account sent, of this bank or (`bank`) of another."""

    account_id: str
    amount: Decimal
    from_account: str
    bank: str | None = None


class PayInterest(Command):
    """Credit the interest that the account has earned."""

    account_id: str
    amount: Decimal


class ChargePenaltyInterest(Command):
    """Charge for the time below zero."""

    account_id: str
    amount: Decimal


class ChargeFee(Command):
    """Charge for a service of the bank's, such as a statement."""

    account_id: str
    amount: Decimal
    service: str


class SuspendAccount(Command):
    """Let nothing in or out until the suspension is lifted."""

    account_id: str
    reason: str


class LiftSuspension(Command):
    """Let the account be used again."""

    account_id: str


class CloseAccount(Command):
    """Close the account for good."""

    account_id: str
