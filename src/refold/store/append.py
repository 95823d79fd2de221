"""What is asked of the log (an append, its expected versions, its condition) and what the log answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from refold.errors import InvalidAppend, PayloadTooLarge
from refold.messages.event_types import refuse_nul
from refold.messages.ids import new_id
from refold.messages.recorded import NewEvent, from_microseconds

__all__ = [
    "ANY",
    "EXISTS",
    "MAX_EVENTS",
    "NO_STREAM",
    "Append",
    "AppendCondition",
    "AppendResult",
    "Matching",
    "StreamAppend",
    "expected_in_words",
    "validate_append",
    "validate_name",
    "validate_stream_id",
]

ANY = -1
"""Expected version: whatever the stream's version is."""
EXISTS = -2
"""Expected version: the stream has at least one event."""
NO_STREAM = 0
"""Expected version: the stream has no event yet."""

MAX_EVENTS = 10_000
"""Events in one append, at most: a longer one would hold the log's lock too long for everybody else."""
_MAX_VERSION = 2**53
_MAX_SCHEMA_VERSION = 2**15 - 1
_FIRST_MOMENT, _LAST_MOMENT = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999
_NUL = b"\\u0000"
_skim = msgspec.json.Decoder(msgspec.Raw).decode
_MAX_NAME = 250
# Control characters, ends of lines, what turns the direction of writing (two ids would look like one), and surrogates,
# which no UTF-8 can keep.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class StreamAppend(msgspec.Struct, frozen=True):
    """Events for one stream, and the version (or `ANY`, `EXISTS`, `NO_STREAM`) that it is expected to be at."""

    stream: str
    expected: int
    events: tuple[NewEvent, ...]


class Matching(msgspec.Struct, frozen=True):
    """Matches an event whose type is one of `types` (none: any type) and that carries all of `tags`."""

    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def fits(self, type: str, tags: Iterable[str]) -> bool:
        """Whether an event of that type, with these tags, matches."""
        return (not self.types or type in self.types) and set(self.tags) <= set(tags)


class AppendCondition(msgspec.Struct, frozen=True):
    """A dynamic consistency boundary: no event that matches one of `matching` may be in the log after position `after`.

    Take `after` from the log's head *before* (or in the same read as) reading the events that the decision rests on: a
    head taken later would hide what was appended in between. Source: Pellegrini's "Dynamic Consistency Boundary",
    dcb.events.
    """

    matching: tuple[Matching, ...]
    after: int


class Append(msgspec.Struct, frozen=True):
    """All or nothing: events of one or several streams. The same `id` again is stored once, with the first result.

    `rests_on` is the id of an append that is under way, whose events end what this one was decided on: its one stream
    must end with them. The expected version alone would also fit when that append failed and somebody else's events
    brought the stream to the same version.
    """

    streams: tuple[StreamAppend, ...]
    id: UUID = msgspec.field(default_factory=new_id)
    condition: AppendCondition | None = None
    rests_on: UUID | None = None

    @property
    def size(self) -> int:
        """The number of its events."""
        return sum(len(part.events) for part in self.streams)


class AppendResult(msgspec.Struct, frozen=True, eq=False):
    """Where an append stands in the log: positions `first` to `last`, without gaps; `versions` is each stream's version
    after it.

    Its events take the positions in the order of the append's streams and of the events in them. `recorded_at` is in
    microseconds. `repeated`: the log had an append with this id already, and this is its result; it does not count when
    results are compared.
    """

    id: UUID
    first: int
    last: int
    versions: dict[str, int]
    recorded_at: int
    repeated: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AppendResult):
            return NotImplemented
        mine = (self.id, self.first, self.last, self.versions, self.recorded_at)
        return mine == (other.id, other.first, other.last, other.versions, other.recorded_at)

    __hash__ = None  # type: ignore[assignment]  # it holds a dictionary

    @property
    def timestamp(self) -> datetime:
        """When it was recorded: the database's clock, UTC."""
        return from_microseconds(self.recorded_at)


def expected_in_words(expected: int) -> int | str:
    """An expected version as errors show it."""
    return {ANY: "any", EXISTS: "exists", NO_STREAM: "no stream"}.get(expected, expected)


