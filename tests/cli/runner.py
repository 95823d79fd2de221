"""Running `refold` as its users do: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """How a command line ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """No settings but those that a test gives, and no colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REFOLD_", "PG", "PYTEST_"))}
    return kept | {"NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(_PROJECT)} | more


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "refold.cli", *arguments]


def refold(
    *arguments: str, cwd: Path, given: bytes | None = None, columns: int | None = None, **variables: str
) -> Done:
    """Runs `refold …` in a folder."""
    if columns is not None:
        variables["COLUMNS"] = str(columns)
    done = subprocess.run(
        command(*arguments),
        check=False,
        cwd=cwd,
        env=environment(**variables),
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        timeout=120,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_refused(done: Done, code: int, *said: str) -> None:
    """One line on stderr that says all of this, nothing on stdout, and this exit code."""
    assert done.code == code, done
    assert done.out == "", done
    assert done.err.startswith("refold: "), done
    assert done.err.count("\n") == 1, done
    assert done.err.endswith("\n"), done
    for text in said:
        assert text in done.err, done
