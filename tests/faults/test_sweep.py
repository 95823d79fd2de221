"""The sweep: each named point, with each fault that can happen there. What was promised holds afterwards, without a
human.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from refold.testing.history import check_log
from tests.faults.checking import ROOT, begin, checked
from tests.faults.points import points_of
from tests.faults.restoring import read_back, write_export
from tests.servers import PostgresServer

pytestmark = pytest.mark.slow

SHARED = ("command.", "projection.", "rebuild.")
# Reached by restoring an export only, which has a sweep of its own.
RESTORING = set(points_of("sqlite.restore.", "postgres.restore."))
# Reached on the way back from another fault only.
SECOND = ["postgres.reconnect", "postgres.settle"]
ELSEWHERE = RESTORING | set(SECOND)
SQLITE = [point for point in points_of("sqlite.", *SHARED) if point not in ELSEWHERE | {"projection.before_write"}]
ON_SQLITE_ONLY = {"projection.rows_written", "projection.checkpoint_moved", "rebuild.switching"}
# One statement commits by itself; only with an inline read model is there something between it and the commit.
INLINE = points_of("postgres.append.", "postgres.transaction.")
WITH_INLINE_ONLY = {"postgres.append.before_commit"}
POSTGRES = [
    point for point in points_of("postgres.", *SHARED) if point not in ELSEWHERE | ON_SQLITE_ONLY | WITH_INLINE_ONLY
]


def sweep(url: str, folder: Path, point: str, action: str) -> None:
    occurrence = 2 if point.startswith(("projection.", "postgres.append", "sqlite.append", "command.")) else 1
    # A rebuild at the end would heal what the fault broke, so there is one only where the fault is in it.
    rebuild = point.startswith("rebuild.")
    victim = begin(url, folder, "victim", point, occurrence, action, rebuild=rebuild)
    victim.wait(90)
    said = (folder / "victim.stderr").read_text()
    if action == "kill":
        assert victim.returncode == -9, said
    passed = (folder / "victim.points").read_text().split()
    assert set(point.split(">")) <= set(passed), f"the workload never came to {point}"
    assert (folder / "victim.fired").exists(), f"the workload came to {point} too seldom: nothing happened there"
    cuts = folder / "victim.cuts"
    assert not cuts.exists() or cuts.read_text() != "0", "the line was never cut"
    # The next process goes on with the work on whatever the first one left.
    second = begin(url, folder, "second", rounds=4, rebuild=rebuild)
    assert second.wait(90) == 0, (folder / "second.stderr").read_text()
    assert checked(url, folder) > 20


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("point", SQLITE)
def test_sqlite(point: str, action: str, tmp_path: Path) -> None:
    sweep(f"sqlite:///{tmp_path}/bank.db", tmp_path, point, action)


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("point", points_of("sqlite.append.", "sqlite.transaction."))
def test_sqlite_with_an_inline_read_model(point: str, action: str, tmp_path: Path) -> None:
    folder = tmp_path / "inline"
    folder.mkdir()
    sweep(f"sqlite:///{folder}/bank.db", folder, point, action)


@pytest.mark.postgres
@pytest.mark.parametrize("action", ["kill", "raise", "cut", "swallow"])
@pytest.mark.parametrize("point", POSTGRES)
def test_postgres(point: str, action: str, tmp_path: Path, postgres18: PostgresServer) -> None:
    sweep(postgres18.create_database(f"sweep_{uuid4().hex}"), tmp_path, point, action)


@pytest.mark.postgres
@pytest.mark.parametrize("action", ["kill", "raise", "cut", "swallow"])
@pytest.mark.parametrize("point", [point for point in INLINE if point != "postgres.append.after_send"])
def test_postgres_with_an_inline_read_model(
    point: str, action: str, tmp_path: Path, postgres18: PostgresServer
) -> None:
    folder = tmp_path / "inline"
    folder.mkdir()
    sweep(postgres18.create_database(f"sweep_{uuid4().hex}"), folder, point, action)


@pytest.mark.postgres
@pytest.mark.parametrize("action", ["kill", "raise", "cut", "swallow"])
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", ["postgres.append.after_send", "postgres.transaction.before_commit"])
def test_postgres_twice(first: str, second: str, action: str, tmp_path: Path, postgres18: PostgresServer) -> None:
    """The line is cut, and on the way back from that something happens again."""
    sweep(postgres18.create_database(f"sweep_{uuid4().hex}"), tmp_path, f"{first}>{second}", action)


def restoring(url: str, export: Path, folder: Path, point: str = "-", action: str = "none") -> int:
    """Imports an export in a process of its own; gives its exit code."""
    command = [sys.executable, "-m", "tests.faults.restoring", url, str(export), str(folder), point, action]
    with (folder / "restoring.stderr").open("a") as said:
        return subprocess.run(command, cwd=ROOT, stderr=said, check=False, timeout=90).returncode


def sweep_restoring(url: str, folder: Path, point: str, action: str) -> None:
    """An import that a fault interrupts goes on from there, and the log is that of the export in the end."""
    original = asyncio.run(write_export(folder / "log.jsonl"))
    code = restoring(url, folder / "log.jsonl", folder, point, action)
    said = (folder / "restoring.stderr").read_text()
    assert (folder / "restoring.fired").exists(), said
    assert code == (-9 if action == "kill" else 1), said
    half_way = asyncio.run(read_back(url))
    assert check_log(half_way) == []
    assert half_way == original[: len(half_way)]
    assert restoring(url, folder / "log.jsonl", folder) == 0
    assert asyncio.run(read_back(url)) == original


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("point", points_of("sqlite.restore."))
def test_restoring_on_sqlite(point: str, action: str, tmp_path: Path) -> None:
    sweep_restoring(f"sqlite:///{tmp_path}/bank.db", tmp_path, point, action)


@pytest.mark.postgres
@pytest.mark.parametrize("action", ["kill", "raise", "cut"])
@pytest.mark.parametrize("point", [*points_of("postgres.restore."), "postgres.transaction.before_commit"])
def test_restoring_on_postgres(point: str, action: str, tmp_path: Path, postgres18: PostgresServer) -> None:
    sweep_restoring(postgres18.create_database(f"restore_{uuid4().hex}"), tmp_path, point, action)
