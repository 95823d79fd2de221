"""Giving way: a rebuild takes about a quarter of what it could while others append, so that they hardly notice it."""

from __future__ import annotations

import asyncio
import os
import time

__all__ = ["GiveWay", "go_last"]

_PAGE = 5_000
_FIRST_PAGE = 500
"""As long as it is not known whether others append."""
_SMALL_PAGE = 200
"""Small enough that its reading, and then its folding, are short beside one append."""
_LONGEST_REST = 1.0
_REST = 3.0
"""So many times as long as it worked. The server works longer on a page than this process does, in part while it rests.
"""
_WINDOW = 0.25
"""Seconds over which it is judged whether others append: between two small pages, often nobody has."""
_HOPELESS = 10
"""The log may grow by one event for so many that are folded. Where it grows faster, a rest only puts the end off."""
_HOPELESS_RESTING = 2
"""The same, for so many that are folded with rests: fewer, or it would change its mind with each window."""


_NICE = 10


def go_last() -> None:
    """For a process that only rebuilds: whoever serves people on this machine goes first."""
    if hasattr(os, "nice"):
        os.nice(max(0, _NICE - os.nice(0)))


class GiveWay:
    """Notices by the log's head that others append, and then leaves most of the time to them, in small steps.

    `page` is the number of events to read at once. `active`: it gives way, so that the next page is to be read when
    this one is folded, and not meanwhile: one of two processors stays free.
    """

    def __init__(self) -> None:
        self.page = _FIRST_PAGE
        self.active = False
        self._head: int | None = None
        self._resumed = self._since = time.monotonic()
        self._folded = self._grown = 0

    async def rest(self, folded: int, head: int) -> None:
        """To be called after each page, with the number of positions folded and the log's head."""
        now, first = time.monotonic(), self._head is None
        self._folded += folded
        self._grown += 0 if self._head is None else head - self._head
        self._head = head
        over = now - self._since >= _WINDOW
        if over or (self._grown and not self.active):
            hopeless = self._grown * (_HOPELESS_RESTING if self.active else _HOPELESS) > self._folded
            self.active = self._grown > 0 and not hopeless
        if over:
            self._since, self._folded, self._grown = now, 0, 0
        self.page = _SMALL_PAGE if self.active else _FIRST_PAGE if first else _PAGE
        if self.active:
            await asyncio.sleep(min(_REST * (now - self._resumed), _LONGEST_REST))
        self._resumed = time.monotonic()
