"""Ids for appends and commands: UUID version 7, so that an index on them grows at its right edge only (RFC 9562)."""

from __future__ import annotations

import os
import time
from uuid import NAMESPACE_URL, UUID, uuid5

from refold.errors import InvalidAppend

__all__ = ["as_uuid", "new_id"]

_NAMESPACE = uuid5(NAMESPACE_URL, "https://refold.invalid/command-id")


def new_id() -> UUID:
    """A fresh UUID 7: 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    high = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    return UUID(int=high | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | (random & ((1 << 62) - 1)))


def as_uuid(given: object) -> UUID:
    """The UUID that a caller's id stands for: itself, or UUID 5 of any other text (an order number, an idempotency
    key).

    Raises `InvalidAppend` for what is empty or not text: all callers whose key is missing would mean the same one.
    """
    if isinstance(given, UUID):
        return given
    if not isinstance(given, str) or not given:
        raise InvalidAppend(f"the id {given!r} is empty, or neither text nor a UUID")
    try:
        return UUID(given)
    except ValueError:
        return uuid5(_NAMESPACE, given)
