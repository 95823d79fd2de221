"""What is known about an event besides what happened: who, why, and by which command."""

from __future__ import annotations

from typing import Any

import msgspec

from refold.errors import InvalidAppend
from refold.messages.misfits import refuse_what_json_changes

__all__ = ["Metadata", "decode_metadata", "encode_metadata"]


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata of a recorded event, stored as one JSON object.

    `correlation_id` names the whole conversation, `causation_id` the message that directly caused this one: the
    command's id, unless the caller gave another. `traceparent` and `tracestate` are W3C's Trace Context: the span in
    which the event came to be. `data` is the user's own.
    """

    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    command: str | None = None
    command_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)


_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")
_decoder = msgspec.json.Decoder(Metadata)


def encode_metadata(metadata: Metadata) -> bytes:
    """Metadata as JSON. Raises `InvalidAppend` when the user's own data cannot be written as JSON."""
    try:
        if metadata.data:
            refuse_what_json_changes(metadata.data)
        return _encoder.encode(metadata)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError) as problem:
        raise InvalidAppend(f"the metadata cannot be stored as JSON: {problem}") from problem


def decode_metadata(stored: bytes) -> Metadata:
    """Metadata from its stored JSON; fields that this version does not know are ignored."""
    return _decoder.decode(stored)
