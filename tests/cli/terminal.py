"""A terminal for a command: what a person would see of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

from tests.cli.runner import command, environment

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs `refold …` with its output on a terminal of 120 columns, until it ends or is stopped."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            command(*arguments),
            cwd=cwd,
            env=environment(TERM="xterm-256color", COLUMNS="120"),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = ""

    def read(self, until: Callable[[str], bool] = lambda shown: False) -> str:
        """All that was shown, without colours and movements, once it is what is waited for, or the command ended."""
        while not until(self.shown):
            try:
                piece = os.read(self._ours, 65_536)
            except OSError:  # that is how a terminal says that nobody has it open any more
                break
            if not piece:
                break
            self.shown += _CONTROLS.sub("", piece.decode(errors="replace"))
        return self.shown

    def close(self) -> int:
        """Waits for the end; gives the exit code."""
        self.read()
        code = self.process.wait(60)
        os.close(self._ours)
        return code
