"""Running `refold` as its users do: in a process of its own; or, where that makes no difference, in this one."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from refold.cli.main import run

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
    """No settings but those that a test gives, no colours, and no terminal of the tester's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        # pytest loads readline, which gives every child of its process COLUMNS: so do the processes of `pytest -n`.
        if not name.startswith(("REFOLD_", "PG", "PYTEST_")) and name not in {"COLUMNS", "LINES"}
    }
    return kept | {"NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(_PROJECT)} | more


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "refold.cli", *arguments]


def refold(*arguments: str, cwd: Path, given: bytes | None = None, **variables: str) -> Done:
    """Runs `refold …` in a folder."""
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


def refold_here(*arguments: str, cwd: Path, **variables: str) -> Done:
    """Runs `refold …` in a thread of this process: twenty times as fast, with the same output."""
    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:
        stack.callback(_forget_modules_of, cwd)
        log = logging.getLogger("refold")
        stack.enter_context(mock.patch.object(log, "handlers", [*log.handlers]))
        out, err = io.BytesIO(), io.BytesIO()
        stack.enter_context(mock.patch.dict(os.environ, environment(**variables), clear=True))
        stack.enter_context(mock.patch.object(sys, "path", [*sys.path]))
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(contextlib.redirect_stdout(io.TextIOWrapper(out, encoding="utf-8", write_through=True)))
        stack.enter_context(contextlib.redirect_stderr(io.TextIOWrapper(err, encoding="utf-8", write_through=True)))
        code = thread.submit(run, arguments).result()
        printed = out.getvalue().decode(), err.getvalue().decode()
    return Done(code, *printed)


def _forget_modules_of(folder: Path) -> None:
    """The next test has another app by the same name in another folder."""
    for name, module in [*sys.modules.items()]:
        if (getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]


def assert_refused(done: Done, code: int, *said: str) -> None:
    """One line on stderr that says all of this, nothing on stdout, and this exit code."""
    assert done.code == code, done
    assert done.out == "", done
    assert done.err.startswith("refold: "), done
    assert done.err.count("\n") == 1, done
    assert done.err.endswith("\n"), done
    for text in said:
        assert text in done.err, done
