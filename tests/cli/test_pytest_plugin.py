"""The plugin for pytest: the tests that it adds, what they say, and that it rests until a project asks for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.runner import environment
from tests.cli.test_replay import BANK, MISTAKE
from tests.domain import CloseAccount, DepositMoney, OpenAccount, WithdrawMoney, bank
from tests.servers import PostgresServer

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each runs pytest several times

_TESTS = """
def test_of_the_users():
    assert True
"""
_ASKING = """
def test_the_report(refold_replay):
    assert refold_replay.ok
    assert [(fold.name, fold.states) for fold in refold_replay.folds] == [("account", 2), ("owners", 2)]
"""


class UsersProject:
    """A project with a few tests, whose pytest is run in a process of its own."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder = folder
        self.baseline = folder / "bank.baseline"
        self.write("bank_app.py", BANK)
        self.write("test_users.py", _TESTS)
        self.configure(log)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def configure(self, log: str, *more: str) -> None:
        lines = [
            "[pytest]",
            "refold_app = bank_app:app",
            f"refold_log = {log}",
            "refold_baseline = bank.baseline",
            *more,
        ]
        self.write("pytest.ini", "\n".join(lines))

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
            check=False,
            cwd=self.folder,
            env=environment(COLUMNS="200"),
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr


async def _fill(url: str) -> None:
    async with bank.connect(url, projections=False) as context:
        await context.execute(OpenAccount(account_id="42", owner="alice"))
        await context.execute(DepositMoney(account_id="42", amount=Decimal(100)))
        await context.execute(WithdrawMoney(account_id="42", amount=Decimal(30)))
        await context.execute(OpenAccount(account_id="43", owner="bob"))
        await context.execute(CloseAccount(account_id="43"))


@pytest.fixture(params=["export", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UsersProject]:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres18")
        url = server.create_database("pytest_plugin")
        asyncio.run(_fill(url))
        yield UsersProject(tmp_path, url)
        server.drop_database("pytest_plugin")
        return
    asyncio.run(_fill(f"sqlite:///{tmp_path}/bank.db"))
    if request.param == "export":
        export = [sys.executable, "-m", "refold.cli", "--url", "sqlite:///bank.db", "export", "log.jsonl"]
        subprocess.run(export, check=True, cwd=tmp_path, env=environment(), capture_output=True)
    yield UsersProject(tmp_path, "log.jsonl" if request.param == "export" else "sqlite:///bank.db")


def test_a_baseline_is_made_and_then_holds(project: UsersProject) -> None:
    code, out = project.run()
    assert code == 1
    assert "there is no" in out
    assert "pytest --refold-update-baseline" in out
    code, out = project.run("--refold-update-baseline")
    assert code == 0, out
    assert f"refold: the baseline was written anew: {project.baseline}" in out
    project.write("test_asking.py", _ASKING)
    code, out = project.run("-v")
    assert code == 0, out
    for name in ("app", "events", "aggregate account", "read model owners"):
        assert f"refold-replay::{name} PASSED" in out
    assert "test_users.py::test_of_the_users PASSED" in out
    assert "test_asking.py::test_the_report PASSED" in out
    assert "6 passed" in out


def test_a_changed_fold_fails_in_the_report(project: UsersProject) -> None:
    assert project.run("--refold-update-baseline")[0] == 0
    before = project.baseline.read_bytes()
    project.write("bank_app.py", MISTAKE)
    code, out = project.run()
    assert code == 1
    assert "replay of aggregate account" in out
    assert "1 of 2 states differ from" in out
    assert '"account-42" parts from what it was at position 3' in out
    assert "MoneyWithdrawn of account-42 (version 3)" in out
    assert 'before  {"owner":"alice","balance":"100"}' in out
    assert 'then    {"owner":"alice","balance":"69"}' in out
    assert "Traceback" not in out
    assert "1 failed, 4 passed" in out
    assert project.baseline.read_bytes() == before
    code, out = project.run("--refold-update-baseline")
    assert code == 0, out
    assert project.baseline.read_bytes() != before
    assert project.run()[0] == 0


@pytest.fixture
def exported(tmp_path: Path) -> UsersProject:
    """A project whose baseline is there."""
    asyncio.run(_fill(f"sqlite:///{tmp_path}/bank.db"))
    project = UsersProject(tmp_path, "sqlite:///bank.db")
    assert project.run("--refold-update-baseline")[0] == 0
    return project


def test_the_tests_can_be_chosen_and_left_out(exported: UsersProject) -> None:
    assert "4 passed, 1 deselected" in exported.run("-m", "refold_replay")[1]
    assert "1 passed, 4 deselected" in exported.run("-m", "not refold_replay")[1]
    assert "1 passed, 4 deselected" in exported.run("-k", "aggregate")[1]
    assert "5 passed" in exported.run(".")[1]
    for single in ("test_users.py", "test_users.py::test_of_the_users"):
        assert "1 passed" in exported.run(single)[1]


def test_it_runs_from_a_folder_below(exported: UsersProject) -> None:
    (exported.folder / "below").mkdir()
    (exported.folder / "test_users.py").rename(exported.folder / "below" / "test_users.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        check=False,
        cwd=exported.folder / "below",
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done
    assert "5 passed" in done.stdout


def test_what_cannot_be_decoded_or_is_gone_fails_by_its_name(exported: UsersProject) -> None:
    exported.write("bank_app.py", BANK.replace(", events=[AccountClosed]", "").replace(", read_models=[Owners]", ""))
    code, out = exported.run()
    assert code == 1
    assert "no event class of the app is named 'AccountClosed'" in out
    assert "the baseline has read model owners, the app has not" in out
    assert "2 failed, 2 passed" in out


def test_a_fold_that_raises_fails_by_its_name(exported: UsersProject) -> None:
    exported.write("bank_app.py", BANK.replace("self.owner = event.owner", "self.owner = event.holder"))
    code, out = exported.run("--refold-update-baseline")
    assert code == 1
    assert "2 of 2 states could not be folded" in out
    assert "AttributeError" in out
    assert "1 failed, 4 passed" in out


def test_bad_settings_are_one_line(exported: UsersProject) -> None:
    exported.write("pytest.ini", "[pytest]\nrefold_app = bank_app:app\n")
    code, out = exported.run()
    assert code == 4
    assert "ERROR: refold_log, refold_baseline must be set too, beside refold_app" in out
    exported.configure("sqlite:///bank.db", "refold_every = often")
    assert "refold_every = 'often' must be a number" in exported.run()[1]
    exported.configure("sqlite:///bank.db")
    exported.write("bank_app.py", "this is no Python")
    code, out = exported.run()
    assert code == 4
    assert "refold_app: importing 'bank_app' failed: SyntaxError" in out
    exported.write("pytest.ini", "[pytest]\n")
    assert exported.run("--refold-update-baseline")[0] == 4


def test_a_broken_baseline_fails_every_test_of_it(exported: UsersProject) -> None:
    exported.baseline.write_text(exported.baseline.read_text()[:-20])
    code, out = exported.run()
    assert code == 1
    assert "its checksum is wrong" in out
    assert "4 failed, 1 passed" in out


def test_it_imports_nothing_until_a_project_asks_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_of_refold_is_here():
            assert "refold_pytest" in sys.modules
            assert [name for name in sys.modules if name.split(".")[0] in ("refold", "msgspec", "sqlalchemy")] == []
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=1)
