"""The ledger of a Czech bank (PKDD'99 "Financial" data set): its lines, read as the events that they tell of.

Semicolons between the fields, days as YYMMDD, amounts in Czech crowns. `trans.csv` has one line per transaction.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from examples.bank.events import (
    FeeCharged,
    InterestPaid,
    MoneyDeposited,
    MoneyWithdrawn,
    PenaltyInterestCharged,
    TransferReceived,
    TransferSent,
)
from refold import Event

_ACCOUNTS = ("account_id", "district_id", "frequency", "date")
_DISTRICTS = tuple(f"A{number}" for number in range(1, 17))
_PERSONS = ("client_id", "birth_number", "district_id")
_RIGHTS = ("disp_id", "client_id", "account_id", "type")
_TRANSACTIONS = (
    "trans_id",
    "account_id",
    "date",
    "type",
    "operation",
    "amount",
    "balance",
    "k_symbol",
    "bank",
    "account",
)

_PURPOSES = {
    "": None,
    "DUCHOD": "pension",
    "SIPO": "household",
    "POJISTNE": "insurance",
    "UVER": "loan payment",
}


class LedgerError(Exception):
    """The ledger cannot be used; the text names file and line, and says what is wrong."""


@dataclass(frozen=True, slots=True)
class LedgerAccount:
    """An account, who owns it, who else may use it, and the district of its branch, by name."""

    number: int
    opened_on: date
    owner: str
    authorised: tuple[str, ...]
    district: str


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A transaction. `change` is what it did to the balance, `balance` the bank's own record of it afterwards."""

    id: int
    account: int
    day: date
    event: Event
    change: Decimal
    balance: Decimal


def account_id(number: int) -> str:
    """The id by which this bank knows an account of the ledger: `cz-42`, for it may have an account 42 of its own."""
    return f"cz-{number}"


