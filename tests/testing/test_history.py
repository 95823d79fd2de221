"""The checker of histories finds what is wrong: a checker that finds nothing proves nothing."""

from __future__ import annotations

import msgspec
import pytest

from refold.messages.recorded import StoredEvent
from refold.store.append import ANY, EXISTS, NO_STREAM, AppendCondition, Matching
from refold.testing.history import Attempt, check_history, check_log, check_subscription


def event(position: int, append: int, *, index: int = 0, stream: str = "a", version: int | None = None) -> StoredEvent:
    own_version = position if version is None else version
    return StoredEvent(
        position, stream, own_version, "Counted", 1, b"{}", b"{}", position, None, bytes([append] * 16), index
    )


LOG = [event(1, 1), event(2, 2), event(3, 2, index=1), event(4, 3)]
TAGGED = [event(1, 1), msgspec.structs.replace(event(2, 2), tags=("x", "y")), event(3, 3), event(4, 4)]
SEEN = [(each.position, each.append_id.hex()) for each in LOG]


def hexed(append: int) -> str:
    return bytes([append] * 16).hex()


def test_a_sound_history_has_nothing_wrong():
    attempts = [
        Attempt(hexed(1), 0, 1, 10, "acknowledged", 1, 1),
        Attempt(hexed(2), 5, 2, 20, "acknowledged", 2, 3),
        Attempt(hexed(3), 20, 1),
        Attempt(hexed(4), 20, 1),
        Attempt(hexed(5), 20, 1, outcome="refused"),
    ]
    assert check_log(LOG) == []
    assert check_history(attempts, LOG) == []
    assert all(check_subscription(SEEN[:length], LOG) == [] for length in range(5))


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([LOG[0], LOG[2]], "stands where 2 should"),
        ([LOG[0], event(2, 2, version=3)], "version 3 of 'a' follows 1"),
        ([LOG[0], event(2, 2), event(3, 1)], "is torn, or stored twice"),
        ([LOG[0], event(2, 2, index=1)], "event 1 of its append follows -1"),
        ([LOG[0], msgspec.structs.replace(LOG[1], recorded_at=0)], "recorded before the position before it"),
    ],
)
def test_a_log_that_is_not_sound(log: list[StoredEvent], said: str):
    assert any(said in each for each in check_log(log))


@pytest.mark.parametrize(
    ("attempts", "said"),
    [
        ([Attempt(hexed(1), 0, 1, outcome="refused")], "was refused, and is in the log"),
        ([Attempt(hexed(9), 0, 1, 1, "acknowledged", 2, 2)], "acknowledged at 2-2, it is at (0, 0)"),
        ([Attempt(hexed(1), 0, 1, 1, "acknowledged", 2, 2)], "acknowledged at 2-2, it is at (1, 1)"),
        ([Attempt(hexed(2), 0, 3)], "had 3 events, 2 are in the log"),
        ([Attempt(hexed(3), 0, 1, 10, "acknowledged", 4, 4), Attempt(hexed(1), 20)], "after position 4 had been"),
    ],
)
def test_promises_that_were_not_kept(attempts: list[Attempt], said: str):
    assert any(said in each for each in check_history(attempts, LOG))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([SEEN[0], SEEN[2]], "saw position 3 where 2 comes next"),
        ([SEEN[0], SEEN[0]], "saw position 1 where 2 comes next"),
        ([*SEEN, (5, hexed(9))], "the log ends at 4"),
        ([(1, hexed(9))], "where the log has another"),
    ],
)
def test_subscribers_that_missed_or_dreamt_something(seen: list[tuple[int, str]], said: str):
    assert any(said in each for each in check_subscription(seen, LOG))


def on_condition(*tags: str, types: tuple[str, ...] = (), after: int = 0) -> AppendCondition:
    return AppendCondition((Matching(("Never",)), Matching(types, tags)), after)


@pytest.mark.parametrize(
    "attempt",
    [
        Attempt(hexed(1), 0, 1, expected={"a": NO_STREAM}),
        Attempt(hexed(3), 0, 1, expected={"a": 2, "b": ANY}),
        Attempt(hexed(3), 0, 1, expected={"a": EXISTS}),
        Attempt(hexed(3), 0, 1, condition=on_condition("x", after=2)),
        Attempt(hexed(2), 0, 1, condition=on_condition("x")),
        Attempt(hexed(3), 0, 1, condition=on_condition("x", types=("Other",))),
        Attempt(hexed(9), 0, 1, outcome="refused", expected={"a": 1}, conflict="a", found=2),
        Attempt(hexed(9), 0, 1, outcome="refused", expected={"z": EXISTS}, conflict="z", found=0),
        Attempt(hexed(9), 0, 1, outcome="refused", condition=on_condition("x"), found=2),
        Attempt(hexed(9), 0, 1, outcome="refused", condition=on_condition("x")),
    ],
)
def test_what_was_decided_rightly(attempt: Attempt):
    assert check_history([attempt], TAGGED) == []


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (Attempt(hexed(3), 0, 1, expected={"a": 1}), "expected 'a' at version 1, and stands after 2"),
        (Attempt(hexed(1), 0, 1, expected={"a": EXISTS}), "expected 'a' at version -2, and stands after 0"),
        (Attempt(hexed(3), 0, 1, condition=on_condition("x")), "and position 2 matches its condition"),
        (Attempt(hexed(4), 0, 1, condition=on_condition(types=("Counted",), after=2)), "and position 3 matches"),
        (Attempt(hexed(9), 0, 1, outcome="refused", expected={"a": 1}, conflict="a", found=5), "the log does not have"),
        (Attempt(hexed(9), 0, 1, outcome="refused", expected={"a": 1}, conflict="a", found=1), "it expected"),
        (
            Attempt(hexed(9), 0, 1, outcome="refused", expected={"a": EXISTS}, conflict="a", found=1),
            "which it expected",
        ),
        (Attempt(hexed(9), 0, 1, outcome="refused", condition=on_condition("x"), found=3), "the first that does is 2"),
        (Attempt(hexed(9), 0, 1, outcome="refused", condition=on_condition("z"), found=3), "the first that does is 0"),
        (Attempt(hexed(9), 0, 1, outcome="refused", found=3), "had no condition"),
    ],
)
def test_what_was_decided_wrongly(attempt: Attempt, said: str):
    assert any(said in each for each in check_history([attempt], TAGGED)), check_history([attempt], TAGGED)


def test_a_conflict_with_a_version_that_was_outdated_long_before():
    earlier = Attempt(hexed(3), 0, 1, 10, "acknowledged", 3, 3)
    refused = Attempt(hexed(9), 11, 1, outcome="refused", expected={"a": 1}, conflict="a", found=2)
    (said,) = check_history([earlier, refused], TAGGED)
    assert "when version 3 had been acknowledged before it began" in said
