"""The lock beside a database: held by the one process that writes it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from refold.errors import StoreLocked
from refold.store.sqlite.problems import file_problem

__all__ = ["FileLock"]

_PATIENCE = 0.25
"""Seconds: as long as it may take a doctor to look, or a process that is ending to end."""
_PAUSE = 0.01


class FileLock:
    """Taken when it is made, and let go by the system when its process ends, however it ends. Blocks for a moment at
    most.
    """

    def __init__(self, path: Path) -> None:
        database = str(path).removesuffix(".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            raise file_problem(problem, database) from problem
        try:
            self._take(database)
        except BaseException:
            os.close(self._descriptor)
            raise
        with contextlib.suppress(OSError):  # the pid is a courtesy, for which a full disk may have no space
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def _take(self, database: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(_PAUSE)
                    continue
                holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "?"
                where = "this process already" if holder == str(os.getpid()) else f"another process (pid {holder})"
                raise StoreLocked(
                    f"{database} is open for writing in {where}; a SQLite store has one writing process: "
                    "stop that one, open this one read-only, or use Postgres"
                ) from None
            except OSError as problem:  # a file system without locks
                raise file_problem(problem, database) from problem
            return

    def release(self) -> None:
        """Lets another process write."""
        os.close(self._descriptor)
