"""Counts of a projection: what it has done since its process began, and whether it is inside a fold right now."""

from __future__ import annotations

import time

__all__ = ["FoldCounts"]


class FoldCounts:
    """What one projection has done in this process. Written by its event loop, may be read by any thread.

    `events` are those that it wants and has folded (again after a failure), in `pages`; `failures` are attempts that
    failed. `busy_since` is when the work at hand began, by the monotonic clock, 0 when it waits for events: what never
    comes back is found by it.
    """

    __slots__ = ("busy_since", "events", "failures", "pages")

    def __init__(self) -> None:
        self.events = 0
        self.pages = 0
        self.failures = 0
        self.busy_since = 0.0

    def begin(self) -> None:
        """It takes up work: a page, or the next part of one."""
        self.busy_since = time.monotonic()

    def done(self, events: int) -> None:
        """It has folded so many events, and lives."""
        self.events += events
        self.busy_since = time.monotonic()

    def rest(self) -> None:
        """The work at hand is over."""
        self.busy_since = 0.0
