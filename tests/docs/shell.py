"""Running a page's shell commands one after the other in one shell, as its reader would."""

import os
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PROJECT = Path(__file__).resolve().parents[2]


class CommandFailed(Exception):
    """A command ended with another exit code than the page says; the text has its output."""


@dataclass(frozen=True)
class Command:
    """One command of a block: its text, the output shown below it, and the line inside of the block (from 0)."""

    text: str
    output: str
    line: int


def commands_of(text: str) -> list[Command]:
    """The commands of a block in which lines with `$ ` are commands (`> ` continues one) and other lines are output."""
    commands: list[Command] = []
    for number, line in enumerate(text.splitlines()):
        if line.startswith("$ "):
            commands.append(Command(f"{line[2:]}\n", "", number))
        elif commands:
            last = commands[-1]
            if not last.output and (line.startswith("> ") or last.text.endswith("\\\n")):
                commands[-1] = Command(f"{last.text}{line.removeprefix('> ')}\n", "", last.line)
            else:
                commands[-1] = Command(last.text, f"{last.output}{line}\n", last.line)
    return [Command(command.text, command.output.strip("\n"), command.line) for command in commands]


class Shell:
    """One bash for one page: folder and variables last from block to block, and nothing of it outlives the page."""

    def __init__(self, folder: Path) -> None:
        """Starts in `folder`, with the project's environment first on the PATH and no colours."""
        self._end = f"end-of-command-{secrets.token_hex(8)}"
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str, *, expected_exit: str, place: str) -> str:
        """Run one command or script and return what it printed; raises CommandFailed when it ends with another code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{\n{command}\n}} </dev/null\nprintf '\\n%s %s\\n' {self._end} $?\n")
        self._process.stdin.flush()
        printed: list[str] = []
        for line in self._process.stdout:
            if line.startswith(self._end):
                code = line.split()[1]
                break
            printed.append(line)
        else:
            code = f"the end of the shell ({self._process.wait()})"
        output = "".join(printed).removesuffix("\n")
        if code != expected_exit:
            raise CommandFailed(
                f"{place}: {command.strip()}\nended with {code}, expected {expected_exit}; it printed\n{output}"
            )
        return output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # a page may have left a worker in the background
        self._process.communicate()


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REFOLD_", "PYTEST_", "PG"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(PROJECT),
        "HOME": str(folder),
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "100",
        "PYTHONUTF8": "1",
    }
