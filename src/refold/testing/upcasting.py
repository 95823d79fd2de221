"""What today's classes read from events that older releases wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from refold.messages.event import Event
from refold.messages.event_types import EventTypes, encode_json
from refold.messages.recorded import StoredEvent
from refold.store.append import validate_stream_id

__all__ = ["upcast"]

E = TypeVar("E", bound=Event)


def upcast(event: type[E], payload: Mapping[str, Any], *, version: int, stream: str = "stream-1") -> E:
    """The event that a class reads from what its older `version` wrote: through its upcasters, as from a log.

    `payload` is the JSON object as the log has it (decimals and moments are text). Raises `DecodeError` when an
    upcaster fails or the result does not fit the class, `UnknownVersion` for a version that the class does not have.
    """
    validate_stream_id(stream)
    stored = StoredEvent(
        1, stream, 1, event.__message_name__, version, encode_json(payload), b"{}", 0, None, bytes(16), 0
    )
    return cast("E", EventTypes([event]).decode_event(stored))
