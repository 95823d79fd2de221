"""Keeping read models current, seeing how they are, folding them anew, and checking them, from the command line."""

from __future__ import annotations

import json
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, StreamAppend
from tests.cli.project import Project
from tests.cli.runner import assert_refused
from tests.cli.tampering import tamperer_of
from tests.cli.terminal import Terminal
from tests.domain import AccountSummary, DepositMoney, OpenAccount, bank
from tests.servers import PostgresServer


async def behind(project: Project) -> None:
    """One more event, which the read models have not seen."""
    async with bank.connect(project.absolute_url, projections=False) as context:
        await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))


async def poison(project: Project) -> None:
    """An event that no class of the app can read."""
    async with bank.connect(project.absolute_url, projections=False) as context:
        event = NewEvent(type="MoneyBurnt", payload=b"{}")
        await context.store.append(Append((StreamAppend("account-42", ANY, (event,)),)))


def redefine(project: Project) -> None:
    """The read model's rows are those of an older definition."""
    tamperer_of(project).run("update {checkpoints} set fingerprint = 'older' where name = 'account_summary'")


def test_status_says_where_everything_stands(accounts: Project) -> None:
    done = accounts.refold("status")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1].startswith("head 6, recorded 20")
    assert lines[3].split() == ["projection", "position", "behind", "lag", "rate", "state", "owner"]
    assert [line.split()[:4] for line in lines[4:]] == [
        ["account_summary", "6", "0", "-"],
        ["deposits_per_day", "6", "0", "-"],
    ]


async def test_status_shows_the_lag_in_events_and_in_time(accounts: Project) -> None:
    await behind(accounts)
    status = accounts.refold("status", "--json")
    assert status.code == 0
    assert status.json["head"] == 7
    summary = status.json["projections"][0]
    assert (summary["name"], summary["position"], summary["lag"]) == ("account_summary", 6, 1)
    assert 0 < summary["lag_seconds"] < 60
    assert summary["state"] == "no worker"


def test_status_of_an_empty_store(project: Project) -> None:
    project.refold("migrate")
    done = project.refold("status")
    assert done.code == 0
    assert "the log is empty" in done.out
    assert project.refold("status", "--json").json["head"] == 0


async def test_status_ends_with_1_when_somebody_must_do_something(accounts: Project) -> None:
    redefine(accounts)
    done = accounts.refold("status")
    assert done.code == 1
    assert "definition changed" in done.out
    assert (
        "account_summary: its rows were written by another definition; run `refold rebuild account_summary`" in done.out
    )
    assert accounts.refold("status", "--json").json["ok"] is False


def test_status_fits_narrow_terminals(accounts: Project) -> None:
    for columns in (80, 60, 40):
        lines = accounts.refold("status", columns=columns).out.splitlines()
        assert all(len(line) <= columns for line in lines[3:]), lines
        assert "no worker" in lines[4]


@pytest.mark.slow
def test_status_is_watched_as_a_stream_of_json(accounts: Project) -> None:
    process = accounts.start("status", "--watch", "--json")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert all(line.startswith('{"store":') and '"head":6' in line for line in lines)
    assert (process.returncode, err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
def test_watching_ends_in_order(accounts: Project, number: signal.Signals) -> None:
    terminal = Terminal("status", "--watch", cwd=accounts.folder)
    terminal.read(lambda shown: "deposits_per_day" in shown)
    terminal.process.send_signal(number)
    assert terminal.close() == 0
    assert terminal.shown.endswith("no worker  -\r\n"), terminal.shown


@pytest.mark.postgres
@pytest.mark.slow
def test_watching_goes_on_while_the_store_is_away(own_postgres: PostgresServer, tmp_path: Path) -> None:
    project = Project(tmp_path, own_postgres.create_database("watched"))
    assert project.refold("migrate").code == 0
    process = project.start("status", "--watch", "--json")
    terminal = Terminal("status", "--watch", cwd=tmp_path)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["ok"]
    terminal.read(lambda shown: "the log is empty" in shown)
    own_postgres.stop("immediate")
    while json.loads(line := process.stdout.readline())["ok"]:
        pass
    assert "watched" in json.loads(line)["error"]
    terminal.read(lambda shown: "the store is away: " in shown)
    own_postgres.start()
    while not json.loads(process.stdout.readline())["ok"]:
        pass
    shown_until_now = len(terminal.shown)
    terminal.read(lambda shown: "the log is empty" in shown[shown_until_now:].rpartition("the store is away")[2])
    for each in (process, terminal.process):
        each.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err, terminal.close()) == (0, "", 0)


async def test_a_worker_catches_up_once(accounts: Project) -> None:
    await behind(accounts)
    done = accounts.refold("worker", "--once")
    assert (done.code, done.out, done.err) == (0, "every read model has seen position 7\n", "")
    async with bank.connect(accounts.absolute_url, read_only=True) as context:
        row = await context.get(AccountSummary, "42")
        assert row is not None
        assert row.balance == 121


async def test_a_worker_that_cannot_go_on_says_why_at_once(accounts: Project) -> None:
    await poison(accounts)
    done = accounts.refold("worker", "--once")
    assert done.code == 1
    for name in ("account_summary", "deposits_per_day"):
        assert (
            f"read model {name} stopped: no event class is named 'MoneyBurnt' (position 7, stream 'account-42')"
            in done.err
        )
    assert "Traceback" not in done.err
    status = accounts.refold("status")
    assert status.code == 1
    assert "stopped" in status.out
    assert "no event class is named 'MoneyBurnt'" in status.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_runs_until_it_is_asked_to_stop(number: signal.Signals, accounts: Project) -> None:
    process = accounts.start("worker")
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "working on " in first
    assert "account_summary, deposits_per_day" in first
    assert "head 6" in second
    assert "account_summary current" in second
    assert "stopping, after the page at hand" in out
    assert accounts.refold("status", "--json").json["projections"][0]["owner"] == ""


