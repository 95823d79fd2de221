"""What moves is seen to move: rates, lag, and how long a long operation will take, on a terminal."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from refold import App
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, StreamAppend
from tests.cli.project import Project
from tests.cli.terminal import Terminal
from tests.domain import Account

_SLOW = """
import time
from pathlib import Path
from refold import App, ReadModel, evolve
from tests.domain import Account, MoneyDeposited

class Slow(ReadModel, key="name"):
    name: str
    count: int = 0

    @evolve(key=lambda event: "all")
    def deposited(self, event: MoneyDeposited) -> None:
        if not Path("quick").exists():
            time.sleep(0.0003)  # a fold that takes its time stands for a log that is long
        self.count += 1

bank = App("bank", aggregates=[Account], read_models=[Slow])
"""
EVENTS = 24_000
MANY = 40_000
ENDLESS = 200_000
"""Events that nobody folds to their end while the test looks, however seldom it gets a turn."""


async def fill(project: Project, number: int, each: int = 2_000) -> None:
    deposit = NewEvent(type="MoneyDeposited", payload=b'{"amount":"1"}')
    async with App("bank", aggregates=[Account]).connect(project.absolute_url, projections=False) as context:
        for start in range(0, number, each):
            append = Append((StreamAppend(f"account-{start}", ANY, (deposit,) * each),))
            await context.store.append(append)


def make_slow(project: Project) -> None:
    """An app with a fold that is slow until a file says that it is to be `quick`."""
    (project.folder / "slow_bank.py").write_text(_SLOW, encoding="utf-8")
    (project.folder / "refold.toml").write_text(f'app = "slow_bank:bank"\nurl = "{project.url}"\n', encoding="utf-8")


@contextmanager
def working(project: Project) -> Iterator[subprocess.Popen[str]]:
    process = project.start("worker")
    assert process.stdout is not None
    try:
        assert "working on" in process.stdout.readline()
        yield process
    finally:
        (project.folder / "quick").touch()  # it ends after the page at hand
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.slow
async def test_status_says_how_fast_a_read_model_moves_and_how_far_it_is_behind(project: Project) -> None:
    await fill(project, ENDLESS)
    make_slow(project)
    with working(project):
        deadline = time.monotonic() + 60
        # Until it has the lease and has written its first page, it is seen to stand.
        while True:
            status = project.refold("status", "--json").json
            [slow] = status["projections"]
            if slow["rate"] or time.monotonic() > deadline:
                break
        assert slow["state"] == "running", slow
        assert 0 < slow["position"] < ENDLESS == status["head"]
        assert slow["lag"] == ENDLESS - slow["position"]
        assert slow["lag_seconds"] > 0
        assert 100 < slow["rate"] < 100_000
        assert slow["owner"]
        assert status["rate"] > 0  # of the log itself, over the last minute

        shown = project.refold("status").out.splitlines()
        assert shown[3].split() == ["projection", "position", "behind", "lag", "rate", "state", "owner"]
        assert re.match(r"slow +[\d,]+ +[\d,]+ +[\d.]+ (ms|s) +[\d,.]+/s +running +\S+$", shown[4]), shown


@pytest.mark.slow
async def test_status_is_watched_as_a_table_that_moves(project: Project) -> None:
    await fill(project, ENDLESS)
    make_slow(project)
    row = re.compile(r"slow +([\d,]+) +([\d,]+) +[\d.]+ m?s +([\d,.]+)/s +running")
    with working(project):
        terminal = Terminal("status", "--watch", cwd=project.folder)

        def moved(shown: str) -> bool:
            return len({found[1] for found in row.finditer(shown) if found[3] != "0"}) >= 2

        shown = terminal.read(moved)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.close() == 0, shown
    positions = [int(found[1].replace(",", "")) for found in row.finditer(shown)]
    behind = [int(found[2].replace(",", "")) for found in row.finditer(shown)]
    assert positions == sorted(positions)
    assert {at + rest for at, rest in zip(positions, behind, strict=True)} == {ENDLESS}
    assert re.search(r"projection +position +behind +lag +rate +state +owner", shown)
    assert f"head {ENDLESS:,}, recorded " in shown
    assert "Traceback" not in terminal.shown


def bars(shown: str, of: int) -> list[str]:
    """The looks at a bar that has a rate and the time that is left."""
    return re.findall(rf"[\d,]+ of {of:,} +[\d,]+/s +\d[\w. ]* left", shown)


@pytest.mark.slow
async def test_a_long_rebuild_says_how_fast_it_is_and_how_long_it_will_take(project: Project) -> None:
    await fill(project, EVENTS)
    make_slow(project)
    terminal = Terminal("rebuild", "slow", cwd=project.folder)
    assert terminal.close() == 0, terminal.shown
    assert "rebuild slow" in terminal.shown
    looks = bars(terminal.shown, EVENTS)
    assert looks, terminal.shown
    done = [int(look.split()[0].replace(",", "")) for look in looks]
    assert done == sorted(done)
    assert f"rebuilt slow from {EVENTS:,} events" in terminal.shown


@pytest.mark.slow
async def test_a_long_import_says_how_fast_it_is_and_how_long_it_will_take(project: Project) -> None:
    await fill(project, MANY)
    exporting = Terminal("export", "log.jsonl", cwd=project.folder)
    assert exporting.close() == 0, exporting.shown
    assert f"exported {MANY:,} events" in exporting.shown
    terminal = Terminal("import", "log.jsonl", "--url", "sqlite:///other.db", cwd=project.folder)
    assert terminal.close() == 0, terminal.shown
    assert "checking the file" in terminal.shown
    assert re.search(r"\d+ of \d+ MB", terminal.shown)
    assert bars(terminal.shown, MANY), terminal.shown


def test_where_nobody_looks_no_bar_is_drawn(accounts: Project) -> None:
    done = accounts.refold("rebuild", "account_summary")
    assert (done.code, done.err) == (0, "")
    assert "left" not in done.out
