"""The results' files: one JSON a benchmark in `results/` (of this machine), and those that the documentation shows
in `published/`.
"""

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.summary import Goal, Row, Summary

RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or Path(__file__).resolve().parent / "results")
"""Set BENCHMARK_RESULTS to leave the last results as they are."""
PUBLISHED = Path(__file__).resolve().parent / "published"


def save(summary: Summary, folder: Path = RESULTS) -> Path:
    """Write a benchmark's results, over those of the last time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{summary.name}.json"
    path.write_text(json.dumps(summary.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def load(name: str, folder: Path = RESULTS) -> Summary | None:
    """A benchmark's results, if it was run."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{**row, "goals": [Goal(**goal) for goal in row["goals"]]}) for row in stored.pop("rows")]
    return Summary(**stored, rows=rows)
