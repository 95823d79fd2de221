"""Where the rebuilds of `held` wait."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from tests.servers.ports import free_port

__all__ = ["GATE", "PAGE", "Gate"]

GATE = "REFOLD_TEST_GATE"
"""The variable that names a gate's port to a server."""
PAGE = 20
"""Events that a rebuild there folds before it comes to the gate again."""
_SECONDS = 60.0


class Gate:
    """A rebuild that has folded a page stands before it until it is let through."""

    def __init__(self) -> None:
        # Nobody may be given it when the gate is open: a rebuild that finds another there would wait for that one.
        self.port = free_port()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._listening.settimeout(_SECONDS)
        self._before: socket.socket | None = None

    def __enter__(self) -> Self:
        """It is shut."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Opens it."""
        self.open()

    def open(self) -> None:
        """It is open for all, and stays so."""
        self._listening.close()
        self.let_through()

    def wait(self) -> None:
        """Comes back when a rebuild stands before it."""
        self._before, _ = self._listening.accept()

    def let_through(self) -> None:
        """Lets the one go on that stands there."""
        if self._before is not None:
            self._before.close()
            self._before = None

    def page(self) -> None:
        """Lets it take one page more."""
        self.let_through()
        self.wait()
