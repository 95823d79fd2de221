"""`refold doctor` says what to do, for people and for programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.project import Project
from tests.cli.runner import refold_here


@pytest.mark.parametrize(
    "project", ["sqlite"], indirect=True
)  # the Postgres of the tests has fsync off, rightly an error
def test_a_well_store(accounts: Project) -> None:
    done = accounts.refold("doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\n\neverything is as it should be\n")
    assert accounts.refold("doctor", "--json").json["ok"] is True


def test_what_is_wrong_comes_with_advice(tmp_path: Path) -> None:
    done = refold_here("doctor", "--url", "sqlite:///bank.db", cwd=tmp_path)
    assert (done.code, done.err) == (1, "")
    assert "ERROR    file     bank.db does not exist\n                  `refold migrate` creates it\n" in done.out
    assert done.out.endswith("\n1 error\n")
    report = refold_here("doctor", "--url", "sqlite:///bank.db", "--json", cwd=tmp_path)
    assert (report.code, report.json["errors"], report.json["checks"][-1]["health"]) == (1, 1, "error")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_down_is_what_the_doctor_finds(tmp_path: Path) -> None:
    done = refold_here("doctor", "--url", "postgresql://clerk:s3cret@127.0.0.1:1/bank", cwd=tmp_path)
    assert done.code == 1
    assert "ERROR    connection  postgresql://clerk@127.0.0.1:1/bank cannot be reached" in done.out
    assert "s3cret" not in done.out
