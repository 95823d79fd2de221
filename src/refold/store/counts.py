"""Counts of a store's commits: what became of its appends since it was opened, for whoever wants to measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refold.errors import Conflict, OutcomeUnknown, Overloaded
from refold.store.append import AppendResult

__all__ = ["BATCH_SIZES", "OUTCOMES", "CommitCounts", "counts_of"]

OUTCOMES = ("stored", "repeated", "conflict", "overloaded", "unknown", "failed")
"""`repeated`: the log had it already. `unknown`: the store went away meanwhile. `failed`: any other error."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of the classes in which commits are counted by their number of appends; one class more has the rest."""


class CommitCounts:
    """What became of the appends of one store in this process. Written by its event loop, may be read by any thread.

    `appends` counts by outcome, `events` are those that were stored, `waiting` is how many appends wait for their
    commit now; `sizes` counts the commits by their appends (see `BATCH_SIZES`), which are `batched` in all.
    """

    __slots__ = ("appends", "batched", "events", "sizes", "waiting")

    def __init__(self) -> None:
        self.appends = dict.fromkeys(OUTCOMES, 0)
        self.events = 0
        self.waiting = 0
        self.batched = 0
        self.sizes = [0] * (len(BATCH_SIZES) + 1)

    def commit(self, outcomes: Sequence[Any]) -> None:
        """Counts a commit that was shared by these appends: their results, errors, or neither yet."""
        size = len(outcomes)
        self.batched += size
        self.sizes[min((size - 1).bit_length(), len(BATCH_SIZES))] += 1
        stored = events = 0
        for outcome in outcomes:
            if type(outcome) is AppendResult and not outcome.repeated:
                stored += 1
                events += outcome.last - outcome.first + 1
            else:
                self._count_other(outcome)
        self.appends["stored"] += stored
        self.events += events

    def transaction(self, results: Sequence[AppendResult]) -> None:
        """Counts the appends of a user's transaction; it is no shared commit."""
        self.appends["stored"] += len(results)
        self.events += sum(result.last - result.first + 1 for result in results)

    def failure(self, problem: BaseException) -> None:
        """Counts an append that failed before or outside of a shared commit."""
        self._count_other(problem)

    def _count_other(self, outcome: Any) -> None:
        if isinstance(outcome, AppendResult):
            self.appends["repeated"] += 1
        elif isinstance(outcome, Conflict):
            self.appends["conflict"] += 1
        elif isinstance(outcome, Overloaded):
            self.appends["overloaded"] += 1
        elif isinstance(outcome, OutcomeUnknown):
            self.appends["unknown"] += 1
        elif isinstance(outcome, BaseException):
            self.appends["failed"] += 1


def counts_of(store: object) -> CommitCounts | None:
    """The counts of a store; None for one that keeps none."""
    found = getattr(store, "counts", None)
    return found if isinstance(found, CommitCounts) else None
