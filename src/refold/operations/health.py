"""Health: whether a process lives, and whether its work moves."""

from __future__ import annotations

import msgspec

from refold.app import Context
from refold.projections.checkpoint import PAUSED, RUNNING

__all__ = ["Health", "not_moving"]


class Health(msgspec.Struct, frozen=True):
    """Well, or the reasons why not, each a sentence for a person."""

    reasons: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether there is nothing to say against it."""
        return not self.reasons


def not_moving(context: Context) -> list[str]:
    """Why the read models that this process should move do not: stopped, of another definition, or stalled.

    One that an operator has paused is as it should be. Reads memory only, and may be asked from any thread.
    """
    reasons = {}
    for name, projection in context.projections.running().items():
        if projection.status not in (RUNNING, PAUSED):
            reasons[name] = f"read model {name} has stopped ({projection.status}): {projection.error}"
    for stalled in context.projections.stalled():
        reasons[stalled.name] = f"read model {stalled.name} is stalled: {stalled.why}"
    return [reasons[name] for name in sorted(reasons)]
