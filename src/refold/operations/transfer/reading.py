"""Reading an export: line by line, checked, in batches of whole appends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from refold.errors import TransferError
from refold.messages.recorded import StoredEvent
from refold.operations.transfer.lines import Summary, event_of, header_of, is_summary, summary_of
from refold.store.append import MAX_EVENTS

__all__ = ["ExportReader", "read_line"]

_LONGEST_LINE = 256 * 1_048_576
_BATCH_EVENTS = 10_000
_BATCH_BYTES = 16 * 1_048_576


def read_line(stream: BinaryIO, number: int) -> bytes:
    """The next line with its line break; empty at the end. Raises `TransferError` for one without end."""
    line = stream.readline(_LONGEST_LINE)
    if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
        raise TransferError(f"this line is longer than {_LONGEST_LINE:,} bytes", line=number)
    return line


class ExportReader:
    """The events of an export, in order, from any binary stream. Raises `TransferError` where it is no export.

    Every line is checked against the one before it: positions without gaps, appends whole, times that never go back.
    """

    def __init__(self, stream: BinaryIO, *, trust_changes: bool = False) -> None:
        self._stream = stream
        self._trust_changes = trust_changes
        first = read_line(stream, 1)
        self.header = header_of(first)
        self.line = 1
        self.bytes = len(first)
        self.summary: Summary | None = None
        self._events = 0
        self._digest = hashlib.sha256()

    def batches(self) -> Iterator[list[StoredEvent]]:
        """Whole appends, about 10,000 events at once. What stands before a broken line is given first; then it raises.

        An append is given when the line after it shows that it is whole, so that one which was cut off is never seen.
        """
        whole: list[StoredEvent] = []
        append: list[StoredEvent] = []
        size = 0
        try:
            for event in self._events_in_order():
                if append and event.append_id != append[-1].append_id:
                    whole += append
                    append = []
                    if len(whole) >= _BATCH_EVENTS or size >= _BATCH_BYTES:
                        yield whole
                        whole, size = [], 0
                append.append(event)
                size += len(event.payload) + len(event.metadata)
            whole += append
        except TransferError:
            if whole:
                yield whole
            raise
        if whole:
            yield whole

    def _events_in_order(self) -> Iterator[StoredEvent]:
        before: StoredEvent | None = None
        while True:
            number = self.line + 1
            line = read_line(self._stream, number)
            if not line.endswith(b"\n"):
                raise TransferError(
                    f"the export was cut off here, after {self._events:,} events: its summary is missing; "
                    "export again, which continues a killed export",
                    line=number,
                )
            self.line = number
            self.bytes += len(line)
            if is_summary(line):
                self._finish(line)
                return
            try:
                event = event_of(line)
                _check_order(before, event)
            except TransferError as problem:
                raise TransferError(str(problem), line=number) from None
            self._digest.update(line)
            self._events += 1
            before = event
            yield event

    def _finish(self, line: bytes) -> None:
        summary = summary_of(line)
        if summary.events != self._events:
            raise TransferError(
                f"the summary counts {summary.events:,} events, but {self._events:,} stand before it: lines are "
                "missing or were added",
                line=self.line,
            )
        if summary.sha256 != self._digest.hexdigest() and not self._trust_changes:
            raise TransferError("the checksum does not match: a line was changed after the export", line=self.line)
        if self._stream.read(1):
            raise TransferError("something follows the summary, which must be the last line", line=self.line + 1)
        # Where changes are trusted, the checksum is that of what is really there: it is what the result is compared by.
        self.summary = msgspec.structs.replace(summary, sha256=self._digest.hexdigest())


def _check_order(before: StoredEvent | None, event: StoredEvent) -> None:
    position = before.position if before is not None else 0
    if event.position != position + 1:
        raise TransferError(f"position {event.position} follows {position}; lines are missing or doubled")
    continues = before is not None and before.append_id == event.append_id
    index = before.append_index + 1 if before is not None and continues else 0
    if event.append_index != index:
        raise TransferError(f"append_index is {event.append_index}, not {index}: an append is not whole")
    if index >= MAX_EVENTS:
        raise TransferError(f"an append has more than {MAX_EVENTS:,} events")
    if before is not None and event.recorded_at < before.recorded_at:
        raise TransferError(f"recorded_at goes back: position {event.position} was recorded before {position}")
    if before is not None and continues and event.recorded_at != before.recorded_at:
        raise TransferError("recorded_at changes inside of one append")
