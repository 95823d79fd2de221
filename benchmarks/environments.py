"""The Python environments of the contenders, made on demand below `.bench/`: peers must not share versions with the
project.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.plan import Environment

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / ".bench"
NEW_ENOUGH = (3, 13)
"""What eventsource-py 0.15 needs; pip would quietly install 0.8.1 under an older Python."""


@dataclass(frozen=True)
class Prepared:
    """A ready environment; `note` says what a reader of its numbers must know."""

    python: Path
    note: str = ""


@cache
def environment(name: Environment) -> Prepared:
    """The environment of that name, made first where it is missing or its lock file changed.

    Raises RuntimeError when pip fails.
    """
    match name:
        case "project":
            return Prepared(Path(sys.executable))
        case "peers":
            return Prepared(_venv("peers", _base_python(), ["--require-hashes", "-r", _lock("bench.lock")]))
        case "eventsource":
            return _eventsource()


def _eventsource() -> Prepared:
    python = _newer_python()
    if python is not None:
        return Prepared(_venv("eventsource", python, ["--require-hashes", "-r", _lock("bench-py313.lock")]))
    note = "0.8.1, because 0.15 needs Python 3.13, which was not found"
    return Prepared(
        _venv("eventsource-old", _base_python(), ["--require-hashes", "-r", _lock("bench-py311.lock")]), note
    )


def _base_python() -> Path:
    return Path(getattr(sys, "_base_executable", sys.executable))


def _newer_python() -> Path | None:
    if sys.version_info >= NEW_ENOUGH:
        return _base_python()
    minors = range(NEW_ENOUGH[1], NEW_ENOUGH[1] + 5)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [path for minor in minors for path in sorted(pyenv.glob(f"3.{minor}*/bin/python"))]
    found += [Path(path) for minor in minors if (path := shutil.which(f"python3.{minor}"))]
    return next((path for path in found if _works(path)), None)


def _works(python: Path) -> bool:
    """Whether it runs and is new enough: a shim on the PATH may stand for a version that is not installed."""
    question = f"import sys, venv; sys.exit(sys.version_info < {NEW_ENOUGH})"
    try:
        return subprocess.run([python, "-c", question], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _lock(name: str) -> str:
    return str(ROOT / "requirements" / name)


def _venv(name: str, python: Path, wanted: list[str]) -> Path:
    folder = SCRATCH / name
    inside = folder / "bin" / "python"
    ready = folder / "ready"
    fingerprint = _fingerprint(python, wanted)
    if inside.exists() and ready.exists() and ready.read_text(encoding="utf-8") == fingerprint:
        return inside
    print(f"making the environment {folder.relative_to(ROOT)} with {python}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    _run([str(python), "-m", "venv", str(folder)])
    _run([str(inside), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *wanted])
    ready.write_text(fingerprint, encoding="utf-8")
    return inside


def _fingerprint(python: Path, wanted: list[str]) -> str:
    digest = hashlib.sha256(f"{python} {wanted}".encode())
    for part in wanted:
        if part.endswith(".lock"):
            digest.update(Path(part).read_bytes())
    return digest.hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:4])} … failed:\n{done.stderr[-3000:]}")