def validate_name(name: object, what: str, stream: str | None = None) -> None:
    """Raises `InvalidAppend` for a name (of a stream, a type, a tag) that is empty, longer than 250 characters, or has
    control characters. `stream` says where it stands.
    """
    # What is printable is fit, and quickly asked. What is not depends on the Python: next year's letters are not today.
    if isinstance(name, str) and 0 < len(name) <= _MAX_NAME and (name.isprintable() or not _UNFIT.search(name)):
        return
    where = what if stream is None else f"stream {stream!r}: {what}"
    if not isinstance(name, str) or not name:
        raise InvalidAppend(f"{where} {name!r} is empty or not text")
    if len(name) > _MAX_NAME:
        raise InvalidAppend(f"{where} {name[:40]!r}… has {len(name)} characters, at most {_MAX_NAME} are allowed")
    raise InvalidAppend(f"{where} {name!r} contains control or unprintable characters")


def validate_stream_id(stream: object) -> None:
    """Raises `InvalidAppend` for a stream id that is empty, longer than 250 characters, or has control characters."""
    validate_name(stream, "stream id")


def validate_append(append: Append, *, payload_limit: int) -> tuple[int, int]:
    """The number of its events and their bytes.

    Raises `InvalidAppend` or `PayloadTooLarge` for what cannot be stored in whatever state the log is.
    """
    if not append.streams:
        raise InvalidAppend("an append needs at least one stream with events")
    count = size = 0
    seen: set[str] = set()
    for part in append.streams:
        validate_name(part.stream, "stream id")
        if part.stream in seen:
            raise InvalidAppend(f"stream {part.stream!r} stands twice in one append; put its events into one part")
        seen.add(part.stream)
        expected = part.expected
        if type(expected) is not int or not EXISTS <= expected <= _MAX_VERSION:
            raise InvalidAppend(
                f"stream {part.stream!r}: expected version {expected!r} is not a version; "
                "use 1, 2, 3 …, or ANY, EXISTS, NO_STREAM"
            )
        if not part.events:
            raise InvalidAppend(f"stream {part.stream!r}: no events to append")
        for event in part.events:
            size += _check_event(event, part.stream, payload_limit)
        count += len(part.events)
    if count > MAX_EVENTS:
        raise InvalidAppend(
            f"{count:,} events in one append, at most {MAX_EVENTS:,} are allowed; append them in several"
        )
    if append.condition is not None:
        _check_condition(append.condition)
    if append.rests_on is not None and (len(append.streams) > 1 or append.streams[0].expected < 1):
        raise InvalidAppend("an append rests on another in its one stream, at an expected version of 1 or more")
    return count, size


def _check_event(event: NewEvent, stream: str, payload_limit: int) -> int:
    """The bytes of an event that can be stored."""
    validate_name(event.type, "event type", stream)
    size = len(event.payload) + len(event.metadata)
    if size > payload_limit:
        raise PayloadTooLarge(
            f"stream {stream!r}: event {event.type!r} has {size:,} bytes, the limit is {payload_limit:,}; "
            "store large content elsewhere and keep its address, or raise payload_limit"
        )
    _check_json(event.payload, "payload", event, stream)
    _check_json(event.metadata, "metadata", event, stream)
    if event.metadata[:1] != b"{" and event.metadata.lstrip()[:1] != b"{":
        raise InvalidAppend(f"stream {stream!r}: the metadata of event {event.type!r} is not a JSON object")
    if type(event.schema_version) is not int or not 1 <= event.schema_version <= _MAX_SCHEMA_VERSION:
        raise InvalidAppend(
            f"stream {stream!r}: schema version {event.schema_version!r} of event {event.type!r} is not one of "
            f"1 to {_MAX_SCHEMA_VERSION}"
        )
    moment = event.occurred_at
    if moment is not None and (type(moment) is not int or not _FIRST_MOMENT <= moment <= _LAST_MOMENT):
        raise InvalidAppend(
            f"stream {stream!r}: occurred_at {moment!r} of event {event.type!r} is no moment of the years 1 to 9999, "
            "in microseconds since 1970"
        )
    for tag in event.tags:
        validate_name(tag, "tag", stream)
    return size


def _check_json(text: bytes, what: str, event: NewEvent, stream: str) -> None:
    try:
        _skim(text)
        text.decode()
        if _NUL in text:
            refuse_nul(text, f"stream {stream!r}: the {what} of event {event.type!r}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, AttributeError) as problem:
        raise InvalidAppend(
            f"stream {stream!r}: the {what} of event {event.type!r} is not JSON in UTF-8: {problem}"
        ) from problem


def _check_condition(condition: AppendCondition) -> None:
    if not condition.matching:
        raise InvalidAppend("an append condition needs at least one Matching(types=…, tags=…)")
    if type(condition.after) is not int or not 0 <= condition.after <= _MAX_VERSION:
        raise InvalidAppend(f"an append condition's position {condition.after!r} is not a position, nor 0")
    for item in condition.matching:
        for name in (*item.types, *item.tags):
            validate_name(name, "append condition: type or tag")
