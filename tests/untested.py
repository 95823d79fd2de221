"""What the tests could not try on this machine: said loudly below the summary, so that no gap looks like success."""

from __future__ import annotations

from typing import NoReturn

import pytest

__all__ = ["MISSING", "skip_loudly"]

MISSING: dict[str, str] = {}
"""What was missing, and why."""


def skip_loudly(name: str, reason: str) -> NoReturn:
    """Gives a test up for want of something that not every machine has."""
    MISSING[name] = reason
    pytest.skip(f"{name} is not on this machine")
