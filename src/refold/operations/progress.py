"""How a long operation tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "unheard"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0: not known). It is called
often, and perhaps from a thread.
"""


def unheard(step: str, done: int, total: int) -> None:
    """Progress that nobody wants to know."""
