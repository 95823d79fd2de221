"""What a verification found: one result for each promise that was checked."""

from __future__ import annotations

import msgspec

__all__ = ["Check", "Finding", "Report"]

_KEPT = 20


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, and what."""

    where: str
    problem: str


class Check(msgspec.Struct):
    """One promise: how many things were looked at, and the first findings of all that broke it."""

    name: str
    promise: str
    looked_at: int = 0
    broken: int = 0
    findings: list[Finding] = msgspec.field(default_factory=list)
    skipped: str | None = None
    """Why it was not checked; None: it was."""
    uncompared: int = 0
    """How many could not be compared, because they never stood still."""
    first_position: int | None = None
    last_position: int | None = None
    """Between which positions of the log it was compared, where it is compared at one: it may move meanwhile."""
    notes: list[str] = msgspec.field(default_factory=list)
    """What is to be known of how it was checked."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found to be wrong."""
        return not self.broken

    def found(self, where: str, problem: str) -> None:
        """Notes something that is wrong."""
        self.broken += 1
        if len(self.findings) < _KEPT:
            self.findings.append(Finding(where, problem))

    def looked(self, position: int) -> None:
        """Counts one thing that was compared, as it was at that position."""
        self.looked_at += 1
        self.first_position = position if self.first_position is None else min(self.first_position, position)
        self.last_position = position if self.last_position is None else max(self.last_position, position)


class Report(msgspec.Struct, frozen=True):
    """All checks of one store, and the log's head when they began. `percent` and `seed`: of a sample only."""

    store: str
    head: int
    checks: list[Check]
    percent: float | None = None
    seed: int | None = None

    @property
    def ok(self) -> bool:
        """Whether every promise that was checked holds."""
        return all(check.ok for check in self.checks)
