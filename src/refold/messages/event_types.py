"""The event types of one app: by which class a name in the log is read, and how an event becomes JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from refold.errors import (
    DecodeError,
    DefinitionError,
    InvalidAppend,
    PayloadTooLarge,
    UnknownEvent,
    UnknownVersion,
)
from refold.messages.event import Event, event_tags
from refold.messages.misfits import (
    FIRST_MOMENT,
    LAST_MOMENT,
    misfit_moment_in,
    misfit_number_in,
    refuse_what_json_changes,
)
from refold.messages.recorded import NewEvent, Recorded, StoredEvent, to_microseconds
from refold.messages.upcasting import Upcasts

__all__ = [
    "DEFAULT_PAYLOAD_LIMIT",
    "EventTypes",
    "decoder_of",
    "encode_in_order",
    "encode_json",
    "refuse_nul",
    "why_unreadable",
]

M = TypeVar("M", bound=msgspec.Struct)

DEFAULT_PAYLOAD_LIMIT = 1_048_576 * 8
"""Bytes of one event's payload and metadata together, unless the app says otherwise: 8 MiB."""

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")
_in_order = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical", order="deterministic")


def encode_json(value: Any) -> bytes:
    """Compact JSON; decimals as strings, so that no digit is lost."""
    return _encoder.encode(value)


def encode_in_order(value: Any) -> bytes:
    """The same, and the same for equal values: sets and dicts, which have no order of their own, are sorted."""
    try:
        return _in_order.encode(value)
    except TypeError:  # it sorts no dict whose keys are not text yet: dates, numbers, enums
        return _in_order.encode(msgspec.to_builtins(value, str_keys=True, order="deterministic"))


def refuse_nul(encoded: bytes, what: str) -> None:
    """Raises `InvalidAppend` for U+0000 in a JSON string: no text column of a read model on Postgres could keep it."""
    at = encoded.find(b"\\u0000")
    while at >= 0:
        # After an odd run of backslashes this one is itself escaped, and what follows is plain text.
        before = encoded[:at]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            raise InvalidAppend(
                f"{what} holds a NUL character (U+0000), which databases cannot keep in text; remove it"
            )
        at = encoded.find(b"\\u0000", at + 1)


def decoder_of(cls: type[M]) -> Callable[[bytes], M]:
    """What reads JSON as that class. Raises `DefinitionError`, naming it, for fields that JSON cannot hold."""
    try:
        return msgspec.json.Decoder(cls).decode
    except (TypeError, NameError) as problem:
        raise DefinitionError(
            f"{cls.__module__}.{cls.__qualname__}: its fields cannot be read from JSON: {problem}"
        ) from problem


def why_unreadable(problem: DecodeError) -> str:
    """What is wrong with an event, without saying again which."""
    cause = problem.__cause__
    return str(cause) if isinstance(cause, (msgspec.DecodeError, UnicodeDecodeError)) else str(problem)


