"""What cannot be stored is refused before it waits, in words that say what and where."""

from __future__ import annotations

import pickle
import time
from typing import Any

import msgspec
import pytest

from refold.errors import InvalidAppend, PayloadTooLarge
from refold.messages.ids import new_id
from refold.messages.recorded import NewEvent
from refold.store.append import (
    ANY,
    EXISTS,
    MAX_EVENTS,
    NO_STREAM,
    Append,
    AppendCondition,
    AppendResult,
    Matching,
    StreamAppend,
    expected_in_words,
    validate_append,
    validate_stream_id,
)

LIMIT = 1_000


def event(**given: Any) -> NewEvent:
    return NewEvent(**{"type": "Counted", "payload": b"{}", **given})


def append(*events: NewEvent, stream: Any = "a-1", expected: Any = ANY, **more: Any) -> Append:
    return Append((StreamAppend(stream, expected, events or (event(),)),), new_id(), **more)


def refused(each: Append) -> str:
    with pytest.raises(InvalidAppend) as problem:
        validate_append(each, payload_limit=LIMIT)
    assert "\n" not in str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize(
    "stream", ["a", "account-42", "ž-🐎", "with space", "a/b:c%d'\"", "x" * 250, "👨‍👩‍👧-1", "non\u00a0breaking"]
)
def test_a_stream_may_have_any_printed_name(stream: str) -> None:
    validate_stream_id(stream)


@pytest.mark.parametrize(
    "stream", ["", "x" * 251, "\x00", "a\nb", "a\tb", "\x7f", "\x85", "\u2028", "\ud800", "a\u202eb", None, 7, b"a"]
)
def test_a_stream_without_a_name_that_can_be_kept_is_refused(stream: Any) -> None:
    assert refused(append(stream=stream)).startswith("stream id ")


@pytest.mark.parametrize("expected", [ANY, EXISTS, NO_STREAM, 1, 2**53])
def test_expected_versions(expected: int) -> None:
    validate_append(append(expected=expected), payload_limit=LIMIT)


@pytest.mark.parametrize("expected", [-3, 2**53 + 1, True, 1.0, "1", None])
def test_what_is_no_expected_version(expected: Any) -> None:
    assert "stream 'a-1': expected version" in refused(append(expected=expected))


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "truncated"),
        (b"nothing", "malformed"),
        (b"{} {}", "trailing"),
        (b'"\xff"', "utf-8"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b'"a\x00b"', "malformed"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b"[" * 100_000, "recursion"),
        ("{}", "str"),
    ],
)
def test_what_is_not_json_in_utf8(payload: Any, why: str) -> None:
    wide = 10**6
    for new, what in ((event(payload=payload), "payload"), (event(metadata=payload), "metadata")):
        with pytest.raises(InvalidAppend, match=f"stream 'a-1': the {what} of event 'Counted' is not JSON") as problem:
            validate_append(append(new), payload_limit=wide)
        assert why in str(problem.value)


@pytest.mark.parametrize("metadata", [b"[]", b"null", b'"{"', b"1"])
def test_metadata_is_an_object(metadata: bytes) -> None:
    assert "not a JSON object" in refused(append(event(metadata=metadata)))
    validate_append(append(event(metadata=b' {"a": 1} ')), payload_limit=LIMIT)


