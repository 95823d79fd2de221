"""A ledger's lines become the events that they tell of; a line that cannot be used is named."""

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from examples.bank.checking import closing_balance, recorded_balances
from examples.bank.events import (
    FeeCharged,
    InterestPaid,
    MoneyDeposited,
    MoneyWithdrawn,
    PenaltyInterestCharged,
    TransferReceived,
    TransferSent,
)
from examples.bank.ledger import LedgerAccount, LedgerEntry, LedgerError, moment, read_accounts, read_entries
from tests.examples.ledgers import SmallLedger, write_ledger

AMOUNT = Decimal("12.50")


def entries_of(folder: Path) -> list[LedgerEntry]:
    return list(read_entries(folder, read_accounts(folder)))


@pytest.fixture
def ledger(tmp_path: Path) -> SmallLedger:
    return write_ledger(tmp_path)


def test_accounts_have_owners_and_authorised_persons_and_nobodys_birth_number(ledger: SmallLedger):
    accounts = read_accounts(ledger.folder)
    assert accounts[:2] == [
        LedgerAccount(40, date(1993, 1, 1), "client-1", ("client-6",), "Brno - mesto"),
        LedgerAccount(41, date(1993, 1, 1), "client-2", (), "Cheb"),
    ]
    assert "706213" not in str(accounts)


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ('"PRIJEM";"VKLAD";12.50;12.50;"";;', MoneyDeposited(amount=AMOUNT)),
        ('"PRIJEM";"";12.50;12.50;"UROK";;', InterestPaid(amount=AMOUNT)),
        (
            '"PRIJEM";"PREVOD Z UCTU";12.50;12.50;"DUCHOD";"YZ";624',
            TransferReceived(amount=AMOUNT, from_account="624", bank="YZ", purpose="pension"),
        ),
        (
            '"VYDAJ";"PREVOD NA UCET";12.50;12.50;"UVER";"YZ";624',
            TransferSent(amount=AMOUNT, to_account="624", bank="YZ", purpose="loan payment"),
        ),
        (
            '"VYDAJ";"PREVOD NA UCET";12.50;12.50;" ";"YZ";624',
            TransferSent(amount=AMOUNT, to_account="624", bank="YZ"),
        ),
        ('"VYDAJ";"VYBER";12.50;12.50;"SANKC. UROK";;', PenaltyInterestCharged(amount=AMOUNT)),
        ('"VYDAJ";"VYBER";12.50;12.50;"SLUZBY";;', FeeCharged(amount=AMOUNT, service="statement")),
        ('"VYDAJ";"VYBER";12.50;12.50;"SIPO";;0', MoneyWithdrawn(amount=AMOUNT, purpose="household")),
        ('"VYBER";"VYBER";12.50;12.50;"";;', MoneyWithdrawn(amount=AMOUNT)),
        ('"VYDAJ";"VYBER KARTOU";12.50;12.50;"";;0', MoneyWithdrawn(amount=AMOUNT, by="card")),
    ],
)
def test_a_transaction_is_the_event_that_says_what_happened(ledger: SmallLedger, fields: str, event: object):
    ledger.break_line(2, ledger.lines[0], f"1;40;930102;{fields}")
    (first, *_) = entries_of(ledger.folder)
    assert (first.id, first.account, first.day, first.event) == (1, 40, date(1993, 1, 2), event)
    assert moment(first.day) == datetime(1993, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('1;40;930102;"PRIJEM";"VKLAD";x;12.50;"";;', "amount 'x' is not an amount"),
        ('1;40;930102;"PRIJEM";"VKLAD";NaN;12.50;"";;', "amount 'NaN' is not an amount"),
        ('1;40;930102;"PRIJEM";"VKLAD";-5;12.50;"";;', "amount -5 is not more than zero"),
        ('1;40;930102;"PRIJEM";"VKLAD";5;;"";;', "balance '' is not an amount"),
        ('1;40;930231;"PRIJEM";"VKLAD";5;5;"";;', "date '930231' is not a day"),
        ('1;40;19930201;"PRIJEM";"VKLAD";5;5;"";;', "date '19930201' is not a day"),
        ('1;40;921231;"PRIJEM";"VKLAD";5;5;"";;', "account 40 was opened on 1993-01-01, after this transaction"),
        ('1;4711;930102;"PRIJEM";"VKLAD";5;5;"";;', "account 4711 is not in account.csv"),
        ('one;40;930102;"PRIJEM";"VKLAD";5;5;"";;', "trans_id 'one' is not a number"),
        ('1;40;930102;"PRIJEM";"VKLAD";5;5;""', "8 fields, there must be 10"),
        ('1;40;930102;"DAREK";"VKLAD";5;5;"";;', "no event is known for type 'DAREK', operation 'VKLAD'"),
        ('1;40;930102;"VYDAJ";"VYBER";5;5;"NIC";;', "k_symbol 'NIC' is not known"),
    ],
)
def test_a_broken_line_is_named(ledger: SmallLedger, line: str, error: str):
    ledger.break_line(8, ledger.lines[6], line)
    with pytest.raises(LedgerError, match=rf"^trans.csv, line 8: {error}"):
        entries_of(ledger.folder)


