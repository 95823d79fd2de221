"""The history checker: compares what clients were told with what the log holds.

Simpler and stronger than a general checker of transaction histories, because the log itself is the order in which
everything happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from refold.messages.recorded import StoredEvent

__all__ = ["Attempt", "check_history", "check_log", "check_subscription"]


class Attempt(msgspec.Struct):
    """One append as its caller saw it. `began` and `ended` are of one clock for all callers (`time.monotonic_ns`).

    `outcome`: `acknowledged` (then `first` and `last` are its positions), `refused` (a conflict, a rejection: surely
    not stored), or `unknown` (the caller died, or was told that nobody knows). `size` is the number of its events, 0:
    not known.
    """

    id: str
    began: int
    size: int = 0
    ended: int = 0
    outcome: Literal["acknowledged", "refused", "unknown"] = "unknown"
    first: int = 0
    last: int = 0


def check_log(log: Sequence[StoredEvent]) -> list[str]:
    """What is wrong with a log by itself: gaps, versions, torn appends, times that go back. Empty: nothing."""
    wrong: list[str] = []
    versions: dict[str, int] = {}
    index_of: dict[bytes, int] = {}
    last_append = b""
    last_time = 0
    for number, event in enumerate(log, start=1):
        if event.position != number:
            wrong.append(f"position {event.position} stands where {number} should")
            return wrong
        expected = versions.get(event.stream, 0) + 1
        if event.version != expected:
            wrong.append(f"position {number}: version {event.version} of {event.stream!r} follows {expected - 1}")
        versions[event.stream] = event.version
        if event.append_id != last_append and event.append_id in index_of:
            wrong.append(f"position {number}: append {event.append_id.hex()} is torn, or stored twice")
        expected_index = index_of.get(event.append_id, -1) + 1
        if event.append_index != expected_index:
            wrong.append(f"position {number}: event {event.append_index} of its append follows {expected_index - 1}")
        index_of[event.append_id] = event.append_index
        last_append = event.append_id
        if event.recorded_at < last_time:
            wrong.append(f"position {number} was recorded before the position before it")
        last_time = event.recorded_at
    return wrong


def check_history(attempts: Iterable[Attempt], log: Sequence[StoredEvent]) -> list[str]:
    """What was promised to the callers and does not hold. Empty: nothing.

    Acknowledged: in the log once, whole, at the positions that the caller was told. Refused: not in the log. Unknown:
    whole, once, or not at all. In real time: what was acknowledged before an append began stands before it.
    """
    wrong = check_log(log)
    if wrong:
        return wrong
    stored: dict[str, list[StoredEvent]] = {}
    for event in log:
        stored.setdefault(event.append_id.hex(), []).append(event)
    known = list(attempts)
    for attempt in known:
        events = stored.get(attempt.id, [])
        if attempt.outcome == "refused" and events:
            wrong.append(f"append {attempt.id} was refused, and is in the log at position {events[0].position}")
        if attempt.outcome == "acknowledged":
            there = (events[0].position, events[-1].position) if events else (0, 0)
            if there != (attempt.first, attempt.last):
                wrong.append(
                    f"append {attempt.id} was acknowledged at {attempt.first}-{attempt.last}, it is at {there}"
                )
        if events and attempt.size and len(events) != attempt.size:
            wrong.append(f"append {attempt.id} had {attempt.size} events, {len(events)} are in the log")
    return wrong + _check_real_time(known, stored)


def _check_real_time(attempts: list[Attempt], stored: dict[str, list[StoredEvent]]) -> list[str]:
    moments = [(attempt.ended, 0, attempt.last) for attempt in attempts if attempt.outcome == "acknowledged"]
    moments += [(attempt.began, 1, stored[attempt.id][0].position) for attempt in attempts if attempt.id in stored]
    wrong: list[str] = []
    furthest = 0
    for moment, began, position in sorted(moments):
        if not began:
            furthest = max(furthest, position)
        elif position < furthest:
            wrong.append(f"position {position} was begun at {moment}, after position {furthest} had been acknowledged")
    return wrong


def check_subscription(seen: Sequence[tuple[int, str]], log: Sequence[StoredEvent]) -> list[str]:
    """What is wrong with what a subscriber of the whole log saw, from its beginning on: position and append id (hex) of
    each event, in the order in which it came. Empty: exactly a prefix of the log, each event once.
    """
    for number, (position, append_id) in enumerate(seen, start=1):
        if position != number:
            return [f"the subscriber saw position {position} where {number} comes next"]
        if number > len(log):
            return [f"the subscriber saw position {number}, and the log ends at {len(log)}"]
        if log[number - 1].append_id.hex() != append_id:
            return [f"the subscriber saw append {append_id} at position {number}, where the log has another"]
    return []
