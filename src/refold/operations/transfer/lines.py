"""The export format: one JSON object a line; a header, then the events in order of position, then a summary.

    {"format":"refold-export","format_version":1,"source":"sqlite:///bank.db"}
    {"position":1,"stream":"account-42","version":1,"type":"AccountOpened",…,"payload":{"owner":"alice"}}
    {"end_of":"refold-export","events":1,"last_position":1,"sha256":"…"}

The checksum covers the lines of the events, not the header: two logs with the same events have the same checksum,
whatever store they are in. Payload and metadata stand in the line as they are in the log, byte for byte; what would not
survive there (line breaks between its tokens, broken JSON) is kept as `payload_text` (a string) or `payload_base64`.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from refold.errors import InvalidAppend, TransferError
from refold.messages.recorded import StoredEvent, from_microseconds, to_microseconds
from refold.store.append import validate_name

__all__ = [
    "Header",
    "Summary",
    "event_of",
    "header_line",
    "header_of",
    "is_summary",
    "line_of",
    "summary_line",
    "summary_of",
]

FORMAT = "refold-export"
FORMAT_VERSION = 1


class Header(msgspec.Struct, frozen=True):
    """The first line. `source` is the store that was exported, without secrets."""

    format: str
    format_version: int
    source: str


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line: the number of events, the last one's position, and the SHA-256 (hex) of all event lines."""

    end_of: str
    events: int
    last_position: int
    sha256: str


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=250)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Absent = msgspec.UnsetType


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    position: _Count
    stream: _Name
    version: _Count
    type: _Name
    schema_version: Annotated[int, msgspec.Meta(ge=1, le=32_767)]
    recorded_at: datetime
    append_id: UUID
    append_index: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    occurred_at: datetime | _Absent = msgspec.UNSET
    tags: tuple[_Name, ...] | _Absent = msgspec.UNSET
    metadata: msgspec.Raw | _Absent = msgspec.UNSET
    metadata_text: str | _Absent = msgspec.UNSET
    metadata_base64: str | _Absent = msgspec.UNSET
    payload: msgspec.Raw | _Absent = msgspec.UNSET
    payload_text: str | _Absent = msgspec.UNSET
    payload_base64: str | _Absent = msgspec.UNSET


_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_Forms = tuple[msgspec.Raw | _Absent, str | _Absent, str | _Absent]


def line_of(event: StoredEvent) -> bytes:
    """The line of an event, with its line break."""
    occurred = msgspec.UNSET if event.occurred_at is None else from_microseconds(event.occurred_at)
    line = _Line(
        event.position,
        event.stream,
        event.version,
        event.type,
        event.schema_version,
        from_microseconds(event.recorded_at),
        UUID(bytes=event.append_id),
        event.append_index,
        occurred,
        event.tags or msgspec.UNSET,
        *_forms(event.metadata),
        *_forms(event.payload),
    )
    return _encode(line) + b"\n"


def _forms(stored: bytes) -> _Forms:
    """How bytes stand in a line: as the JSON that they are if they survive it exactly, else as text, else as base64."""
    try:
        text = stored.decode()
    except UnicodeDecodeError:
        return msgspec.UNSET, msgspec.UNSET, base64.b64encode(stored).decode()
    try:
        # A raw value comes back without the spaces around it; a line break inside it would end the line.
        survives = b"\n" not in stored and b"\r" not in stored and bytes(_decode_raw(stored)) == stored
    except msgspec.DecodeError:
        survives = False
    return (msgspec.Raw(stored), msgspec.UNSET, msgspec.UNSET) if survives else (msgspec.UNSET, text, msgspec.UNSET)


def event_of(line: bytes) -> StoredEvent:
    """The event of a line. Raises `TransferError`, without the line's number, for what is no event's line."""
    try:
        read = _decode_line(line)
        line.decode()  # the decoder passes over what stands in payload and metadata
    except msgspec.ValidationError as problem:
        raise TransferError(f"this is not an event: {problem}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise TransferError(f"this is not JSON: {problem}") from None
    for what, name in (("stream", read.stream), ("type", read.type), *(("tag", tag) for tag in read.tags or ())):
        try:
            validate_name(name, what)
        except InvalidAppend as problem:
            raise TransferError(str(problem)) from None
    return StoredEvent(
        read.position,
        read.stream,
        read.version,
        read.type,
        read.schema_version,
        _bytes_of("payload", read.payload, read.payload_text, read.payload_base64),
        _bytes_of("metadata", read.metadata, read.metadata_text, read.metadata_base64),
        _microseconds("recorded_at", read.recorded_at),
        None if read.occurred_at is msgspec.UNSET else _microseconds("occurred_at", read.occurred_at),
        read.append_id.bytes,
        read.append_index,
        () if read.tags is msgspec.UNSET else read.tags,
    )


def _bytes_of(field: str, raw: msgspec.Raw | _Absent, text: str | _Absent, coded: str | _Absent) -> bytes:
    if (raw is msgspec.UNSET) + (text is msgspec.UNSET) + (coded is msgspec.UNSET) != 2:
        raise TransferError(f"an event needs one of {field}, {field}_text and {field}_base64")
    if not isinstance(raw, _Absent):
        return bytes(raw)
    try:
        return text.encode() if not isinstance(text, _Absent) else base64.b64decode(str(coded), validate=True)
    except ValueError as problem:
        raise TransferError(f"{field}_base64 is not base64: {problem}") from None


def _microseconds(field: str, moment: datetime) -> int:
    if moment.tzinfo is None:
        raise TransferError(f"{field} has no time zone; 2026-01-15T12:00:00Z has one")
    return to_microseconds(moment)


def header_line(source: str) -> bytes:
    """The first line of an export of that store."""
    return _encode(Header(FORMAT, FORMAT_VERSION, source)) + b"\n"


def header_of(line: bytes) -> Header:
    """The header that a line holds. Raises `TransferError` for any other file, and for a newer format."""
    try:
        header = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TransferError(
            f'this is no export of Refold: its first line is not {{"format":"{FORMAT}",…}}', line=1
        ) from None
    if header.format != FORMAT:
        raise TransferError(f"this is no export of Refold: its format is {header.format!r}", line=1)
    if header.format_version != FORMAT_VERSION:
        raise TransferError(
            f"its format version is {header.format_version}, this Refold reads {FORMAT_VERSION}; use a newer Refold",
            line=1,
        )
    return header


def summary_line(events: int, last_position: int, sha256: str) -> bytes:
    """The last line of an export."""
    return _encode(Summary(FORMAT, events, last_position, sha256)) + b"\n"


def is_summary(line: bytes) -> bool:
    """Whether a line is the summary of an export, rather than an event."""
    return line.startswith(b'{"end_of"')


def summary_of(line: bytes) -> Summary:
    """The summary that a line holds. Raises `TransferError`."""
    try:
        return msgspec.json.decode(line, type=Summary)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise TransferError(f"the summary at the end of the export cannot be read: {problem}") from None
