"""The history checker: compares what clients were told with what the log holds.

Simpler and stronger than a general checker of transaction histories, because the log itself is the order in which
everything happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from refold.messages.recorded import StoredEvent
from refold.store.append import EXISTS, AppendCondition

__all__ = ["Attempt", "check_decisions", "check_history", "check_log", "check_subscription"]


class Attempt(msgspec.Struct):
    """One append as its caller saw it. `began` and `ended` are of one clock for all callers (`time.monotonic_ns`).

    `expected` are the versions that it expected of its streams (`ANY` may be left out), `condition` is its append
    condition. Refused by the stream `conflict`, or by its condition (then that is empty), it was told `found`: the
    stream's version, or the position of the first match; -1: it was told nothing of the kind.

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
    expected: dict[str, int] = msgspec.field(default_factory=dict)
    condition: AppendCondition | None = None
    conflict: str = ""
    found: int = -1


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
    whole, once, or not at all. In real time: what was acknowledged before an append began stands before it. What was
    expected holds for what is in the log, and a refusal names what is there (see `check_decisions`).
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
    return wrong + _check_real_time(known, stored) + check_decisions(known, log)


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


def check_decisions(attempts: Iterable[Attempt], log: Sequence[StoredEvent]) -> list[str]:
    """Whether each append of a sound log rightly was stored, or rightly was refused. Empty: each.

    Stored: its streams were at the versions that it expected, and no event between its condition's position and its own
    matches the condition. Refused: the stream really was at the version that it was told, which is not the one that it
    expected, and which is no older than what was acknowledged before it began; or the event that it was told is the
    first that matches.
    """
    known = list(attempts)
    stored: dict[str, list[StoredEvent]] = {}
    newest: dict[str, int] = {}
    for event in log:
        stored.setdefault(event.append_id.hex(), []).append(event)
        newest[event.stream] = event.version
    acknowledged = [attempt for attempt in known if attempt.outcome == "acknowledged" and attempt.id in stored]
    wrong: list[str] = []
    for attempt in known:
        if attempt.id in stored:
            wrong += _wrongly_stored(attempt, stored[attempt.id], log)
        elif attempt.outcome == "refused" and attempt.found >= 0:
            reason = (
                _wrongly_refused(attempt, newest, [(each.ended, stored[each.id]) for each in acknowledged])
                if attempt.conflict
                else _wrongly_matched(attempt, log)
            )
            if reason:
                wrong.append(f"append {attempt.id} was refused, and {reason}")
    return wrong


def _wrongly_stored(attempt: Attempt, events: Sequence[StoredEvent], log: Sequence[StoredEvent]) -> list[str]:
    wrong: list[str] = []
    for stream, expected in attempt.expected.items():
        before = next((event.version - 1 for event in events if event.stream == stream), 0)
        if (expected >= 0 and before != expected) or (expected == EXISTS and not before):
            wrong.append(f"append {attempt.id} expected {stream!r} at version {expected}, and stands after {before}")
    if attempt.condition is not None:
        match = _first_match(attempt.condition, log[: events[0].position - 1])
        if match:
            wrong.append(
                f"append {attempt.id} is at position {events[0].position}, and position {match} matches its condition"
            )
    return wrong


def _wrongly_refused(
    attempt: Attempt, newest: dict[str, int], acknowledged: Sequence[tuple[int, Sequence[StoredEvent]]]
) -> str:
    stream, found = attempt.conflict, attempt.found
    expected = attempt.expected.get(stream)
    if found > newest.get(stream, 0):
        return f"was told version {found} of {stream!r}, which the log does not have"
    if expected is not None and (expected == found or (expected == EXISTS and found)):
        return f"was told version {found} of {stream!r}, which it expected"
    known = max(
        (
            event.version
            for ended, events in acknowledged
            if ended < attempt.began
            for event in events
            if event.stream == stream
        ),
        default=0,
    )
    if found < known:
        return f"was told version {found} of {stream!r}, when version {known} had been acknowledged before it began"
    return ""


def _wrongly_matched(attempt: Attempt, log: Sequence[StoredEvent]) -> str:
    if attempt.condition is None:
        return "had no condition"
    first = _first_match(attempt.condition, log)
    if first != attempt.found:
        return f"was told that position {attempt.found} matches its condition, the first that does is {first}"
    return ""


def _first_match(condition: AppendCondition, log: Sequence[StoredEvent]) -> int:
    for event in log[condition.after :]:
        for item in condition.matching:
            if (not item.types or event.type in item.types) and set(item.tags) <= set(event.tags):
                return event.position
    return 0
