"""A folder with refold.toml, in which commands are run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.cli.runner import Done, command, environment, refold


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

    def refold(self, *arguments: str, **options: Any) -> Done:
        """Runs a command in the folder."""
        return refold(*arguments, cwd=self.folder, **options)

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
