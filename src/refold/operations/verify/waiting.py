"""Events that a projection has put by: an unreadable one is no finding while its row is parked because of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from refold.errors import DecodeError, DefinitionError
from refold.folds.read_model import ReadModelDefinition
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, StoredEvent
from refold.projections.parking.gate import Gate

__all__ = ["decoded"]


def decoded(
    events: Iterable[StoredEvent], types: EventTypes, definition: ReadModelDefinition, gate: Gate
) -> list[Recorded[Any]]:
    """The events that a read model is to be folded from. Raises `UnknownEvent`, and `DecodeError` unless it waits."""
    found = []
    for stored in events:
        try:
            found.append(types.decode(stored))
        except DecodeError:
            if not _waits(stored, types, definition, gate):
                raise
    return found


def _waits(stored: StoredEvent, types: EventTypes, definition: ReadModelDefinition, gate: Gate) -> bool:
    handler = definition.evolves.get(types.named(stored.type))
    if not gate or handler is None or handler.key is not None:
        return False
    try:
        key = definition.as_key(stored.stream.partition("-")[2])
    except (DefinitionError, msgspec.ValidationError):
        return False
    return not gate.passes(key, stored.position)
