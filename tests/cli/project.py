"""A folder with refold.toml, in which commands are run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cli.runner import Done, command, environment, refold, refold_here


class Project:
    """The folder of a bank's project; its store is at `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        (folder / "refold.toml").write_text(f'app = "tests.domain:bank"\nurl = "{url}"\n', encoding="utf-8")

    @property
    def absolute_url(self) -> str:
        """The URL from anywhere."""
        return self.at(self.url)

    def at(self, url: str) -> str:
        """A URL that is meant from the project's folder."""
        return url.replace("sqlite:///", f"sqlite:///{self.folder}/")

    def refold(self, *arguments: str, given: bytes | None = None, columns: int | None = None) -> Done:
        """Runs a command in the folder."""
        variables = {} if columns is None else {"COLUMNS": str(columns)}
        # A worker adds what it needs to the process; what reads a pipe needs a real one.
        if given is not None or arguments[0] == "worker":
            return refold(*arguments, cwd=self.folder, given=given, **variables)
        return refold_here(*arguments, cwd=self.folder, **variables)

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Starts a command that runs until it is stopped."""
        return subprocess.Popen(
            command(*arguments),
            cwd=self.folder,
            env=environment(PYTHONUNBUFFERED="1"),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
