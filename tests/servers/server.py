"""What the test servers have in common: one process with a folder, which may be stopped, killed and started again."""

import os
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.servers.account import remove, start_as_server
from tests.servers.processes import alive, kill_tree, pid_in, wait_until


class Server(ABC):
    """A server whose port stays the same over restarts. Whoever starts it writes its process id into `pid_file`."""

    title: ClassVar[str]
    pid_file: ClassVar[str]
    stop_seconds: ClassVar[float] = 60

    def __init__(self, folder: Path, port: int) -> None:
        """Attach to the server in `folder`, running or not."""
        self.folder = folder
        self.port = port

    @abstractmethod
    def start(self) -> None:
        """Start, and return when it answers. Raises RuntimeError or TimeoutError when it does not come up."""

    @property
    def pid(self) -> int | None:
        """The process id, or None when it is not running."""
        return pid_in(self.folder / self.pid_file)

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

    def begin(self, command: list[str | Path | int], output: Path) -> int:
        """Starts its process in the background; gives the process id."""
        pid = start_as_server(command, cwd=self.folder, output=output)
        (self.folder / self.pid_file).write_text(str(pid), encoding="utf-8")
        return pid

    def stop(self) -> None:
        """Stop it in order, and wait for the end. No-op when stopped."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not alive(pid), f"{self.title} to stop", timeout=self.stop_seconds)

    def restart(self) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone. `start` recovers."""
        pid = self.pid
        if pid is not None:
            kill_tree(pid)

    def remove(self) -> None:
        """Stop it at once and delete its data."""
        self.kill()
        remove(self.folder)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.remove()
