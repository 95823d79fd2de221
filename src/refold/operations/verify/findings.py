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

    @property
    def ok(self) -> bool:
        """Whether nothing was found to be wrong."""
        return not self.broken

    def found(self, where: str, problem: str) -> None:
        """Notes something that is wrong."""
        self.broken += 1
        if len(self.findings) < _KEPT:
            self.findings.append(Finding(where, problem))


class Report(msgspec.Struct, frozen=True):
    """All checks of one store, and the log's head when they began."""

    store: str
    head: int
    checks: list[Check]

    @property
    def ok(self) -> bool:
        """Whether every promise that was checked holds."""
        return all(check.ok for check in self.checks)
