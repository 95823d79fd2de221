"""How far the servers of `short_looks` look."""

from __future__ import annotations

__all__ = ["LOOK"]

LOOK = 4
"""Events of the log that each answer to a search has looked through there."""
