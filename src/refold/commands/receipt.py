"""The receipt: what a caller gets for an accepted command or append, and shows to read its own write."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from refold.messages.event import Event
from refold.messages.recorded import from_microseconds

__all__ = ["Receipt"]


class Receipt(msgspec.Struct, frozen=True):
    """What became of a command: its events are recorded, durably.

    `version` is the stream's version after it and `position` its last event's place in the log; give the receipt as
    `after=` to read a model that has seen it. A command for which nothing had to happen has no events, and the version
    and position of the state it was decided on. Executing the same command id again gives the first receipt.
    """

    command_id: UUID
    stream: str
    version: int
    position: int
    recorded_at: int
    events: tuple[Event, ...]

    @property
    def timestamp(self) -> datetime:
        """When it was recorded: the database's clock, UTC."""
        return from_microseconds(self.recorded_at)
