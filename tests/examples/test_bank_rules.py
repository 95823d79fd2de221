"""The bank's rules and its read models, without a database."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given as for_every

from examples.bank.account import Account
from examples.bank.app import app
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
from examples.bank.read_models import AccountSummary, DailyBalance
from refold import Command, Event
from refold.errors import InvalidCommand
from refold.testing import Scenario, on
from refold.testing.strategies import histories

bank = Scenario(app)
given = bank.given

OPENED = AccountOpened(owner="alice")
DEPOSITED = MoneyDeposited(amount=Decimal(100))
SUSPENDED = AccountSuspended(reason="fraud-check")


class TestAnAccount:
    def test_is_opened_once(self):
        bank.when(OpenAccount(account_id="42", owner="alice")).then(OPENED)
        given(OPENED).when(OpenAccount(account_id="42", owner="bob")).rejects("open already")

    def test_takes_money(self):
        given(OPENED).when(DepositMoney(account_id="42", amount=Decimal(5))).then(MoneyDeposited(amount=Decimal(5)))
        given(OPENED).when(ReceiveTransfer(account_id="42", amount=Decimal(5), from_account="7")).then(
            TransferReceived(amount=Decimal(5), from_account="7")
        )

    def test_gives_what_is_there(self):
        given(OPENED, DEPOSITED).when(WithdrawMoney(account_id="42", amount=Decimal(100))).then(
            MoneyWithdrawn(amount=Decimal(100))
        ).then_state(balance=Decimal(0), transactions=2)
        given(OPENED, DEPOSITED).when(SendTransfer(account_id="42", amount=Decimal(30), to_account="7")).then(
            TransferSent(amount=Decimal(30), to_account="7")
        )

    def test_gives_no_more_than_is_there(self):
        given(OPENED, DEPOSITED).when(WithdrawMoney(account_id="42", amount=Decimal("100.01"))).rejects(
            "insufficient funds: the balance is 100"
        )
        given(OPENED).when(SendTransfer(account_id="42", amount=Decimal(1), to_account="7")).rejects("insufficient")

    def test_sends_nothing_to_itself_but_to_its_namesake_elsewhere(self):
        given(OPENED, DEPOSITED).when(SendTransfer(account_id="42", amount=Decimal(1), to_account="42")).rejects(
            "to itself"
        )
        given(OPENED, DEPOSITED).when(
            SendTransfer(account_id="42", amount=Decimal(1), to_account="42", bank="YZ")
        ).then(TransferSent(amount=Decimal(1), to_account="42", bank="YZ"))

    def test_is_used_by_its_owner_and_who_is_authorised(self):
        take = WithdrawMoney(account_id="42", amount=Decimal(1), person="bob")
        given(OPENED, DEPOSITED).when(take).rejects("bob may not use this account")
        given(OPENED, DEPOSITED).when(AuthorisePerson(account_id="42", person="bob")).then(
            PersonAuthorised(person="bob")
        ).when(take).then(MoneyWithdrawn(amount=Decimal(1)))
        given(OPENED).when(AuthorisePerson(account_id="42", person="alice")).then_nothing()

    def test_earns_and_owes(self):
        given(OPENED).when(PayInterest(account_id="42", amount=Decimal("1.5"))).then(
            InterestPaid(amount=Decimal("1.5"))
        )
        given(OPENED).when(ChargeFee(account_id="42", amount=Decimal(2), service="statement")).then(
            FeeCharged(amount=Decimal(2), service="statement")
        ).when(ChargePenaltyInterest(account_id="42", amount=Decimal(1))).then(
            PenaltyInterestCharged(amount=Decimal(1))
        ).then_state(balance=Decimal(-3))

    def test_is_suspended_until_that_is_lifted(self):
        deposit = DepositMoney(account_id="42", amount=Decimal(5))
        suspended = given(OPENED).when(SuspendAccount(account_id="42", reason="fraud-check")).then(SUSPENDED)
        suspended.when(deposit).rejects("suspended: fraud-check")
        suspended.when(SuspendAccount(account_id="42", reason="again")).rejects("already: fraud-check")
        suspended.when(PayInterest(account_id="42", amount=Decimal(1))).then(InterestPaid(amount=Decimal(1)))
        lifted = suspended.when(LiftSuspension(account_id="42")).then(SuspensionLifted())
        lifted.when(deposit).then(MoneyDeposited(amount=Decimal(5)))
        lifted.when(LiftSuspension(account_id="42")).then_nothing()

    def test_is_closed_when_it_is_empty_and_for_good(self):
        given(OPENED, DEPOSITED).when(CloseAccount(account_id="42")).rejects(
            "must be zero to close the account, it is 100"
        )
        given(OPENED).when(CloseAccount(account_id="42")).then(AccountClosed()).when(
            DepositMoney(account_id="42", amount=Decimal(5))
        ).rejects("closed")

    @pytest.mark.parametrize("amount", ["NaN", "Infinity"])
    def test_never_sees_what_is_no_number(self, amount: str):
        with pytest.raises(InvalidCommand, match="not a finite number"):
            given(OPENED, DEPOSITED).when(DepositMoney(account_id="42", amount=Decimal(amount)))

    @pytest.mark.parametrize("amount", ["0", "-1"])
    def test_refuses_what_is_not_an_amount(self, amount: str):
        commands: list[Command] = [
            DepositMoney(account_id="42", amount=Decimal(amount)),
            WithdrawMoney(account_id="42", amount=Decimal(amount)),
            PayInterest(account_id="42", amount=Decimal(amount)),
            ChargeFee(account_id="42", amount=Decimal(amount), service="statement"),
        ]
        for command in commands:
            given(OPENED, DEPOSITED).when(command).rejects("must be more than zero")

    def test_that_is_not_there_refuses_everything(self):
        for command in [DepositMoney(account_id="7", amount=Decimal(1)), CloseAccount(account_id="7")]:
            bank.when(command).rejects("there is no such account")

    @pytest.mark.slow
    @for_every(histories(Account))
    def test_goes_below_zero_by_fees_and_penalties_only(self, history: list[Event]):
        given(*history).then_state(
            lambda account: (
                account.balance >= 0 or any(isinstance(event, FeeCharged | PenaltyInterestCharged) for event in history)
            )
        )


class TestTheReadModels:
    def test_show_each_account_as_it_stands(self):
        given(
            on("account-42", OPENED, PersonAuthorised(person="bob"), occurred_at=datetime(1993, 1, 1, tzinfo=UTC)),
            on("account-7", AccountOpened(owner="carol"), recorded_at=datetime(2026, 3, 1, tzinfo=UTC)),
            on("account-42", DEPOSITED, MoneyWithdrawn(amount=Decimal(30)), SUSPENDED),
            on("account-7", AccountClosed()),
        ).then(
            AccountSummary(
                account_id="42",
                owner="alice",
                authorised=1,
                balance=Decimal(70),
                transactions=2,
                status="suspended",
                suspended_for="fraud-check",
                opened_on=date(1993, 1, 1),
            ),
            AccountSummary(account_id="7", owner="carol", status="closed", opened_on=date(2026, 3, 1)),
        )

    def test_show_what_each_day_changed_by_the_day_it_happened(self):
        monday, friday = datetime(2026, 3, 2, 9, tzinfo=UTC), datetime(2026, 3, 6, 17, tzinfo=UTC)
        given(
            on("account-42", OPENED, DEPOSITED, occurred_at=friday),
            on(
                "account-42",
                MoneyDeposited(amount=Decimal(20)),
                FeeCharged(amount=Decimal(5), service="statement"),
                occurred_at=monday,
            ),
        ).then(
            DailyBalance(
                account_id="42", day=date(2026, 3, 2), credited=Decimal(20), debited=Decimal(5), transactions=2
            ),
            DailyBalance(account_id="42", day=date(2026, 3, 6), credited=Decimal(100), transactions=1),
        )

    @pytest.mark.slow
    @for_every(histories(Account, account_id="42"))
    def test_agree_with_the_account(self, history: list[Event]):
        past: Any = given(*[on("account-42", event) for event in history])
        account = past.state
        summaries: list[AccountSummary] = past.rows(AccountSummary)
        days: list[DailyBalance] = past.rows(DailyBalance)
        assert [row.balance for row in summaries] == ([account.balance] if history else [])
        assert sum((day.change for day in days), Decimal(0)) == account.balance
        assert sum(day.transactions for day in days) == account.transactions
