"""The project that `refold init` writes is good: its tests pass, it is typed and tidy, and it can be played."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.runner import assert_refused, environment, refold, refold_here


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        check=False,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    done = refold_here("init", "shop", cwd=tmp_path)
    assert done.code == 0, done
    assert "cd shop" in done.out
    return tmp_path / "shop"


@pytest.mark.slow
def test_its_tests_pass(project: Path) -> None:
    assert "7 passed" in run(project, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")


@pytest.mark.slow
def test_it_is_typed_and_tidy(project: Path) -> None:
    run(project, "mypy", "--strict", "--cache-dir", str(project / ".cache"), ".")
    run(project, "ruff", "check", "--isolated", ".")
    run(project, "ruff", "format", "--isolated", "--check", ".")


def test_it_goes_into_the_current_folder_too(tmp_path: Path) -> None:
    done = refold_here("init", cwd=tmp_path)
    assert done.code == 0
    assert "cd " not in done.out
    assert (tmp_path / "refold.toml").exists()
    assert (tmp_path / ".gitignore").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    assert_refused(refold_here("init", ".", cwd=tmp_path), 5, "README.md is there already", "nothing was written")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert_refused(refold_here("init", "file", cwd=tmp_path), 2, "cannot be written")


@pytest.mark.slow
def test_it_can_be_played_and_looked_at(project: Path) -> None:
    assert run(project, "workshops").endswith("grace has a seat; 0 free\nedsger: fully booked\n")
    assert run(project, "workshops").startswith("again: this workshop is announced already\n")
    assert refold("show", "workshop-python", "--json", cwd=project).json["state"]["booked"] == ["ada", "grace"]
    assert refold("status", cwd=project / "tests").code == 0
    assert refold("verify", cwd=project).out.endswith("everything that was checked holds\n")
