"""What cannot be kept, or could not be read back, is refused before it is stored."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest

from refold import Event
from refold.errors import DecodeError, DefinitionError, InvalidAppend, InvalidQuery, PayloadTooLarge, UnknownEvent
from refold.messages.event_types import EventTypes
from refold.messages.ids import as_uuid, new_id
from refold.messages.metadata import Metadata, encode_metadata
from refold.messages.recorded import StoredEvent, from_microseconds, to_microseconds


class Noted(Event, tags="subject"):
    text: str
    amount: Decimal = Decimal(0)
    subject: str | None = None
    anything: Any = None


class Inner(msgspec.Struct):
    when: datetime


class Planned(Event):
    at: datetime | None = None
    all: dict[str, list[Inner]] = {}
    opens: Annotated[time, msgspec.Meta(tz=False)] = time(9)


class Strict(Event):
    at: Annotated[datetime, msgspec.Meta(tz=True)]


types = EventTypes([Noted], payload_limit=10_000)


def stored(payload: bytes, *, name: str = "Noted") -> StoredEvent:
    return StoredEvent(7, "note-1", 3, name, 1, payload, b"{}", 0, None, bytes(16), 0)


def test_an_event_is_what_its_reader_will_get():
    new, as_read = types.prepare(Noted(text="x", amount=100))  # type: ignore[arg-type]  # a whole number for a decimal
    assert as_read == Noted(text="x", amount=Decimal(100))
    assert types.decode_event(stored(new.payload)) == as_read


def test_a_field_of_the_wrong_type_is_refused():
    with pytest.raises(InvalidAppend, match=r"event 'Noted' cannot be stored: Expected `str`, got `int`.*\$\.text"):
        types.prepare(Noted(text=5))  # type: ignore[arg-type]  # that is the mistake


def test_lone_surrogates_are_refused():
    with pytest.raises(InvalidAppend, match="cannot be stored"):
        types.prepare(Noted(text="\ud800"))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_would_become_null_is_refused(number: float):
    for anything in (number, {"a": [number]}, {number: 1}, (1, {"b": number})):
        with pytest.raises(InvalidAppend, match="JSON has no word for the number"):
            types.prepare(Noted(text="x", anything=anything))
    with pytest.raises(InvalidAppend, match="JSON has no word for the number"):
        encode_metadata(Metadata(data={"a": number}))


@pytest.mark.parametrize("number", ["NaN", "sNaN", "-NaN12", "Infinity", "-Infinity"])
def test_a_decimal_that_is_no_number_is_refused(number: str):
    """For ever in the log, it would stop each read model that adds it up: no column holds it."""
    with pytest.raises(InvalidAppend, match=r"event 'Noted': amount is .*, not a finite number"):
        types.prepare(Noted(text="x", amount=Decimal(number)))


@pytest.mark.parametrize("number", ["1E+131072", "9" * 131_073, "1E-16384", "0E-16384", "1." + "0" * 16_384])
def test_a_decimal_of_more_digits_than_a_column_holds_is_refused(number: str):
    with pytest.raises(InvalidAppend, match=r"event 'Noted': amount has more digits than a column holds"):
        types.prepare(Noted(text="x", amount=Decimal(number)))


@pytest.mark.parametrize("number", ["1E+131071", "-1E-16383", "1E+5", "0E+200000"])
def test_a_decimal_that_a_column_holds_is_kept(number: str):
    text = "NaN, Infinity, 1E+999999"  # that is a text, and stays one
    assert types.prepare(Noted(text=text, amount=Decimal(number)))[1] == Noted(text=text, amount=Decimal(number))


def test_a_time_zone_that_json_would_round_is_refused():
    moment = datetime(2026, 1, 15, tzinfo=timezone(timedelta(hours=1, seconds=20)))
    with pytest.raises(InvalidAppend, match="has seconds"):
        types.prepare(Noted(text="x", anything=[moment]))
    types.prepare(Noted(text="x", anything=moment.astimezone(UTC)))


def test_what_is_nested_too_deeply_is_refused():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidAppend, match="recursion"):
        types.prepare(Noted(text="x", anything=deep))
    with pytest.raises(InvalidAppend, match="recursion"):
        encode_metadata(Metadata(data={"a": deep}))


@pytest.mark.parametrize("text", ["\x00", "a\x00", "\\\x00", "\\\\\x00"])
def test_nul_is_refused(text: str):
    with pytest.raises(InvalidAppend, match="NUL character"):
        types.prepare(Noted(text=text))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", "\\\\\\u0000"])
def test_what_only_looks_like_nul_is_kept(text: str):
    assert types.prepare(Noted(text=text))[1] == Noted(text=text)


def test_a_payload_past_the_limit_is_refused():
    with pytest.raises(PayloadTooLarge, match="the limit is 10,000"):
        types.prepare(Noted(text="x" * 10_000))


def test_an_event_of_another_app_is_refused():
    class Noted(Event):
        text: str

    with pytest.raises(InvalidAppend, match="is not an event of this app"):
        types.prepare(Noted(text="x"))


def test_a_naive_time_is_refused():
    with pytest.raises(InvalidAppend, match="has no time zone"):
        types.prepare(Noted(text="x"), occurred_at=datetime(2026, 1, 15))
    with pytest.raises(InvalidAppend, match="has no time zone"):
        types.prepare(Noted(text="x"), occurred_at=date(2026, 1, 15))  # type: ignore[arg-type]  # by mistake
    with pytest.raises(InvalidQuery, match="has no time zone"):
        to_microseconds(datetime(2026, 1, 15))
    with pytest.raises(InvalidQuery, match="is no moment"):
        to_microseconds(date(2026, 1, 15))  # type: ignore[arg-type]  # by mistake


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_cannot_be_said_in_utc_is_refused(text: str):
    """A row is in UTC: one such event would stop every read model that keeps the moment."""
    beyond = datetime.fromisoformat(text)
    plans = EventTypes([Planned, Strict])
    with pytest.raises(InvalidAppend, match="event 'Planned': at is not within the years 1 to 9999 in UTC"):
        plans.prepare(Planned(at=beyond))
    with pytest.raises(InvalidAppend, match="event 'Strict': at is not within the years 1 to 9999 in UTC"):
        plans.prepare(Strict(at=beyond))
    with pytest.raises(InvalidAppend, match=r"occurred_at=.* is not within the years 1 to 9999 in UTC"):
        types.prepare(Noted(text="x"), occurred_at=beyond)


def test_a_naive_moment_inside_an_event_is_refused_wherever_it_stands():
    plans = EventTypes([Planned])
    aware, naive = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 15)
    plans.prepare(Planned(at=aware, all={"x": [Inner(aware)]}))
    with pytest.raises(InvalidAppend, match="event 'Planned': at has no time zone"):
        plans.prepare(Planned(at=naive))
    with pytest.raises(InvalidAppend, match=r"all\['x'\]\[1\]\.when has no time zone"):
        plans.prepare(Planned(all={"x": [Inner(aware), Inner(naive)]}))


def test_whole_numbers_fit_into_64_bits():
    for number in (2**63 - 1, -(2**63)):
        types.prepare(Noted(text="x", anything=[number], amount=Decimal(2**80)))
    for number in (2**63, -(2**63) - 1, 2**70):
        with pytest.raises(InvalidAppend, match=r"event 'Noted': anything\['deep'\]\[0\] is a whole number beyond"):
            types.prepare(Noted(text="x" * 30, anything={"deep": [number]}))


class Mixed(enum.Enum):
    TEXT = "text"
    NUMBER = 2


class Unreadable(Event):
    kind: Mixed


class Unknown(Event):
    what: Nowhere  # type: ignore[name-defined]  # noqa: F821  # that is the mistake


@pytest.mark.parametrize("cls", [Unreadable, Unknown])
def test_a_class_that_json_cannot_hold_is_named_with_its_reason(cls: type[Event]):
    """msgspec's own error says which type it does not like, and not whose field has it."""
    with pytest.raises(DefinitionError, match=rf"test_event_types\.{cls.__name__}: .*(Mixed|Nowhere)"):
        EventTypes([cls])


