"""What the bank's people look at: a row per account, and a row per account and day."""

from datetime import date
from decimal import Decimal
from typing import Literal

from examples.bank.events import (
    AccountClosed,
    AccountOpened,
    AccountSuspended,
    Credit,
    Debit,
    PersonAuthorised,
    SuspensionLifted,
)
from refold import Event, ReadModel, Recorded, evolve


class AccountSummary(ReadModel, key="account_id"):
    """An account as it stands now."""

    account_id: str
    owner: str = ""
    authorised: int = 0
    balance: Decimal = Decimal(0)
    transactions: int = 0
    status: Literal["open", "suspended", "closed"] = "open"
    suspended_for: str | None = None
    opened_on: date | None = None

    @evolve
    def opened(self, event: AccountOpened, recorded: Recorded[AccountOpened]) -> None:
        self.owner = event.owner
        self.opened_on = recorded.occurred_at.date()

    @evolve
    def person_authorised(self, event: PersonAuthorised) -> None:
        self.authorised += 1

    @evolve
    def credited(self, event: Credit) -> None:
        self.balance += event.amount
        self.transactions += 1

    @evolve
    def debited(self, event: Debit) -> None:
        self.balance -= event.amount
        self.transactions += 1

    @evolve
    def suspended(self, event: AccountSuspended) -> None:
        self.status = "suspended"
        self.suspended_for = event.reason

    @evolve
    def reinstated(self, event: SuspensionLifted) -> None:
        self.status = "open"
        self.suspended_for = None

    @evolve
    def closed(self, event: AccountClosed) -> None:
        self.status = "closed"


def account_and_day(event: Event, recorded: Recorded[Event]) -> tuple[str, date]:
    """The key of a daily balance: the account, and the day on which it happened."""
    return recorded.stream_key, recorded.occurred_at.date()


class DailyBalance(ReadModel, key=("account_id", "day")):
    """By how much one account's balance changed on one day.

    The balance at the end of a day is the sum of the changes up to it: see `examples.bank.balances`. It is not a field,
    because something may become known late: what happened on Monday and was recorded on Friday changes the row of
    Monday alone, and the balances of Tuesday and all days after it are right at once.
    """

    account_id: str
    day: date
    credited: Decimal = Decimal(0)
    debited: Decimal = Decimal(0)
    transactions: int = 0

    @property
    def change(self) -> Decimal:
        """What came less what went."""
        return self.credited - self.debited

    @evolve(key=account_and_day)
    def credit(self, event: Credit) -> None:
        self.credited += event.amount
        self.transactions += 1

    @evolve(key=account_and_day)
    def debit(self, event: Debit) -> None:
        self.debited += event.amount
        self.transactions += 1
