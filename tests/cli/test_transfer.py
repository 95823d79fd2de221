"""`refold export` and `refold import`: nothing is lost, a killed one goes on, a broken file is one clear line."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from refold.app.stores import open_store
from refold.errors import RefoldError
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits
from tests.cli.project import Project
from tests.cli.runner import assert_refused, command, environment
from tests.operations.exports import export_of
from tests.operations.stores import fill
from tests.servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of another, empty store; that of SQLite is relative to the project's folder."""
    if request.param == "sqlite":
        yield "sqlite:///target.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres18")
    name = f"cli_target_{next(_numbers)}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture
async def filled(project: Project) -> Project:
    """A log of more than 10,000 events, which are more than an import does at once."""
    store = await open_store(project.absolute_url, limits=Limits(), listen_url=None, read_only=False)
    await fill(store, 5_000)
    assert (await store.head()).position > 12_000
    await store.close()
    return project


def test_a_log_moves_between_stores(accounts: Project, target: str) -> None:
    exported = accounts.refold("export", "log.jsonl")
    assert exported.err == ""
    assert f"exported 6 events of {accounts.refold('export', 'x.jsonl', '--json').json['source']}" in exported.out
    imported = accounts.refold("import", "log.jsonl", "--url", target)
    assert imported.err == ""
    assert "imported 6 of 6 events of " in imported.out
    assert imported.out.splitlines()[-1] == exported.out.splitlines()[-1]
    assert accounts.refold("export", "again.jsonl", "--url", target).code == 0
    first, again = ((accounts.folder / name).read_text().splitlines() for name in ("log.jsonl", "again.jsonl"))
    assert again[1:] == first[1:]
    state = accounts.refold("show", "account-42", "--url", target, "--json").json["state"]
    assert state == {"owner": "alice", "balance": "120", "closed": False}


def test_the_read_models_of_the_target_follow(accounts: Project, target: str) -> None:
    accounts.refold("export", "log.jsonl")
    accounts.refold("import", "log.jsonl", "--url", target)
    assert accounts.refold("worker", "--once", "--url", target).code == 0
    report = accounts.refold("verify", "--url", target, "--json").json
    assert report["ok"]
    assert {check["name"]: check["looked_at"] for check in report["checks"]}["read model account_summary"] == 1


def test_importing_twice_adds_nothing(accounts: Project, target: str) -> None:
    accounts.refold("export", "log.jsonl")
    assert accounts.refold("import", "log.jsonl", "--url", target, "--json").json["added"] == 6
    again = accounts.refold("import", "log.jsonl", "--url", target)
    assert again.out.startswith("imported 0 of 6 events of ")
    assert "; 6 were there already\n" in again.out


def test_a_log_moves_through_a_pipe(accounts: Project, target: str) -> None:
    exported = accounts.refold("export", "-")
    assert exported.err == ""
    assert exported.out.count("\n") == 8
    imported = accounts.refold("import", "-", "--url", target, given=exported.out.encode())
    assert imported.code == 0, imported
    assert "imported 6 of 6 events" in imported.out


