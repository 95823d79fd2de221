"""The seam for projections that change their rows inside the appending transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from refold.messages.recorded import StoredEvent

__all__ = ["Inline"]

Inline = Callable[[psycopg.AsyncConnection[Any], list[StoredEvent]], Awaitable[None]]
"""Is called inside the appending transaction with the events that it appends; what it raises fails the append."""