def test_a_transaction_that_stands_twice_is_named(ledger: SmallLedger):
    ledger.break_line(8, ledger.lines[6], ledger.lines[0])
    with pytest.raises(LedgerError, match=r"^trans.csv, line 8: transaction \d+ is in the file already"):
        entries_of(ledger.folder)


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("account.csv", None, "account.csv is not there"),
        ("account.csv", "a;b\r\n1;2\r\n", "account.csv, line 1: the columns must be account_id;"),
        (
            "client.csv",
            '"client_id";"birth_number";"district_id"\r\n',
            "disp.csv, line 2: client 1 is not in",
        ),
        ("disp.csv", '"disp_id";"client_id";"account_id";"type"\r\n1;1;40;"KING"\r\n', "neither OWNER nor DISPONENT"),
        ("disp.csv", '"disp_id";"client_id";"account_id";"type"\r\n', "account.csv, line 2: account 40 has no owner"),
        (
            "disp.csv",
            '"disp_id";"client_id";"account_id";"type"\r\n1;1;40;"OWNER"\r\n2;2;40;"OWNER"\r\n',
            "disp.csv, line 3: account 40 has an owner already",
        ),
        ("trans.csv", "\xff", "trans.csv cannot be read: .*utf-8"),
    ],
)
def test_a_broken_file_is_named(ledger: SmallLedger, file: str, text: str | None, error: str):
    (ledger.folder / file).unlink()
    if text is not None:
        (ledger.folder / file).write_text(text, encoding="latin-1", newline="")
    with pytest.raises(LedgerError, match=error):
        entries_of(ledger.folder)


class TestTheBalanceThatTheBankRecorded:
    def test_is_found_whatever_the_order_of_the_lines_of_a_day(self, ledger: SmallLedger):
        day = date(1993, 1, 30)
        recorded = recorded_balances(entries_of(ledger.folder))
        assert {number: balance for number, (balance, _) in recorded.items()} == ledger.balances_on(day)
        assert {number: count for number, (_, count) in recorded.items()} == Counter(
            int(line.split(";")[1]) for line in ledger.lines
        )

    def test_is_the_last_one_of_a_day_that_ends_where_it_began(self):
        out_and_in = [entry(Decimal(-30), Decimal(70)), entry(Decimal(30), Decimal(100))]
        assert closing_balance(Decimal(100), out_and_in) == Decimal(100)
        assert closing_balance(Decimal(100), out_and_in[::-1]) == Decimal(100)

    def test_bears_the_rounding_of_interest(self):
        rounded = [entry(Decimal("0.16"), Decimal("100.20")), entry(Decimal(50), Decimal("150.20"))]
        assert closing_balance(Decimal(100), rounded[::-1]) == Decimal("150.20")


def entry(change: Decimal, balance: Decimal) -> LedgerEntry:
    return LedgerEntry(1, 40, date(1993, 1, 2), MoneyDeposited(amount=AMOUNT), change, balance)
