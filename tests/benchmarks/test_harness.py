"""The benchmarks' harness runs for real, measures, checks what was stored, and writes what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
ALL_REACHED, MISSED = 0, 3


@pytest.mark.slow
def test_a_quick_run_of_one_contender_writes_its_results(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "append_sqlite", "--quick", "--only", "refold", "--rounds", "1"],
        check=False,
        cwd=_ROOT,
        env=os.environ | {"BENCHMARK_RESULTS": str(results)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    # A missed target is an answer too: this machine may be busy, and a quick run's numbers mean little.
    assert done.returncode in (ALL_REACHED, MISSED), done
    assert "Traceback" not in done.stderr

    assert os.listdir(results) == ["append_sqlite.json"]
    written = json.loads((results / "append_sqlite.json").read_text(encoding="utf-8"))
    assert written["name"] == "append_sqlite"
    measured = [row for row in written["rows"] if row["failure"] is None]
    assert measured, written
    assert "Refold" in done.stdout

    shown = subprocess.run(
        [sys.executable, "-m", "benchmarks", "append_sqlite", "--show"],
        check=True,
        cwd=_ROOT,
        env=os.environ | {"BENCHMARK_RESULTS": str(results)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "append" in shown.stdout
