"""An export loses nothing: what is read from a line is the event that was written to it, byte for byte."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.errors import TransferError
from refold.messages.recorded import StoredEvent, to_microseconds
from refold.operations.transfer.lines import event_of, header_line, header_of, line_of
from tests.operations.exports import append

EVENT = append(1, ("account-42", 1))[0]
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=250)
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(to_microseconds)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: msgspec.json.encode(value))


@given(
    st.builds(
        StoredEvent,
        position=st.integers(1, 2**63 - 1),
        stream=NAMES,
        version=st.integers(1, 2**63 - 1),
        type=NAMES,
        schema_version=st.integers(1, 32_767),
        payload=st.binary() | JSON | JSON.map(lambda encoded: msgspec.json.format(encoded, indent=2)),
        metadata=st.binary() | JSON,
        recorded_at=MOMENTS,
        occurred_at=st.none() | MOMENTS,
        append_id=st.binary(min_size=16, max_size=16),
        append_index=st.integers(0, 9_999),
        tags=st.lists(NAMES, max_size=3).map(tuple),
    )
)
def test_every_event_survives_its_line(event: StoredEvent) -> None:
    line = line_of(event)
    assert event_of(line) == event
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


@pytest.mark.parametrize(
    "payload",
    [b'{"amount": 1.10, "note":  "two  spaces"}', '{"name":"Żółć"}'.encode(), b"1e400", b'{"a":1,"a":2}', b'"\\u0000"'],
)
def test_json_is_seen_as_it_is(payload: bytes) -> None:
    line = line_of(msgspec.structs.replace(EVENT, payload=payload))
    assert b'"payload":' + payload in line


@pytest.mark.parametrize(
    ("payload", "form"),
    [
        (b'{"a":\n1}', b'"payload_text":"{\\"a\\":\\n1}"'),
        (b" {}", b'"payload_text":" {}"'),
        (b"not JSON", b'"payload_text":"not JSON"'),
        (b"", b'"payload_text":""'),
        (b"\xff\xfe", b'"payload_base64":"//4="'),
    ],
)
def test_what_would_not_survive_is_kept_in_another_form(payload: bytes, form: bytes) -> None:
    line = line_of(msgspec.structs.replace(EVENT, payload=payload))
    assert form in line
    assert event_of(line).payload == payload


def test_times_are_for_people() -> None:
    moment = to_microseconds(datetime(2026, 1, 15, 12, 30, 0, 123456, UTC))
    assert b'"recorded_at":"2026-01-15T12:30:00.123456Z"' in line_of(msgspec.structs.replace(EVENT, recorded_at=moment))


def changed(old: str, new: str) -> bytes:
    line = line_of(EVENT).decode()
    assert old in line
    return line.replace(old, new).encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}\n", "missing required field `position`"),
        (b"nonsense\n", "not JSON"),
        (line_of(EVENT)[:-20] + b"\n", "not JSON"),
        (changed('"position":1', '"position":"1"'), "Expected `int`, got `str` - at `$.position`"),
        (changed('"position":1', '"position":0'), "$.position"),
        (changed('"version":1', '"version":-1'), "$.version"),
        (changed('"version":1', '"version":1,"color":"red"'), "unknown field `color`"),
        (changed('"stream":"account-42"', '"stream":""'), "$.stream"),
        (changed('"stream":"account-42"', '"stream":"account\\u0000-42"'), "control or unprintable"),
        (changed('"stream":"account-42"', f'"stream":"{"x" * 251}"'), "$.stream"),
        (changed('"append_index":0', '"append_index":0,"tags":["a\\nb"]'), "tag 'a\\nb' contains control"),
        (changed('"append_index":0', '"append_index":0,"occurred_at":"2026-01-15T12:00:00"'), "no time zone"),
        (changed('"payload":{}', '"payload_text":"{}","payload":{}'), "needs one of payload"),
        (changed(',"payload":{}', ""), "needs one of payload"),
        (changed('"payload":{}', '"payload_base64":"?"'), "not base64"),
        (line_of(EVENT).replace(b"alice", b"\xff"), "not JSON"),
    ],
)
def test_a_broken_line_says_what_is_wrong(line: bytes, reason: str) -> None:
    with pytest.raises(TransferError, match=re.escape(reason)):
        event_of(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "no export of Refold"),
        (b"\x1f\x8b\x08 zipped", "no export of Refold"),
        (b'{"format":"other","format_version":1,"source":"x"}\n', "its format is 'other'"),
        (b'{"format":"refold-export","format_version":2,"source":"x"}\n', "its format version is 2"),
    ],
)
def test_another_file_is_refused_by_its_first_line(line: bytes, reason: str) -> None:
    with pytest.raises(TransferError, match=reason) as refused:
        header_of(line)
    assert refused.value.line == 1


def test_a_header_survives() -> None:
    assert header_of(header_line("sqlite:///bank.db")).source == "sqlite:///bank.db"
