"""An app whose classes cannot work is one line that names the class, before any store is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import assert_refused, refold_here

TOP = """\
from refold import Aggregate, App, Command, Event, ReadModel, decide, evolve

class Opened(Event):
    owner: str

class Open(Command):
    account_id: str
"""


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (
            "class Summary(ReadModel):\n    account_id: str\n",
            ["bank.Summary", "a read model needs a key"],
        ),
        (
            "class Summary(ReadModel, key='id'):\n    account_id: str\n",
            ["bank.Summary", "key='id' names no field"],
        ),
        (
            "class Other(Event, name='Opened'):\n    pass\napp = App('bank', events=[Opened, Other])\n",
            ["two event classes are named 'Opened'", "bank.Opened", "bank.Other"],
        ),
        (
            "class Account(Aggregate, stream='account', id='account_id'):\n"
            "    @evolve\n    def opened(self, event: int) -> None: ...\n",
            ["bank.Account.opened"],
        ),
        (
            "class Account(Aggregate, stream='account', id='account_id'):\n"
            "    @decide\n    def open(self, command: Opened) -> Opened: ...\n",
            ["bank.Account.open"],
        ),
        (
            "class Account(Aggregate, stream='account-1', id='account_id'):\n    pass\n",
            ["bank.Account", "stream='account-1'"],
        ),
    ],
)
def test_a_class_that_cannot_work_is_named(classes: str, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(TOP + classes, encoding="utf-8")
    done = refold_here("status", "--app", "bank:app", "--url", "sqlite:///bank.db", cwd=tmp_path)
    assert_refused(done, 2, *said)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ""] == ["bank.py"]


@pytest.mark.parametrize("command", ["status", "worker", "verify", "doctor", "rebuild x", "show account-1"])
def test_every_command_that_needs_an_app_says_what_is_wrong_with_it(command: str, tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text("raise RuntimeError('no configuration')\n", encoding="utf-8")
    done = refold_here(*command.split(), "--app", "bank:app", "--url", "sqlite:///bank.db", cwd=tmp_path)
    assert_refused(done, 2, "importing 'bank' failed: RuntimeError: no configuration (bank.py:1)")
    assert not (tmp_path / "bank.db").exists()