def test_payload_and_metadata_count_together() -> None:
    half = b'{"a":"' + b"x" * (LIMIT // 2 - 8) + b'"}'
    validate_append(append(event(payload=half, metadata=half)), payload_limit=LIMIT)
    with pytest.raises(PayloadTooLarge, match=r"stream 'a-1': event 'Counted' has 1,001 bytes, the limit is 1,000"):
        validate_append(append(event(payload=half + b" ", metadata=half)), payload_limit=LIMIT)


@pytest.mark.parametrize("version", [0, -1, 2**15, True, "1", None])
def test_schema_versions(version: Any) -> None:
    assert "schema version" in refused(append(event(schema_version=version)))


@pytest.mark.parametrize("moment", [-(2**62), 2**62, 10**400, 1.5, True, "now"])
def test_moments(moment: Any) -> None:
    assert "no moment" in refused(append(event(occurred_at=moment)))


@pytest.mark.parametrize("moment", [None, 0, -62_135_596_800_000_000, 253_402_300_799_999_999])
def test_all_moments_of_the_calendar_may_have_been(moment: int | None) -> None:
    validate_append(append(event(occurred_at=moment)), payload_limit=LIMIT)


@pytest.mark.parametrize("name", ["", "x" * 251, "a\n", None, 7])
def test_types_and_tags_have_names(name: Any) -> None:
    assert "event type" in refused(append(event(type=name)))
    assert "tag" in refused(append(event(tags=(name,))))


def test_nothing_to_append() -> None:
    assert "at least one stream" in refused(Append((), new_id()))
    assert "stream 'a-1': no events" in refused(Append((StreamAppend("a-1", ANY, ()),), new_id()))


def test_a_stream_stands_in_one_part_only() -> None:
    part = StreamAppend("a-1", ANY, (event(),))
    assert "stands twice" in refused(Append((part, part), new_id()))


def test_an_append_is_bounded() -> None:
    most = append(*[event()] * MAX_EVENTS)
    validate_append(most, payload_limit=LIMIT)
    assert "10,001 events" in refused(append(*[event()] * (MAX_EVENTS + 1)))


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        (AppendCondition((), 0), "at least one Matching"),
        (AppendCondition((Matching(),), -1), "-1 is not a position"),
        (AppendCondition((Matching(),), 2**70), "is not a position"),
        (AppendCondition((Matching(),), True), "is not a position"),
        (AppendCondition((Matching(("",)),), 0), "type or tag"),
        (AppendCondition((Matching((), ("a\x00",)),), 0), "type or tag"),
    ],
)
def test_conditions(condition: AppendCondition, why: str) -> None:
    assert why in refused(append(condition=condition))


def test_a_result_equals_the_same_result_that_was_repeated() -> None:
    first = AppendResult(new_id(), 1, 2, {"a-1": 2}, 1_700_000_000_000_000)
    assert first == msgspec.structs.replace(first, repeated=True)
    assert first != msgspec.structs.replace(first, last=3)
    assert first != "something else"
    assert first.timestamp.isoformat() == "2023-11-14T22:13:20+00:00"


def test_expected_versions_in_words() -> None:
    assert [expected_in_words(each) for each in (ANY, EXISTS, NO_STREAM, 7)] == ["any", "exists", "no stream", 7]


def test_ids_are_given_when_they_are_not() -> None:
    part = (StreamAppend("a-1", ANY, (event(),)),)
    assert Append(part).id != Append(part).id


def test_an_append_knows_its_size() -> None:
    each = Append(
        (StreamAppend("a", ANY, (event(), event(payload=b"[1]"))), StreamAppend("b", ANY, (event(metadata=b"{ }"),)))
    )
    assert each.size == 3
    assert validate_append(each, payload_limit=LIMIT) == (3, 4 + 5 + 5)


def test_a_refusal_survives_a_process_border() -> None:
    with pytest.raises(InvalidAppend) as problem:
        validate_append(append(stream=""), payload_limit=LIMIT)
    assert str(pickle.loads(pickle.dumps(problem.value))) == str(problem.value)


@pytest.mark.slow
def test_validation_is_cheap_enough_to_stand_before_every_append() -> None:
    each = append(event(payload=b'{"text":"' + b"x" * 200 + b'"}', metadata=b'{"actor":"alice"}', tags=("a:1",)))
    validate_append(each, payload_limit=LIMIT)
    began = time.thread_time()
    for _ in range(10_000):
        validate_append(each, payload_limit=LIMIT)
    assert (time.thread_time() - began) / 10_000 < 50e-6  # seconds; some 4 microseconds where this was written
