"""Giving way: a rebuild takes about a quarter of what it could while others append, so that they hardly notice it."""

from __future__ import annotations

import asyncio
import os
import time

__all__ = ["GiveWay", "go_last"]

_PAGE = 5_000
_SMALL_PAGE = 1_000
_LONGEST_REST = 1.0
_REST = 3.0
"""So many times as long as it worked. The server works longer on a page than this process does, in part while it rests.
"""
_HOPELESS = 10
"""The log may grow by one event for so many that are folded. Where it grows faster, a rest only puts the end off."""


_NICE = 10


def go_last() -> None:
    """For a process that only rebuilds: whoever serves people on this machine goes first."""
    if hasattr(os, "nice"):
        os.nice(max(0, _NICE - os.nice(0)))


class GiveWay:
    """Notices by the log's head that others append, and then leaves most of the time to them, in small steps.

    `page` is the number of events to read at once.
    """

    def __init__(self) -> None:
        self.page = _PAGE
        self._head: int | None = None
        self._resumed = time.monotonic()

    async def rest(self, folded: int, head: int) -> None:
        """To be called after each page, with the number of positions folded and the log's head."""
        grown = 0 if self._head is None else head - self._head
        self._head = head
        give_way = grown > 0 and grown * _HOPELESS <= folded
        self.page = _SMALL_PAGE if give_way else _PAGE
        if give_way:
            await asyncio.sleep(min(_REST * (time.monotonic() - self._resumed), _LONGEST_REST))
        self._resumed = time.monotonic()
