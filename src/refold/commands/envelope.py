"""Who says a command, why, and under which id: what goes into the metadata of every event that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from refold.errors import InvalidAppend
from refold.messages.event_types import refuse_nul
from refold.messages.ids import as_uuid, new_id
from refold.messages.metadata import Metadata, encode_metadata
from refold.tracing import NO_TRACING, Tracing

__all__ = ["Envelope", "sealed"]


class Envelope(msgspec.Struct, frozen=True):
    """The id of one command or append and the metadata of its events, encoded. `given`: the caller chose the id, so it
    may be a repetition.
    """

    id: UUID
    given: bool
    metadata: bytes
    occurred_at: datetime | None


def sealed(
    *,
    command: str | None,
    command_id: str | UUID | None,
    actor: str | None,
    correlation_id: str | UUID | None,
    causation_id: str | UUID | None,
    traceparent: str | None,
    tracing: Tracing = NO_TRACING,
    data: Mapping[str, Any] | None,
    occurred_at: datetime | None,
) -> Envelope:
    """An envelope. Correlation and causation default to the command's own id, the trace to the current one.

    Raises `InvalidAppend` for data that is not JSON, and for what is not text.
    """
    for what, text in (("actor", actor), ("traceparent", traceparent)):
        if text is not None and not isinstance(text, str):
            raise InvalidAppend(f"{what}={text!r} is not text")
    if data is not None and not isinstance(data, Mapping):
        raise InvalidAppend(f"data={data!r} is not a mapping of names to values")
    try:
        own = new_id() if command_id is None else as_uuid(command_id)
    except UnicodeEncodeError as problem:
        raise InvalidAppend(f"the id {command_id!r} is no text that can be stored: {problem}") from problem
    name = str(own) if command_id is None or isinstance(command_id, UUID) else command_id
    tracestate = None
    if traceparent is None:
        traceparent, tracestate = tracing.carried()
    metadata = encode_metadata(
        Metadata(
            actor=actor,
            correlation_id=name if correlation_id is None else str(correlation_id),
            causation_id=name if causation_id is None else str(causation_id),
            command=command,
            command_id=name,
            traceparent=traceparent,
            tracestate=tracestate,
            data=dict(data) if data else {},
        )
    )
    refuse_nul(metadata, "the metadata")
    return Envelope(own, command_id is not None, metadata, occurred_at)
