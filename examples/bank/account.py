"""The account: its rules, and the state that they need."""

from decimal import Decimal

from examples.bank.commands import (
    AuthorisePerson,
    ChargeFee,
    ChargePenaltyInterest,
    CloseAccount,
    DepositMoney,
    LiftSuspension,
    OpenAccount,
    PayInterest,
    ReceiveTransfer,
    SendTransfer,
    SuspendAccount,
    WithdrawMoney,
)
from examples.bank.events import (
    AccountClosed,
    AccountOpened,
    AccountSuspended,
    Credit,
    Debit,
    FeeCharged,
    InterestPaid,
    MoneyDeposited,
    MoneyWithdrawn,
    PenaltyInterestCharged,
    PersonAuthorised,
    SuspensionLifted,
    TransferReceived,
    TransferSent,
)
from refold import Aggregate, Rejected, decide, evolve


class Account(Aggregate, stream="account", id="account_id"):
    """One account, folded from its stream.

    While it is suspended nobody moves its money. Interest and fees go on; fees may lead it below zero.
    """

    owner: str | None = None
    authorised: tuple[str, ...] = ()
    balance: Decimal = Decimal(0)
    transactions: int = 0
    suspended: str | None = None
    closed: bool = False

    @decide
    def open(self, command: OpenAccount) -> AccountOpened:
        if self.owner is not None:
            raise Rejected("this account is open already")
        return AccountOpened(owner=command.owner, district=command.district)

    @decide
    def authorise(self, command: AuthorisePerson) -> PersonAuthorised | None:
        self._must_be_open()
        if command.person == self.owner or command.person in self.authorised:
            return None
        return PersonAuthorised(person=command.person)

    @decide
    def deposit(self, command: DepositMoney) -> MoneyDeposited:
        self._must_be_usable(command.amount)
        return MoneyDeposited(amount=command.amount)

    @decide
    def withdraw(self, command: WithdrawMoney) -> MoneyWithdrawn:
        self._must_be_usable(command.amount)
        self._must_know(command.person)
        self._must_hold(command.amount)
        return MoneyWithdrawn(amount=command.amount)

    @decide
    def send(self, command: SendTransfer) -> TransferSent:
        self._must_be_usable(command.amount)
        self._must_know(command.person)
        self._must_hold(command.amount)
        if command.bank is None and command.to_account == command.account_id:
            raise Rejected("an account cannot send money to itself")
        return TransferSent(amount=command.amount, to_account=command.to_account, bank=command.bank)

    @decide
    def receive(self, command: ReceiveTransfer) -> TransferReceived:
        self._must_be_usable(command.amount)
        return TransferReceived(amount=command.amount, from_account=command.from_account, bank=command.bank)

    @decide
    def pay_interest(self, command: PayInterest) -> InterestPaid:
        self._must_be_open()
        self._must_be_positive(command.amount)
        return InterestPaid(amount=command.amount)

    @decide
    def charge_penalty(self, command: ChargePenaltyInterest) -> PenaltyInterestCharged:
        self._must_be_open()
        self._must_be_positive(command.amount)
        return PenaltyInterestCharged(amount=command.amount)

    @decide
    def charge_fee(self, command: ChargeFee) -> FeeCharged:
        self._must_be_open()
        self._must_be_positive(command.amount)
        return FeeCharged(amount=command.amount, service=command.service)

    @decide
    def suspend(self, command: SuspendAccount) -> AccountSuspended:
        self._must_be_open()
        if self.suspended is not None:
            raise Rejected(f"this account is suspended already: {self.suspended}")
        return AccountSuspended(reason=command.reason)

    @decide
    def lift_suspension(self, command: LiftSuspension) -> SuspensionLifted | None:
        self._must_be_open()
        return None if self.suspended is None else SuspensionLifted()

    @decide
    def close(self, command: CloseAccount) -> AccountClosed:
        self._must_be_open()
        if self.balance != 0:
            raise Rejected(f"the balance must be zero to close the account, it is {self.balance}")
        return AccountClosed()

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    @evolve
    def person_authorised(self, event: PersonAuthorised) -> None:
        self.authorised = (*self.authorised, event.person)

    @evolve
    def credited(self, event: Credit) -> None:
        self.balance += event.amount
        self.transactions += 1

    @evolve
    def debited(self, event: Debit) -> None:
        self.balance -= event.amount
        self.transactions += 1

    @evolve
    def was_suspended(self, event: AccountSuspended) -> None:
        self.suspended = event.reason

    @evolve
    def was_reinstated(self, event: SuspensionLifted) -> None:
        self.suspended = None

    @evolve
    def was_closed(self, event: AccountClosed) -> None:
        self.closed = True

    def _must_be_open(self) -> None:
        if self.owner is None:
            raise Rejected("there is no such account")
        if self.closed:
            raise Rejected("this account is closed")

    def _must_be_usable(self, amount: Decimal) -> None:
        self._must_be_open()
        if self.suspended is not None:
            raise Rejected(f"this account is suspended: {self.suspended}")
        self._must_be_positive(amount)

    def _must_be_positive(self, amount: Decimal) -> None:
        if amount <= 0:
            raise Rejected(f"the amount must be more than zero, not {amount}")

    def _must_know(self, person: str | None) -> None:
        if person is not None and person != self.owner and person not in self.authorised:
            raise Rejected(f"{person} may not use this account")

    def _must_hold(self, amount: Decimal) -> None:
        if amount > self.balance:
            raise Rejected(f"insufficient funds: the balance is {self.balance}")