def _size(path: Path) -> int:
    """That of a file which may get its last name at any moment, and be there no more."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_a_killed_export_goes_on(filled: Project) -> None:
    partial = filled.folder / "log.jsonl.partial"
    while not partial.exists():  # again, when it was quicker than the signal
        (filled.folder / "log.jsonl").unlink(missing_ok=True)
        process = filled.start("export", "log.jsonl")
        while process.poll() is None and _size(partial) <= 100_000:
            pass
        process.kill()
        process.communicate()
    done = filled.refold("export", "log.jsonl")
    assert "continued after position" in done.out
    assert not partial.exists()
    whole = filled.refold("export", "whole.jsonl", "--json").json
    assert whole["sha256"] in done.out
    assert (filled.folder / "whole.jsonl").read_bytes() == (filled.folder / "log.jsonl").read_bytes()


@pytest.mark.slow
async def test_a_killed_import_goes_on(filled: Project, target: str) -> None:
    exported = filled.refold("export", "log.jsonl", "--json").json
    lines = (filled.folder / "log.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    process = filled.start("import", "-", "--url", target, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.writelines(lines[:12_000])
    process.stdin.flush()
    # It has what it has got, and waits for more.
    store = await _opened_when_there(filled.at(target))
    while not (stopped := (await store.head()).position):
        await store.wait_beyond(0, timeout=0.01)
    process.kill()
    process.communicate()
    await store.close()
    done = filled.refold("import", "log.jsonl", "--url", target, "--json").json
    assert done["events"] == exported["events"]
    assert done["added"] <= exported["events"] - stopped
    again = filled.refold("export", "again.jsonl", "--url", target, "--json").json
    assert again["sha256"] == exported["sha256"]


async def _opened_when_there(url: str) -> EventStore:
    while True:
        try:
            return await open_store(url, limits=Limits(), listen_url=None, read_only=True)
        except RefoldError:
            await asyncio.sleep(0.01)


def _head(project: Project, target: str) -> int:
    return int(project.refold("status", "--url", target, "--json").json["head"])


def test_a_broken_line_is_named_and_nothing_is_stored(accounts: Project, target: str) -> None:
    accounts.refold("export", "log.jsonl")
    path = accounts.folder / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], lines[4].replace('"version":', '"version":"'), *lines[5:]]))
    done = accounts.refold("import", "log.jsonl", "--url", target)
    assert_refused(done, 4, "log.jsonl, line 5: this is not ")
    assert accounts.refold("import", "log.jsonl", "--url", target, "--trust-changes").code == 4
    assert _head_or_nothing(accounts, target) == 0
    path.write_text("".join(lines))
    assert accounts.refold("import", "log.jsonl", "--url", target).code == 0


def _head_or_nothing(project: Project, target: str) -> int:
    there = project.refold("status", "--url", target, "--json")
    return int(there.json["head"]) if there.code == 0 else 0


def test_a_broken_line_in_a_pipe_keeps_the_whole_appends_before_it(accounts: Project, target: str) -> None:
    lines = accounts.refold("export", "-").out.splitlines(keepends=True)
    broken = "".join([*lines[:4], "{}\n", *lines[5:]])
    done = accounts.refold("import", "-", "--url", target, given=broken.encode())
    # Line 4 begins an append that could go on in line 5, so it is not stored either.
    assert_refused(done, 4, "the standard input, line 5: this is not an event")
    assert _head(accounts, target) == 2
    done = accounts.refold("import", "-", "--url", target, given="".join(lines).encode())
    assert done.out.startswith("imported 4 of 6 events of ")


def test_a_changed_line_is_noticed_unless_it_is_trusted(accounts: Project, target: str) -> None:
    accounts.refold("export", "log.jsonl")
    path = accounts.folder / "log.jsonl"
    path.write_text(path.read_text().replace('"owner":"alice"', '"owner":"carol"'))
    done = accounts.refold("import", "log.jsonl", "--url", target)
    assert_refused(done, 4, "log.jsonl, line 8: the checksum does not match")
    assert accounts.refold("import", "log.jsonl", "--url", target, "--trust-changes").code == 0
    assert accounts.refold("show", "account-42", "--url", target, "--json").json["state"]["owner"] == "carol"


def test_another_log_is_refused(accounts: Project, target: str, tmp_path: Path) -> None:
    accounts.refold("export", "log.jsonl")
    accounts.refold("import", "log.jsonl", "--url", target)
    other = Path(tmp_path / "other")
    other.mkdir()
    assert accounts.refold("import", "log.jsonl", "--url", "sqlite:///other.db").code == 0
    lines = (accounts.folder / "log.jsonl").read_text().splitlines(keepends=True)
    changed = "".join(lines).replace('"owner":"alice"', '"owner":"carol"')
    (accounts.folder / "changed.jsonl").write_text(changed)
    done = accounts.refold("import", "changed.jsonl", "--url", target, "--trust-changes")
    assert_refused(done, 5, "differ at position 1", "import into an empty store")


def test_files_are_not_overwritten(accounts: Project) -> None:
    accounts.refold("export", "log.jsonl")
    assert_refused(accounts.refold("export", "log.jsonl"), 5, "log.jsonl is there already", "--overwrite")
    assert accounts.refold("export", "log.jsonl", "--overwrite").code == 0


def test_what_cannot_be_read_or_written_is_one_line(accounts: Project, target: str) -> None:
    assert_refused(accounts.refold("export", "no/log.jsonl"), 4, "cannot be written: No such file or directory")
    assert_refused(accounts.refold("import", "no.jsonl", "--url", target), 4, "no.jsonl cannot be read: No such file")
    (accounts.folder / "text").write_text("hello\n")
    assert_refused(accounts.refold("import", "text", "--url", target), 4, "text, line 1: this is no export of Refold")
    assert_refused(accounts.refold("import", "-", "--trust-changes"), 2, "--trust-changes needs a file")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_export_goes_on(filled: Project) -> None:
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 400; exec "$@"', "bash", *command("export", "log.jsonl")],
        check=False,
        cwd=filled.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert limited.returncode in (3, 4), limited
    assert limited.stderr.count("\n") == 1
    assert limited.stderr.startswith("refold: ")
    done = filled.refold("export", "log.jsonl")
    assert done.code == 0
    assert "continued after position" in done.out


def test_waiting_for_the_standard_input_can_be_interrupted(project: Project) -> None:
    process = project.start("import", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(export_of([])[0].decode())
    process.stdin.flush()
    while process.poll() is None and not _waits_for_input(process):
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.communicate() == ("", "refold: interrupted\n")


def _waits_for_input(process: subprocess.Popen[str]) -> bool:
    """Whether it has read what there was, so that it waits for more."""
    assert process.stdin is not None
    unread = fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4))
    return int.from_bytes(unread, sys.byteorder) == 0
