"""A projection's checkpoint: how far it has scanned the log, to which log that belongs, and who moves it."""

from __future__ import annotations

import msgspec

from refold.projections.parking.records import Change

__all__ = ["AWAY", "CHANGED", "PAUSED", "REBUILDING", "REFUSED", "RUNNING", "STOPPED", "Checkpoint", "Move"]

RUNNING = "running"
STOPPED = "stopped"
PAUSED = "paused"
REBUILDING = "rebuilding"
CHANGED = "definition changed"
REFUSED = "refused"
"""Its store does not let it in. It goes on by itself once that is mended; it is nowhere kept."""
AWAY = "away"
"""Its store cannot be reached. The same holds of it."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `refold_checkpoints`.

    `position` is the last one scanned, whether it matched or not. `append_id` (hex) is that of the event there: it
    proves to which log the position belongs. `epoch` counts owners: who moves a checkpoint names the epoch that it was
    given. Times are microseconds since 1970, by the database's clock.
    """

    name: str
    position: int = 0
    append_id: str = ""
    fingerprint: str = ""
    owner: str = ""
    epoch: int = 0
    lease_until: int = 0
    status: str = RUNNING
    error: str = ""
    updated_at: int = 0


class Move(msgspec.Struct, frozen=True):
    """A checkpoint's step, which holds only if it still stands at `before` and belongs to `epoch`. `name` is the
    checkpoint's where that is not the table's: a shard's. `changes` are made with it, or not at all.
    """

    before: int
    after: int
    append_id: str
    epoch: int
    name: str = ""
    changes: tuple[Change, ...] = ()

    def of(self, table: str) -> str:
        """The checkpoint that moves when these rows are written."""
        return self.name or table
