"""The sweep: each named point, with each fault that can happen there. What was promised holds afterwards, without a
human.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.checking import begin, checked
from tests.faults.points import points_of
from tests.servers import PostgresServer

SHARED = ("command.", "projection.", "rebuild.")
# Reached by restoring an export only, which has tests of its own, or by a fault that needs another one first.
ELSEWHERE = {"sqlite.restore.inserted", "postgres.reconnect", "postgres.settle"}
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
    assert point in passed, f"the workload never came to {point}"
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


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("action", ["kill", "raise", "cut", "swallow"])
@pytest.mark.parametrize("point", POSTGRES)
def test_postgres(point: str, action: str, tmp_path: Path, postgres18: PostgresServer) -> None:
    sweep(postgres18.create_database(f"sweep_{uuid4().hex}"), tmp_path, point, action)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("action", ["kill", "raise", "cut", "swallow"])
@pytest.mark.parametrize("point", [point for point in INLINE if point != "postgres.append.after_send"])
def test_postgres_with_an_inline_read_model(
    point: str, action: str, tmp_path: Path, postgres18: PostgresServer
) -> None:
    folder = tmp_path / "inline"
    folder.mkdir()
    sweep(postgres18.create_database(f"sweep_{uuid4().hex}"), folder, point, action)
