"""What a caller intended and what it was told, kept line by line so that it survives the caller's death."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec

from refold.errors import Conflict
from refold.store.append import Append, AppendCondition
from refold.testing.history import Attempt


class Journal:
    """Written by one process."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def intend(self, append_id: str, size: int, append: Append | None = None) -> None:
        line: dict[str, object] = {"id": append_id, "size": size, "began": time.monotonic_ns()}
        if append is not None:
            line["expected"] = {part.stream: part.expected for part in append.streams}
            line["condition"] = msgspec.to_builtins(append.condition)
        self._file.write(json.dumps(line) + "\n")

    def acknowledge(self, append_id: str, first: int, last: int) -> None:
        line = {"id": append_id, "outcome": "acknowledged", "first": first, "last": last, "ended": time.monotonic_ns()}
        self._file.write(json.dumps(line) + "\n")

    def refuse(self, append_id: str, why: Exception | None = None) -> None:
        line: dict[str, object] = {"id": append_id, "outcome": "refused"}
        if isinstance(why, Conflict):
            line |= {"conflict": why.stream, "found": why.actual}
        self._file.write(json.dumps(line) + "\n")


def attempts_in(folder: Path) -> list[Attempt]:
    """The attempts of all journals of a folder. One that was repeated under the same id counts once, with its last
    outcome.
    """
    attempts: dict[str, Attempt] = {}
    for path in sorted(folder.glob("*.journal")):
        for line in path.read_text().splitlines():
            if not line.endswith("}"):
                continue  # the writer died in the middle of this line, before it acted on it
            said = json.loads(line)
            attempt = attempts.setdefault(said["id"], Attempt(said["id"], said.get("began", 0)))
            for name, value in said.items():
                if name == "condition":
                    attempt.condition = msgspec.convert(value, AppendCondition | None)
                elif name != "began":
                    setattr(attempt, name, value)
    return list(attempts.values())


def seen_in(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """What each subscriber saw, in order; a line in which it died is left out."""
    return {path.stem: [_seen(line) for line in _whole_lines(path)] for path in folder.glob("*.seen")}


def _whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _seen(line: str) -> tuple[int, str]:
    position, append_id = line.split()
    return int(position), append_id