@pytest.mark.parametrize("project", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_a_worker_keeps_read_models_current_for_another_process(accounts: Project) -> None:
    process = accounts.start("worker")
    assert process.stdout is not None
    process.stdout.readline()
    async with bank.connect(accounts.absolute_url, projections=False) as context:
        for number in range(20):
            receipt = await context.execute(OpenAccount(account_id=f"new {number}", owner="carol"))
            row = await context.get(AccountSummary, f"new {number}", after=receipt)
            assert row is not None
    status = accounts.refold("status", "--json").json["projections"][0]
    process.terminate()
    process.communicate(timeout=30)
    assert status["state"] == "running"
    assert status["owner"] != ""


async def test_a_read_model_is_rebuilt(accounts: Project) -> None:
    redefine(accounts)
    done = accounts.refold("rebuild", "account_summary")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("rebuilt account_summary from 6 events (")
    assert accounts.refold("status").code == 0
    assert accounts.refold("rebuild", "account_summary", "--json").json["position"] == 6


def test_a_read_model_that_is_not_there_is_not_rebuilt(accounts: Project) -> None:
    assert_refused(
        accounts.refold("rebuild", "nothing"), 2, "no read model 'nothing'", "account_summary, deposits_per_day"
    )


async def test_a_read_model_whose_events_cannot_be_read_is_not_rebuilt(accounts: Project) -> None:
    await poison(accounts)
    assert_refused(accounts.refold("rebuild", "account_summary"), 4, "no event class is named 'MoneyBurnt' (position 7")
    assert accounts.refold("show", "account-42", "--at-version", "4").code == 0


def test_a_sound_store_is_verified(accounts: Project) -> None:
    done = accounts.refold("verify")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("everything that was checked holds\n")
    assert "ok       read model account_summary" in done.out
    assert "WRONG" not in done.out


def test_long_lines_go_on_below_their_beginning(accounts: Project) -> None:
    """Whatever does not fit the terminal keeps its column, so that names and marks stand alone on the left."""
    tamperer_of(accounts).remove_guards()
    begin = len("ERROR    ")
    marks = ("ok  ", "WRONG ", "ERROR ", "warning ")
    for name in ("verify", "doctor"):
        lines = accounts.refold(name, columns=70).out.splitlines()
        assert all(len(line) <= 70 for line in lines[1:]), lines
        marked = [number for number, line in enumerate(lines) if line.startswith(marks)]
        continued = [line for line in lines[marked[0] : marked[-1]] if line[:1] == " "]
        assert continued
        assert all(line.startswith(" " * begin) for line in continued), lines
        assert not any(line == line[:begin].strip() for line in lines[marked[0] : marked[-1]]), lines


def test_a_store_is_verified_without_an_app(accounts: Project) -> None:
    (accounts.folder / "refold.toml").write_text(f'url = "{accounts.url}"\n')
    done = accounts.refold("verify")
    assert done.code == 0
    assert "Without an app (--app), snapshots and read models are not compared" in done.out


def test_verify_says_how_a_row_is_mended(accounts: Project) -> None:
    tamperer_of(accounts).run("update account_summary set balance = '1000000' where account_id = '42'")
    done = accounts.refold("verify", columns=200)
    assert (
        "`refold rebuild account_summary` folds all rows anew, `refold refold account_summary KEY` a single one"
        in done.out
    )
    assert "deposits_per_day` folds" not in done.out
    assert accounts.refold("refold", "account_summary", "42").code == 0
    assert accounts.refold("verify").code == 0


def test_what_is_wrong_is_verified_to_be_wrong(accounts: Project) -> None:
    tamperer = tamperer_of(accounts)
    tamperer.run("update account_summary set balance = '1000000'")
    tamperer.remove_guards()
    tamperer.run("""update {events} set payload = '{"amount":"lots"}' where position = 3""")
    done = accounts.refold("verify")
    assert done.code == 1
    assert done.err == ""
    assert "WRONG    guards " in done.out
    assert "position 3 (account-42, version 3, MoneyDeposited): " in done.out
    report = accounts.refold("verify", "--json")
    assert report.code == 1
    wrong = [check["name"] for check in report.json["checks"] if check["broken"]]
    assert wrong == ["guards", "payloads", "read model account_summary", "read model deposits_per_day"]


@pytest.mark.slow
@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
def test_a_store_is_looked_at_while_its_application_runs(accounts: Project) -> None:
    process = accounts.start("worker")
    assert process.stdout is not None
    process.stdout.readline()
    try:
        for arguments in (["status"], ["streams"], ["show", "account-42"], ["verify"], ["export", "log.jsonl"]):
            assert accounts.refold(*arguments).code == 0, arguments
        for arguments in (["rebuild", "account_summary"], ["import", "log.jsonl"], ["worker"], ["migrate"]):
            assert_refused(
                accounts.refold(*arguments), 3, "is open for writing in another process", f"pid {process.pid}"
            )
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_migrating_says_what_it_did(project: Project) -> None:
    assert "is new, at schema version " in project.refold("migrate").out
    again = project.refold("migrate", "--json").json
    assert again["before"] == again["after"]
    assert project.refold("migrate").out.endswith(" already\n")