def moment(day: date) -> datetime:
    """When something of that day happened: the ledger knows no time of day, so at its beginning."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def read_accounts(folder: Path) -> list[LedgerAccount]:
    """The accounts with their owners, authorised persons and districts. Raises `LedgerError`.

    Persons are named by their number: a log keeps what it is told for ever, so nobody's birth number goes into it.
    """
    persons = {line.number("client_id") for line in _lines(folder / "client.csv", _PERSONS)}
    owners: dict[int, str] = {}
    authorised: dict[int, list[str]] = defaultdict(list)
    for line in _lines(folder / "disp.csv", _RIGHTS):
        person, account = line.number("client_id"), line.number("account_id")
        if person not in persons:
            raise line.error(f"client {person} is not in client.csv")
        match line["type"]:
            case "OWNER" if account in owners:
                raise line.error(f"account {account} has an owner already, {owners[account]}")
            case "OWNER":
                owners[account] = f"client-{person}"
            case "DISPONENT":
                authorised[account].append(f"client-{person}")
            case other:
                raise line.error(f"type {other!r} is neither OWNER nor DISPONENT")
    districts = {line.number("A1"): line["A2"] for line in _lines(folder / "district.csv", _DISTRICTS)}
    accounts = []
    for line in _lines(folder / "account.csv", _ACCOUNTS):
        number = line.number("account_id")
        if number not in owners:
            raise line.error(f"account {number} has no owner in disp.csv")
        district = line.number("district_id")
        if district not in districts:
            raise line.error(f"district {district} is not in district.csv")
        accounts.append(
            LedgerAccount(number, line.day("date"), owners[number], tuple(authorised[number]), districts[district])
        )
    return accounts


def read_entries(folder: Path, accounts: list[LedgerAccount]) -> Iterator[LedgerEntry]:
    """The transactions, one by one, in the order of the file. Raises `LedgerError` for a line that cannot be used."""
    opened = {account.number: account.opened_on for account in accounts}
    seen: set[int] = set()
    for line in _lines(folder / "trans.csv", _TRANSACTIONS):
        number, account, day = line.number("trans_id"), line.number("account_id"), line.day("date")
        if number in seen:
            raise line.error(f"transaction {number} is in the file already")
        if account not in opened:
            raise line.error(f"account {account} is not in account.csv")
        if day < opened[account]:
            raise line.error(f"account {account} was opened on {opened[account]}, after this transaction of {day}")
        seen.add(number)
        amount = line.decimal("amount")
        if amount <= 0:
            raise line.error(f"amount {amount} is not more than zero")
        change = amount if line["type"] == "PRIJEM" else -amount
        yield LedgerEntry(number, account, day, _event(line, amount), change, line.decimal("balance"))


def _event(line: "_Line", amount: Decimal) -> Event:
    """What a transaction says: PRIJEM is a credit, VYDAJ and VYBER are debits."""
    match line["type"], line["operation"], line["k_symbol"]:
        case "PRIJEM", "VKLAD", "":
            return MoneyDeposited(amount=amount)
        case "PRIJEM", "", "UROK":
            return InterestPaid(amount=amount)
        case "PRIJEM", "PREVOD Z UCTU", _:
            return TransferReceived(
                amount=amount, from_account=line["account"], bank=line["bank"], purpose=_purpose(line)
            )
        case "VYDAJ", "PREVOD NA UCET", _:
            return TransferSent(amount=amount, to_account=line["account"], bank=line["bank"], purpose=_purpose(line))
        case "VYDAJ", "VYBER", "SANKC. UROK":
            return PenaltyInterestCharged(amount=amount)
        case "VYDAJ", "VYBER", "SLUZBY":
            return FeeCharged(amount=amount, service="statement")
        case "VYDAJ" | "VYBER", "VYBER", _:
            return MoneyWithdrawn(amount=amount, purpose=_purpose(line))
        case "VYDAJ", "VYBER KARTOU", _:
            return MoneyWithdrawn(amount=amount, by="card", purpose=_purpose(line))
        case kind, operation, symbol:
            raise line.error(f"no event is known for type {kind!r}, operation {operation!r}, k_symbol {symbol!r}")


def _purpose(line: "_Line") -> str | None:
    if line["k_symbol"] not in _PURPOSES:
        raise line.error(f"k_symbol {line['k_symbol']!r} is not known")
    return _PURPOSES[line["k_symbol"]]


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file: its fields by name, and where it stands."""

    path: Path
    at: int
    fields: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.fields[name].strip()

    def error(self, what: str) -> LedgerError:
        return LedgerError(f"{self.path.name}, line {self.at}: {what}")

    def number(self, name: str) -> int:
        text = self[name]
        if not (text.isascii() and text.isdigit()):
            raise self.error(f"{name} {text!r} is not a number")
        return int(text)

    def decimal(self, name: str) -> Decimal:
        try:
            value = Decimal(self[name])
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            raise self.error(f"{name} {self[name]!r} is not an amount")
        return value

    def day(self, name: str) -> date:
        text = self[name]
        try:
            if len(text) != 6 or not text.isdigit():
                raise ValueError
            return date(1900 + int(text[:2]), int(text[2:4]), int(text[4:]))
        except ValueError:
            raise self.error(f"{name} {text!r} is not a day (YYMMDD)") from None


def _lines(path: Path, columns: tuple[str, ...]) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter=";", strict=True)
            header = next(rows, [])
            if tuple(header) != columns:
                raise LedgerError(f"{path.name}, line 1: the columns must be {';'.join(columns)}")
            for row in rows:
                if len(row) != len(columns):
                    raise LedgerError(
                        f"{path.name}, line {rows.line_num}: {len(row)} fields, there must be {len(columns)}"
                    )
                yield _Line(path, rows.line_num, dict(zip(columns, row, strict=True)))
    except FileNotFoundError:
        raise LedgerError(f"{path} is not there; give the folder of the ledger") from None
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise LedgerError(f"{path.name} cannot be read: {problem}") from problem
