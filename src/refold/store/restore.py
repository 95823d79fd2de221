"""Restoring events of another log as they are: what must fit before they may go on at the end of this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from refold.errors import InvalidAppend, Refused
from refold.messages.event_types import refuse_nul
from refold.messages.recorded import StoredEvent
from refold.store.event_store import Head

__all__ = ["check_restored"]


def check_restored(events: Sequence[StoredEvent], head: Head, versions: Mapping[str, int]) -> None:
    """Raises `Refused` unless these events go on where a log with this head ends, and where its streams end.

    `versions` has the version of each stream of the events; 0, or nothing, for one that is new.
    """
    position, recorded_at = head.position, head.recorded_at
    now = {stream: versions.get(stream, 0) for stream in {event.stream for event in events}}
    append_id, index = b"", 0
    for event in events:
        position += 1
        if event.position != position:
            raise Refused(f"position {event.position} cannot be restored: the log goes on at {position}")
        now[event.stream] += 1
        if event.version != now[event.stream]:
            raise Refused(
                f"position {position} cannot be restored: it has version {event.version} of stream {event.stream!r}, "
                f"which goes on at {now[event.stream]}"
            )
        if event.recorded_at < recorded_at:
            raise Refused(f"position {position} cannot be restored: it was recorded before the position before it")
        index = index + 1 if event.append_id == append_id else 0
        if event.append_index != index:
            raise Refused(
                f"position {position} cannot be restored: append {UUID(bytes=event.append_id)} is not whole before it"
            )
        for what, content in (("payload", event.payload), ("metadata", event.metadata)):
            _refuse_nul(content, f"position {position} cannot be restored: its {what}")
        recorded_at, append_id = event.recorded_at, event.append_id


def _refuse_nul(content: bytes, what: str) -> None:
    if b"\0" in content:
        raise Refused(f"{what} holds a NUL byte, which databases cannot keep in text")
    try:
        refuse_nul(content, what)
    except InvalidAppend as problem:
        raise Refused(str(problem)) from None