def test_who_says_so_may_keep_local_times():
    class Planned(Event):
        at: Annotated[datetime, msgspec.Meta(tz=False)]

    assert (
        EventTypes([Planned]).prepare(Planned(at=datetime(2026, 1, 15)))[0].payload == b'{"at":"2026-01-15T00:00:00"}'
    )


def test_microseconds_survive():
    moment = datetime(2026, 1, 15, 12, 30, 15, 123457, tzinfo=UTC)
    assert from_microseconds(to_microseconds(moment)) == moment


class Kind(enum.Enum):
    CAR = "car"
    HOME = "home"


class Level(enum.IntEnum):
    HIGH = 2


class Booked(Event, tags=("kind", "level", "seats", "kinds", "rows", "code")):
    kind: Kind
    level: Level | None = None
    seats: list[str] = []
    kinds: set[Kind] = set()
    rows: tuple[int | None, ...] = ()
    code: str | None = None


def test_each_value_of_a_list_is_a_tag_and_an_enumeration_is_written_as_its_value():
    """As it is in the JSON: whoever asks for a tag writes it by hand, and a guard that never matches guards nothing."""

    event = Booked(kind=Kind.CAR, level=Level.HIGH, seats=["b", "a", "b"], kinds={Kind.HOME, Kind.CAR}, rows=(1, None))
    assert EventTypes([Booked]).prepare(event)[0].tags == (
        "kind:car", "level:2", "seats:b", "seats:a", "kinds:car", "kinds:home", "rows:1",
    )  # fmt: skip
    assert EventTypes([Booked]).prepare(Booked(kind=Kind.HOME))[0].tags == ("kind:home",)


def test_tags_come_from_fields_and_none_gives_none():
    assert types.prepare(Noted(text="x", subject="42"))[0].tags == ("subject:42",)
    assert types.prepare(Noted(text="x"))[0].tags == ()


def test_an_unknown_type_is_named_with_its_position():
    with pytest.raises(UnknownEvent, match=r"'Gone' \(position 7, stream 'note-1'\)"):
        types.decode_event(stored(b"{}", name="Gone"))


def test_a_payload_that_does_not_fit_is_named_with_its_position():
    with pytest.raises(DecodeError, match=r"'Noted' at position 7 \(stream 'note-1'\).*text"):
        types.decode_event(stored(b"{}"))


def test_fields_that_a_class_does_not_know_are_ignored():
    assert types.decode_event(stored(b'{"text":"x","new":1}')) == Noted(text="x")


def test_ids_grow_and_are_version_7():
    ids = [new_id() for _ in range(100)]
    assert {each.version for each in ids} == {7}
    assert len(set(ids)) == 100
    assert sorted(each.int >> 80 for each in ids) == [each.int >> 80 for each in ids]


def test_any_text_stands_for_one_id():
    assert as_uuid("order-17") == as_uuid("order-17") != as_uuid("order-18")
    assert as_uuid("0190b5f2-9e63-7000-8000-000000000000").hex == "0190b5f29e6370008000000000000000"
