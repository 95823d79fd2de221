"""`refold replay-test`: a changed fold is found, and what is printed says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.project import Project
from tests.cli.runner import assert_refused

BANK = """
from decimal import Decimal
from refold import Aggregate, App, Deleted, ReadModel, evolve
from tests.domain import *

class Account(Aggregate, stream="account", id="account_id"):
    owner: str | None = None
    balance: Decimal = Decimal(0)

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        self.balance += event.amount

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        self.balance -= event.amount


class Owners(ReadModel, key="owner"):
    owner: str
    accounts: int = 0

    @evolve(key="owner")
    def opened(self, event: AccountOpened) -> None:
        self.accounts += 1


app = App("bank", aggregates=[Account], read_models=[Owners], events=[AccountClosed])
"""
MISTAKE = BANK.replace("balance -= event.amount", "balance -= event.amount + (event.amount == 30)")


@pytest.fixture
def recorded(accounts: Project) -> Project:
    """A project with an export of its log, and a baseline of that."""
    done = accounts.refold("export", "log.jsonl")
    assert done.code == 0, done
    write(accounts, "right", BANK)
    write(accounts, "wrong", MISTAKE)
    saved = accounts.refold("replay-test", "log.jsonl", "--save", "bank.baseline", "--app", "right:app")
    assert saved.code == 0, saved
    assert saved.out.endswith("\nevery event could be folded\nsaved as bank.baseline\n")
    return accounts


def write(project: Project, name: str, text: str) -> None:
    (project.folder / f"{name}.py").write_text(text, encoding="utf-8")


def test_the_same_code_makes_the_same(recorded: Project) -> None:
    done = recorded.refold("replay-test", "log.jsonl", "--baseline", "bank.baseline", "--app", "right:app")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "log.jsonl, up to position 6, compared with bank.baseline\n\n"
        "same     aggregate account  2 states\n"
        "same     read model owners  2 states\n\n"
        "every state is what it was\n"
    )


@pytest.mark.parametrize("source", ["log.jsonl", ""])
def test_a_changed_fold_is_found_with_the_event(source: str, recorded: Project) -> None:
    """From the export, and from the store of the settings."""
    given = [source] if source else []
    done = recorded.refold("replay-test", *given, "--baseline", "bank.baseline", "--app", "wrong:app")
    assert done.code == 1, done
    lines = done.out.splitlines()
    assert lines[2:5] == [
        "DIFFERS  aggregate account  1 of 2 states differ",
        '         "account-42" parts from what it was at position 4',
        lines[4],
    ]
    assert lines[4].startswith("           event   position 4, MoneyWithdrawn of account-42 (version 4), 20")
    assert lines[4].endswith('Z, {"amount":"30"}')
    assert lines[5:9] == [
        '           before  {"owner":"alice","balance":"150"}',
        '           then    {"owner":"alice","balance":"119"}',
        "same     read model owners  2 states",
        "",
    ]
    assert lines[-1] == "1 state differs"


def test_programs_get_json(recorded: Project) -> None:
    done = recorded.refold("replay-test", "log.jsonl", "--baseline", "bank.baseline", "--app", "wrong:app", "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    account, owners = done.json["folds"]
    assert (account["compared"], account["differing"], owners["differing"]) == (2, 1, 0)
    (difference,) = account["differences"]
    assert difference["key"] == '"account-42"'
    assert difference["event"]["position"] == difference["until"] == 4
    assert difference["now"] == {"owner": "alice", "balance": "119"}


def test_a_replay_writes_nothing_into_the_store(recorded: Project) -> None:
    before = recorded.refold("export", "before.jsonl", "--json").json["sha256"]
    files = sorted(path.name for path in recorded.folder.iterdir())
    assert recorded.refold("replay-test", "--app", "right:app").code == 0
    assert sorted(path.name for path in recorded.folder.iterdir()) == files
    assert recorded.refold("export", "after.jsonl", "--json").json["sha256"] == before


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    project = Project(tmp_path, "sqlite:///bank.db")
    assert project.refold("replay-test").code == 3
    assert not (tmp_path / "bank.db").exists()


def test_bad_use_is_told(recorded: Project) -> None:
    both = recorded.refold("replay-test", "log.jsonl", "--baseline", "a", "--save", "b")
    assert_refused(both, 2, "--baseline", "--save", "not both")
    assert_refused(recorded.refold("replay-test", "log.jsonl", "--baseline", "a", "--every", "5"), 2, "--every")
    assert_refused(recorded.refold("replay-test", "log.jsonl", "--save", "a", "--every", "0"), 2, "0")
    assert_refused(recorded.refold("replay-test", "nowhere.jsonl"), 4, "nowhere.jsonl cannot be read")
    assert_refused(recorded.refold("replay-test", "bank.baseline"), 4, "bank.baseline, line 1", "no export of Refold")
    assert_refused(recorded.refold("replay-test", "log.jsonl", "--baseline", "x"), 4, "baseline x cannot be read")
    assert_refused(recorded.refold("replay-test", "log.jsonl", "--save", "right.py"), 5, "right.py", "is no baseline")
    assert_refused(recorded.refold("replay-test", "--url", "mysql://localhost/bank"), 2, "no store is known")


def test_a_baseline_of_another_log_is_refused(recorded: Project) -> None:
    recorded.refold("migrate", "--url", "sqlite:///other.db")
    done = recorded.refold("replay-test", "sqlite:///other.db", "--baseline", "bank.baseline", "--app", "right:app")
    assert_refused(done, 5, "a log of 6 events", "sqlite:///other.db ends at 0", "another log")


def test_events_that_nobody_can_decode_are_told(recorded: Project) -> None:
    write(recorded, "old", BANK.replace(", events=[AccountClosed]", ""))
    done = recorded.refold("replay-test", "log.jsonl", "--baseline", "bank.baseline", "--app", "old:app")
    assert done.code == 1
    assert (
        "WRONG    1 event cannot be decoded, and is left out\n         position 6, AccountClosed of account-43"
        in done.out
    )
    assert "no event class of the app is named 'AccountClosed'" in done.out
    assert done.out.endswith("1 event could not be decoded\n")


def test_an_aggregate_that_is_gone_is_told(recorded: Project) -> None:
    write(recorded, "less", BANK.replace(", read_models=[Owners]", ""))
    done = recorded.refold("replay-test", "log.jsonl", "--baseline", "bank.baseline", "--app", "less:app")
    assert done.code == 1
    assert "GONE     read model owners  the baseline has it, the app has not\n" in done.out


def test_lost_fields_are_told(recorded: Project) -> None:
    write(
        recorded,
        "shorter",
        BANK.replace("    accounts: int = 0\n", "    count: int = 0\n").replace("self.accounts", "self.count"),
    )
    done = recorded.refold("replay-test", "log.jsonl", "--baseline", "bank.baseline", "--app", "shorter:app")
    assert done.code == 1
    assert (
        "DIFFERS  read model owners  it has lost fields\n         the baseline has accounts, the class has not"
        in done.out
    )


def test_a_coarse_baseline_says_after_which_position(recorded: Project) -> None:
    log = ("replay-test", "log.jsonl")
    recorded.refold(*log, "--save", "coarse", "--every", "6", "--app", "right:app")
    done = recorded.refold(*log, "--baseline", "coarse", "--app", "wrong:app")
    assert done.code == 1
    assert '"account-42" parts from what it was after position 0, at 6 at last\n' in done.out
    assert "its first event there: position 1, AccountOpened of account-42 (version 1)" in done.out
