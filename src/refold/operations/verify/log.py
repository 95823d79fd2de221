"""Whether the log is what was promised: gapless, in order, whole, and readable by the app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from uuid import UUID

import msgspec

from refold.errors import DecodeError, UnknownEvent, UnknownVersion
from refold.messages.event_types import EventTypes, why_unreadable
from refold.messages.metadata import decode_metadata
from refold.messages.recorded import StoredEvent
from refold.operations.pages import log_pages
from refold.operations.progress import Progress
from refold.operations.verify.findings import Check
from refold.operations.verify.manner import Pace, Sample
from refold.operations.verify.parts import Part, passes
from refold.store.event_store import EventFilter, EventStore

__all__ = ["check_log", "check_sampled_log"]

_BLOCK = 2_000

_AS_IT_IS = EventFilter(recorded_from=-(2**62))
"""Filters nothing; but a store refuses to read a log with a gap unless it filters, and here gaps are to be counted."""


async def check_log(
    store: EventStore, types: EventTypes | None, head: int, pace: Pace, progress: Progress
) -> list[Check]:
    """The checks of the log itself, up to a position. Without `types` it is not tried whether an app can read it."""
    order = _Order()
    content = _Content(types)
    versions = Check("versions", "each stream's versions are 1, 2, 3 … without gaps")
    first = True
    part: Part[str, int]
    for part in passes():

        def look(page: list[StoredEvent], part: Part[str, int] = part, whole: bool = first) -> None:
            if whole:
                order.see(page)
                content.see(page)
            _see_versions(page, part)

        async with aclosing(log_pages(store, until=head, where=_AS_IT_IS)) as pages:
            async for page in pages:
                await asyncio.to_thread(look, page)
                if page:
                    progress("verify the log", page[-1].position, head)
                await pace.rest()
        first = False
        part.report(versions)
    versions.looked_at = head
    order.finish(head)
    return [order.positions, order.times, order.appends, versions, content.check]


async def check_sampled_log(
    store: EventStore,
    types: EventTypes | None,
    head: int,
    sample: Sample,
    streams: Iterable[str],
    pace: Pace,
    progress: Progress,
) -> list[Check]:
    """The same checks of some blocks of the log, and of the versions of some streams. One block is always looked at."""
    blocks = -(-head // _BLOCK)
    chosen = [block for block in range(blocks) if sample.has(b"block %d" % block)]
    if not chosen and blocks:
        chosen = [sample.seed % blocks]
    order = _Order()
    content = _Content(types)
    for number, block in enumerate(chosen):
        first, last = block * _BLOCK, min((block + 1) * _BLOCK, head)
        if first:
            before = await store.read_log(after=first - 1, limit=1, where=_AS_IT_IS)
            order.begin(first, before.events[0] if before.events else None)
        async with aclosing(log_pages(store, after=first, until=last, where=_AS_IT_IS)) as pages:
            async for page in pages:
                await asyncio.to_thread(order.see, page)
                await asyncio.to_thread(content.see, page)
        order.finish(last)
        progress("verify the log", number + 1, len(chosen))
        await pace.rest()
    versions = Check("versions", "each stream's versions are 1, 2, 3 … without gaps")
    for stream in streams:
        await _see_stream(store, stream, versions)
        progress("verify versions", versions.looked_at, 0)
        await pace.rest()
    return [order.positions, order.times, order.appends, versions, content.check]


async def _see_stream(store: EventStore, stream: str, versions: Check) -> None:
    before = 0
    while page := await store.read_stream(stream, after=before, limit=_BLOCK):
        for event in page:
            versions.looked_at += 1
            if event.version != before + 1:
                versions.found(_at(event), f"version {event.version} follows {before}")
            before = event.version


class _Order:
    """Positions, times and appends: what can be seen from one event to the next."""

    def __init__(self) -> None:
        self.positions = Check("positions", "the log's positions are 1, 2, 3 … without gaps")
        self.times = Check("times", "no event was recorded before the one that stands before it")
        self.appends = Check("appends", "the events of an append stand together, whole")
        self._position = 0
        self._recorded_at = 0
        self._append_id = b""
        self._append_index = 0

    def see(self, page: list[StoredEvent]) -> None:
        for event in page:
            position = event.position
            if position != self._position + 1:
                self.positions.found(*_gap(self._position, position))
            if event.recorded_at < self._recorded_at:
                self.times.found(_at(event), "it was recorded before the event that stands before it")
            if event.append_id != self._append_id:
                self._append_id = event.append_id
                self._append_index = 0
                if event.append_index:
                    self.appends.found(_at(event), f"its append begins with event {event.append_index}, not with 0")
            elif event.append_index != self._append_index + 1:
                self.appends.found(
                    _at(event),
                    f"event {event.append_index} of append {UUID(bytes=event.append_id)} follows {self._append_index}",
                )
            self._position = position
            self._recorded_at = event.recorded_at
            self._append_index = event.append_index
        for check in (self.positions, self.times, self.appends):
            check.looked_at += len(page)

    def begin(self, position: int, at: StoredEvent | None) -> None:
        """Goes on after a position. Without its event, nothing is known of what comes next but its position."""
        self._position = position
        self._recorded_at = 0 if at is None else at.recorded_at
        self._append_id = b"" if at is None else at.append_id
        self._append_index = 0 if at is None else at.append_index

    def finish(self, end: int) -> None:
        if self._position != end:
            self.positions.found(*_gap(self._position, end + 1))


def _see_versions(page: list[StoredEvent], part: Part[str, int]) -> None:
    """A part of the streams in each pass, so that the memory stays bounded."""
    versions = part.remembered
    for event in page:
        stream = event.stream
        if part.has(stream):
            before = versions.get(stream, 0)
            if event.version != before + 1:
                part.note(stream, _at(event), f"version {event.version} follows {before}")
            versions[stream] = event.version
    part.shrink()


class _Content:
    """Payload and metadata: JSON that the app's classes can read."""

    def __init__(self, types: EventTypes | None) -> None:
        promise = "payloads are JSON" if types is None else "payloads are JSON that the app's classes can read"
        self.check = Check("payloads", promise)
        self._types = types

    def see(self, page: list[StoredEvent]) -> None:
        for event in page:
            try:
                if self._types is None:
                    msgspec.json.decode(event.payload)
                else:
                    self._types.decode_event(event)
            except UnknownVersion as problem:
                self.check.found(
                    _at(event), f"it was written as version {problem.written}, the app has {problem.known}"
                )
            except UnknownEvent:
                self.check.found(_at(event), f"no event class of the app is named {event.type!r}")
            except DecodeError as problem:
                self.check.found(_at(event), why_unreadable(problem))
            except (msgspec.DecodeError, UnicodeDecodeError) as problem:
                self.check.found(_at(event), f"its payload is not JSON: {problem}")
            try:
                decode_metadata(event.metadata)
            except (msgspec.DecodeError, UnicodeDecodeError) as problem:
                self.check.found(_at(event), f"its metadata cannot be read: {problem}")
        self.check.looked_at += len(page)


def _at(event: StoredEvent) -> str:
    return f"position {event.position} ({event.stream}, version {event.version}, {event.type})"


def _gap(before: int, after: int) -> tuple[str, str]:
    if after <= before:
        return f"position {after}", f"it follows position {before}"
    missing = f"position {before + 1} is" if after == before + 2 else f"positions {before + 1} to {after - 1} are"
    return f"after position {before}", f"{missing} missing"