class EventTypes:
    """Maps names in the log to event classes and back. Built once from the classes of an app; knows nothing of any
    store.
    """

    def __init__(self, classes: Iterable[type[Event]] = (), *, payload_limit: int = DEFAULT_PAYLOAD_LIMIT) -> None:
        self._classes: dict[str, type[Event]] = {}
        self._decoders: dict[str, tuple[Callable[[bytes], Event], int]] = {}
        self._upcasts: dict[str, Upcasts] = {}
        self._misfit_moments: dict[str, Callable[[Event], tuple[str, str] | None]] = {}
        self.payload_limit = payload_limit
        for cls in classes:
            self.add(cls)

    def __iter__(self) -> Iterator[type[Event]]:
        return iter(self._classes.values())

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def add(self, cls: type[Event]) -> None:
        """Registers one class. Raises `DefinitionError` when another class has its name already, or JSON cannot hold
        its fields.
        """
        given: object = cls
        if not (isinstance(given, type) and issubclass(given, Event)) or given is Event:
            raise DefinitionError(f"{cls!r} is not an event: derive it from refold.Event")
        name = cls.__message_name__
        known = self._classes.get(name)
        if known is cls:
            return
        if known is not None:
            raise DefinitionError(
                f"two event classes are named {name!r}: {known.__module__}.{known.__qualname__} and "
                f"{cls.__module__}.{cls.__qualname__}; give one of them another name=…"
            )
        decode = decoder_of(cls)
        self._classes[name] = cls
        self._decoders[name] = decode, cls.__schema_version__
        if cls.__upcasters__:
            self._upcasts[name] = Upcasts(cls.__upcasters__)
        moments = misfit_moment_in(cls)
        if moments is not None:
            self._misfit_moments[name] = moments

    def named(self, name: str) -> type[Event]:
        """The class of that name. Raises `KeyError`."""
        return self._classes[name]

    def decode_event(self, stored: StoredEvent) -> Event:
        """The typed event of a stored one: of an older version, what its upcasters make of it. Raises `UnknownEvent`,
        `UnknownVersion`, `DecodeError`.
        """
        known = self._decoders.get(stored.type)
        if known is None:
            raise UnknownEvent(stored.type, stored.position, stored.stream)
        decode, version = known
        if stored.schema_version > version:
            raise UnknownVersion(stored.type, stored.position, stored.stream, stored.schema_version, version)
        upcasts = self._upcasts.get(stored.type) if stored.schema_version < version else None
        try:
            return decode(stored.payload if upcasts is None else encode_json(upcasts.payload_of(stored)))
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise DecodeError(
                f"event {stored.type!r} at position {stored.position} (stream {stored.stream!r}) "
                f"does not fit its class{'' if upcasts is None else ' after its upcasters'}: {problem}"
            ) from problem
        except (TypeError, ValueError, RecursionError) as problem:
            raise DecodeError(
                f"event {stored.type!r} at position {stored.position} (stream {stored.stream!r}): what its upcasters "
                f"made of it is no JSON: {problem}"
            ) from problem

    def decode(self, stored: StoredEvent) -> Recorded[Any]:
        """The recorded event with its typed event. Raises `UnknownEvent`, `UnknownVersion`, `DecodeError`."""
        known = self._decoders.get(stored.type)
        if known is not None and known[1] == stored.schema_version:
            # Once for each event of every read and rebuild, so without a further call; that is left to old events, and
            # to what goes wrong.
            try:
                return Recorded(known[0](stored.payload), stored)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
        return Recorded(self.decode_event(stored), stored)

    def prepare(
        self, event: Event, *, metadata: bytes = b"{}", occurred_at: datetime | None = None
    ) -> tuple[NewEvent, Event]:
        """An event ready to be appended, and the event exactly as every later reader will get it.

        Raises `InvalidAppend` for what cannot be kept or read back (a value of the wrong type, lone surrogates, NUL, a
        float or Decimal that is no number, a naive `occurred_at`, a class that is not of this app), `PayloadTooLarge`
        past the app's limit.
        """
        cls = type(event)
        name = getattr(cls, "__message_name__", "")
        if self._classes.get(name) is not cls:
            raise InvalidAppend(
                f"{cls.__module__}.{cls.__qualname__} is not an event of this app; "
                "return it from a @decide method by annotation, or list it in App(events=[…])"
            )
        try:
            payload = encode_json(event)
            as_read = self._decoders[name][0](payload)
            if (misfit := misfit_number_in(as_read, payload)) is not None:
                raise InvalidAppend(f"event {name!r}: {misfit[0]} {misfit[1]}")
            if as_read != event:
                refuse_what_json_changes(event)
        except (TypeError, ValueError, UnicodeEncodeError, RecursionError, ArithmeticError) as problem:
            raise InvalidAppend(f"event {name!r} cannot be stored: {problem}") from problem
        refuse_nul(payload, f"event {name!r}")
        moments = self._misfit_moments.get(name)
        if moments is not None and (misfit := moments(as_read)) is not None:
            raise InvalidAppend(f"event {name!r}: {misfit[0]} {misfit[1]}")
        if len(payload) + len(metadata) > self.payload_limit:
            raise PayloadTooLarge(
                f"event {name!r} has {len(payload) + len(metadata):,} bytes, the limit is {self.payload_limit:,}; "
                "store large content elsewhere and keep its address, or raise payload_limit"
            )
        moment = None
        if occurred_at is not None:
            if getattr(occurred_at, "tzinfo", None) is None:  # a date has none at all
                raise InvalidAppend(
                    f"occurred_at={occurred_at!r} has no time zone; give one, as in datetime(…, tzinfo=UTC)"
                )
            if not FIRST_MOMENT <= occurred_at <= LAST_MOMENT:
                raise InvalidAppend(f"occurred_at={occurred_at!r} is not within the years 1 to 9999 in UTC")
            moment = to_microseconds(occurred_at)
        stored = NewEvent(
            type=name,
            payload=payload,
            metadata=metadata,
            schema_version=cls.__schema_version__,
            occurred_at=moment,
            tags=event_tags(event),
        )
        return stored, as_read
