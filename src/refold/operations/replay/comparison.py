"""Comparing the states of one fold with a baseline's, in one go over both, in the order of their keys."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import msgspec

from refold.operations.replay.baseline import Baseline, Section
from refold.operations.replay.digests import Track, parted, shown_state
from refold.operations.replay.report import FoldReport

__all__ = ["Comparison", "Parting"]

_NOTHING = Track()


class Parting(msgspec.Struct, frozen=True, order=True):
    """A state that differs from the baseline's, from an interval on. `now` is today's state at the end."""

    interval: int
    key: bytes
    same_now: bool
    now: msgspec.Raw | None


class Comparison:
    """Takes today's tracks in ascending order, and counts those that differ. The first `shown` of them, in the order of
    the log, are kept.
    """

    def __init__(self, baseline: Baseline, section: Section, report: FoldReport, shown: int) -> None:
        self._report = report
        self._shown = shown
        self._before = baseline.tracks(section)
        self._next = next(self._before, None)
        self._kept: list[_Latest] = []
        report.compared = 0

    def see(self, key: bytes, track: Track, state: Any) -> None:
        """One of today's states."""
        for gone, was in self._until(key):
            self._compare(gone, was, _NOTHING, None)
        was = _NOTHING
        if self._next is not None and self._next[0] == key:
            was = self._next[1]
            self._next = next(self._before, None)
        self._compare(key, was, track, state)

    def finish(self) -> list[Parting]:
        """The first that differ, in the order of the log; today's states are all seen."""
        for gone, was in self._until(None):
            self._compare(gone, was, _NOTHING, None)
        return sorted(latest.parting for latest in self._kept)

    def _until(self, key: bytes | None) -> Iterator[tuple[bytes, Track]]:
        """What only the baseline has, below a key."""
        while self._next is not None and (key is None or self._next[0] < key):
            yield self._next
            self._next = next(self._before, None)

    def _compare(self, key: bytes, was: Track, is_: Track, state: Any) -> None:
        report = self._report
        report.compared = (report.compared or 0) + 1
        interval = parted(was, is_)
        if interval is None:
            return
        same_now = was.state == is_.state
        report.differing += 1
        report.differing_now += not same_now
        now = None if state is None else shown_state(state)
        heapq.heappush(self._kept, _Latest(Parting(interval, key, same_now, now)))
        if len(self._kept) > self._shown:
            heapq.heappop(self._kept)


class _Latest:
    """Sorts the latest first, so that a heap gives it up first."""

    def __init__(self, parting: Parting) -> None:
        self.parting = parting

    def __lt__(self, other: _Latest) -> bool:
        return (self.parting.interval, self.parting.key) > (other.parting.interval, other.parting.key)
