"""Upcasters: what an older version wrote is read as today's class; what cannot be is named, and found when the class is
defined where that is possible.
"""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from refold import Event
from refold.errors import DecodeError, DefinitionError, UnknownVersion
from refold.messages.event_types import EventTypes
from refold.messages.recorded import StoredEvent
from refold.testing import upcast


def in_units(payload: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had whole cents."""
    return {"amount": str(Decimal(payload["cents"]) / 100)}


def with_a_currency(payload: dict[str, Any], stored: StoredEvent) -> dict[str, Any]:
    """Version 2 had the currency in the stream's id."""
    payload["currency"] = "CHF" if stored.stream.startswith("swiss-") else "EUR"
    return payload


class Paid(Event, version=3, upcasters={1: in_units, 2: with_a_currency}):
    amount: Decimal
    currency: str


class Loose(Event, version=2):
    text: str = "none"


types = EventTypes([Paid, Loose])


def stored(payload: bytes, version: int, *, name: str = "Paid", stream: str = "account-1") -> StoredEvent:
    return StoredEvent(7, stream, 3, name, version, payload, b"{}", 0, None, bytes(16), 0)


@pytest.mark.parametrize(
    ("version", "payload", "stream", "read"),
    [
        (1, b'{"cents":1250}', "account-1", Paid(amount=Decimal("12.5"), currency="EUR")),
        (1, b'{"cents":1250}', "swiss-1", Paid(amount=Decimal("12.5"), currency="CHF")),
        (2, b'{"amount":"3.10","more":1}', "swiss-1", Paid(amount=Decimal("3.10"), currency="CHF")),
        (3, b'{"amount":"3.10","currency":"USD"}', "swiss-1", Paid(amount=Decimal("3.10"), currency="USD")),
    ],
)
def test_every_version_is_read_as_todays(version: int, payload: bytes, stream: str, read: Paid) -> None:
    event = stored(payload, version, stream=stream)
    recorded = types.decode(event)
    assert recorded.event == types.decode_event(event) == read
    assert (recorded.stored, recorded.schema_version) == (event, version)
    assert upcast(Paid, msgspec.json.decode(payload), version=version, stream=stream) == read


def test_what_has_a_default_keeps_it() -> None:
    """A second parameter that must be given is the stored event; no other is."""

    def doubled(payload: dict[str, Any], by: int = 2) -> dict[str, Any]:
        return {"text": payload["text"] * by}

    class Said(Event, version=3, upcasters={1: doubled, 2: lambda *all_of_it: {**all_of_it[0]}}):
        text: str

    assert upcast(Said, {"text": "a"}, version=1) == Said(text="aa")


def test_an_older_version_needs_no_upcaster_where_the_class_reads_it() -> None:
    assert types.decode(stored(b"{}", 1, name="Loose")).event == Loose()


@pytest.mark.parametrize("name", ["Paid", "Loose"])
def test_a_later_version_is_not_guessed_at(name: str) -> None:
    """The release that wrote it may have meant another thing by the same fields."""
    with pytest.raises(
        UnknownVersion,
        match=rf"event '{name}' at position 7 \(stream 'account-1'\) was written as version 4 .* up to version [23]; ",
    ) as refused:
        types.decode(stored(b'{"amount":"1","currency":"EUR"}', 4, name=name))
    again = pickle.loads(pickle.dumps(refused.value))
    assert isinstance(again, UnknownVersion)
    assert (str(again), again.written, again.known) == (str(refused.value), 4, 3 if name == "Paid" else 2)


def test_new_events_are_written_as_todays_version() -> None:
    new, as_read = types.prepare(Paid(amount=Decimal(1), currency="EUR"))
    assert (new.schema_version, new.payload) == (3, b'{"amount":"1","currency":"EUR"}')
    assert as_read == Paid(amount=Decimal(1), currency="EUR")


def test_what_an_upcaster_uses_of_python_is_written_as_events_are() -> None:
    def at(payload: dict[str, Any]) -> dict[str, Any]:
        return {"at": datetime(2026, 1, 15, tzinfo=UTC), "amounts": {1: Decimal("1.10")}}

    class Dated(Event, version=2, upcasters={1: at}):
        at: datetime
        amounts: dict[int, Decimal]

    assert upcast(Dated, {}, version=1) == Dated(at=datetime(2026, 1, 15, tzinfo=UTC), amounts={1: Decimal("1.10")})


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b'{"amount":"1"}', r"its upcaster from version 1, in_units, cannot convert it: KeyError\('cents'\)"),
        (b'{"cents":"much"}', "its upcaster from version 1, in_units, cannot convert it: InvalidOperation"),
        (b"7", "its upcaster from version 1, in_units, cannot convert it: TypeError"),
        (b'{"cents":', "is not JSON: Input data was truncated"),
    ],
)
def test_an_upcaster_that_fails_is_named(payload: bytes, why: str) -> None:
    where = r"event 'Paid' at position 7 \(stream 'account-1', written as version 1\)"
    with pytest.raises(DecodeError, match=f"{where}.*{why}"):
        types.decode(stored(payload, 1))


@pytest.mark.parametrize(
    ("gives", "why"),
    [
        (None, "its upcaster from version 1, .* gave None, and not the payload, a dict"),
        ({"amount": "x", "currency": "EUR"}, r"does not fit its class after its upcasters: .*\$\.amount"),
        ({"amount": object()}, "what its upcasters made of it is no JSON: .*object"),
        ({"amount": "\ud800"}, "what its upcasters made of it is no JSON: .*surrogates"),
    ],
)
def test_what_an_upcaster_gives_must_fit(gives: Any, why: str) -> None:
    class Odd(Event, version=2, upcasters={1: lambda payload: gives}):
        amount: Decimal

    with pytest.raises(DecodeError, match=rf"event 'Odd' at position 1 \(stream 'stream-1'.*{why}"):
        upcast(Odd, {}, version=1)


async def not_now(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@pytest.mark.parametrize(
    ("version", "upcasters", "why"),
    [
        (3, {2: in_units}, "version=3, and there is no upcaster from version 1; where nothing has to be changed"),
        (4, {1: in_units, 2: in_units}, "version=4, and there is no upcaster from version 3"),
        (1, {1: in_units}, "an upcaster from version 1, and the class has version=1: .*raise version="),
        (2, {1: in_units, 2: in_units}, "an upcaster from version 2, and the class has version=2"),
        (2, {0: in_units}, "an upcaster from version 0"),
        (2, {"1": in_units}, "an upcaster from version '1'"),
        (2, {True: in_units}, "an upcaster from version True"),
        (2, [in_units], "must map versions to functions"),
        (2, {1: "in_units"}, "the upcaster from version 1, 'in_units', must be a function of"),
        (2, {1: lambda *, a: {}}, "must be a function of"),
        (2, {1: lambda a, b, c: {}}, "must be a function of"),
        (2, {1: not_now}, "the upcaster from version 1 is async"),
    ],
)
def test_a_gap_is_found_when_the_class_is_defined(version: int, upcasters: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=rf"test_upcasting\..*Wrong: .*{why}"):

        class Wrong(Event, version=version, upcasters=upcasters):
            amount: Decimal


def test_a_derived_class_has_its_own() -> None:
    """It is another event."""

    class Refunded(Paid):
        pass

    assert (Refunded.__schema_version__, dict(Refunded.__upcasters__)) == (1, {})
