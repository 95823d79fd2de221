"""Exports for tests, made without a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from uuid import UUID

from refold.messages.recorded import StoredEvent
from refold.operations.transfer.lines import header_line, line_of, summary_line

FIRST_RECORDED = 1_767_225_600_000_000


def append(first: int, *streams_and_versions: tuple[str, int], payload: bytes = b"{}") -> list[StoredEvent]:
    """The events of one append, recorded a second after the position before it."""
    append_id = UUID(int=first).bytes
    return [
        StoredEvent(
            first + index,
            stream,
            version,
            "MoneyDeposited",
            1,
            payload,
            b'{"actor":"alice"}',
            FIRST_RECORDED + first * 1_000_000,
            None,
            append_id,
            index,
            (),
        )
        for index, (stream, version) in enumerate(streams_and_versions)
    ]


def three_appends() -> list[StoredEvent]:
    """Five events in three appends, the second of which is of two streams."""
    return [
        *append(1, ("account-1", 1)),
        *append(2, ("account-1", 2), ("account-2", 1), ("account-2", 2)),
        *append(5, ("account-1", 3)),
    ]


def export_of(events: Iterable[StoredEvent], source: str = "memory") -> list[bytes]:
    """The lines of an export of these events."""
    lines = [line_of(event) for event in events]
    return [header_line(source), *lines, summary_line(len(lines), len(lines), checksum_of(lines))]


def checksum_of(lines: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(lines)).hexdigest()
