"""Named points at which a test may make something fail. In production every point is a no-op.

The names say what has just been done or is about to be done; the fault sweep of `tests/faults` visits each one.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["at", "install"]

_hook: Callable[[str], None] | None = None


def at(point: str) -> None:
    """Passes a fault point: calls the installed hook, if any."""
    if _hook is not None:
        _hook(point)


def install(hook: Callable[[str], None] | None) -> None:
    """Installs the hook that is called at each point (None: removes it). It may raise, kill the process, or cut a
    connection.
    """
    global _hook  # one process, one fault plan
    _hook = hook
