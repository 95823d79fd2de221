"""A command with an envelope of its own, among many that are executed together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from refold.messages.event import Command

__all__ = ["Enveloped"]


class Enveloped(msgspec.Struct, frozen=True, kw_only=True):
    """A command with what belongs to it alone, for `execute_many`: `Enveloped(command=…, command_id="order-7")`.

    `command_id` makes it idempotent. What is None is taken from the call. All of it means what it means for `execute`.
    """

    command: Command
    command_id: str | UUID | None = None
    actor: str | None = None
    correlation_id: str | UUID | None = None
    causation_id: str | UUID | None = None
    traceparent: str | None = None
    data: Mapping[str, Any] | None = None
    occurred_at: datetime | None = None

    def envelope(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `execute` beside the command: its own, and from `common` those that it has not."""
        own = {name: getattr(self, name) for name in self.__struct_fields__ if name != "command"}
        return {name: common.get(name) if value is None else value for name, value in own.items()}
