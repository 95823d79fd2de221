"""Small ledgers in the format of the real one, with the balances that their bank recorded."""

import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

HEADER = '"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"'
FIRST_DAY = date(1993, 1, 1)

DISTRICTS = ["Praha", "Brno - mesto", "Cheb"]
"""By the ledger's numbers, from 1; account n is in the one of number n % 3 + 1."""

KINDS = [
    ("PRIJEM", "VKLAD", "", "", ""),
    ("PRIJEM", "", "UROK", "", ""),
    ("PRIJEM", "PREVOD Z UCTU", "DUCHOD", "YZ", "62457513"),
    ("VYDAJ", "PREVOD NA UCET", "SIPO", "QR", "1234"),
    ("VYDAJ", "VYBER", "SANKC. UROK", "", ""),
    ("VYDAJ", "VYBER", "SLUZBY", "", ""),
    ("VYDAJ", "VYBER", " ", "", "0"),
    ("VYBER", "VYBER", "", "", ""),
    ("VYDAJ", "VYBER KARTOU", "", "", "0"),
]


@dataclass
class SmallLedger:
    """A ledger in a folder. `closing` has each account's balance at the end of each day on which it changed."""

    folder: Path
    closing: dict[int, dict[date, Decimal]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def transactions(self) -> int:
        return len(self.lines)

    def balances_on(self, day: date) -> dict[int, Decimal]:
        found = {number: [days[each] for each in sorted(days) if each <= day] for number, days in self.closing.items()}
        return {number: balances[-1] for number, balances in found.items() if balances}

    def break_line(self, number: int, old: str, new: str) -> None:
        """Changes a line of trans.csv (1 is the header)."""
        path = self.folder / "trans.csv"
        lines = path.read_text().splitlines()
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new)
        _write(path, lines)


def write_ledger(folder: Path, *, accounts: int = 5, days: int = 30, seed: int = 1) -> SmallLedger:
    """A ledger of the bank's first days: each account has transactions on most days, in no order inside of a day."""
    chance = random.Random(seed)
    ledger = SmallLedger(folder)
    numbers = [40 + number for number in range(accounts)]
    balances = dict.fromkeys(numbers, Decimal(0))
    identity = 1000
    for day in (FIRST_DAY + timedelta(days=offset) for offset in range(days)):
        of_day: list[str] = []
        for number in numbers:
            for _ in range(chance.choice([0, 1, 1, 3])):
                identity += 1
                kind, operation, symbol, bank, account = chance.choice(KINDS)
                amount = Decimal(chance.randrange(1, 100_000)) / 100
                balances[number] += amount if kind == "PRIJEM" else -amount
                ledger.closing.setdefault(number, {})[day] = balances[number]
                of_day.append(
                    f'{identity};{number};{day:%y%m%d};"{kind}";"{operation}";{amount:.2f};{balances[number]:.2f};'
                    f'"{symbol}";{bank};{account}'
                )
        chance.shuffle(of_day)
        ledger.lines += of_day
    _write(folder / "trans.csv", [HEADER, *ledger.lines])
    _write(
        folder / "account.csv",
        [
            '"account_id";"district_id";"frequency";"date"',
            *(f'{number};{number % 3 + 1};"POPLATEK MESICNE";{FIRST_DAY:%y%m%d}' for number in numbers),
        ],
    )
    _write(
        folder / "district.csv",
        [
            ";".join(f"A{number}" for number in range(1, 17)),
            *(f'{number};"{name}";"region"' + ";0" * 13 for number, name in enumerate(DISTRICTS, start=1)),
        ],
    )
    _write(
        folder / "client.csv",
        ['"client_id";"birth_number";"district_id"', *(f'{n};"706213";1' for n in range(1, 2 * accounts + 1))],
    )
    owners = [f'{at};{at};{number};"OWNER"' for at, number in enumerate(numbers, start=1)]
    others = [f'{accounts + at};{accounts + at};{number};"DISPONENT"' for at, number in enumerate(numbers, start=1)]
    _write(folder / "disp.csv", ['"disp_id";"client_id";"account_id";"type"', *owners, *others[::2]])
    return ledger


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\r\n" for line in lines), newline="")
