"""The tail of the log, read once for all who follow it: what is new is fetched and encoded one time, and each client
takes it at their own pace.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

import msgspec

from refold.errors import RefoldError
from refold.messages.recorded import StoredEvent
from refold.server.api.documents import document_of
from refold.store.event_store import EventFilter, EventStore

__all__ = ["HEARTBEAT_SECONDS", "Tail", "frame_of"]

_log = logging.getLogger("refold.server")

HEARTBEAT_SECONDS = 10.0
_KEPT = 2_000
_KEPT_BYTES = 4_000_000
"""Frames that are kept for those who are a little behind: so many, and so many bytes of them. Who is further behind
reads the store.
"""
_PAGE = 500
_PACE = 0.02
"""Seconds between two looks at least: what comes meanwhile is sent in one piece, however many follow."""
_PAUSE = 1.0

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


def frame_of(stored: StoredEvent) -> bytes:
    """An event as a server-sent event; its id is its position."""
    return b"id: %d\ndata: %s\n\n" % (stored.position, _encoder.encode(document_of(stored)))


class Tail:
    """Follows the log while anybody listens."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._frames: list[tuple[StoredEvent, bytes]] = []
        self._size = 0
        self._last = 0
        """The position that the tail has read; its frames are those of the positions right up to it."""
        self._moved = asyncio.Event()
        self._listeners = 0
        self._reading: asyncio.Task[None] | None = None
        self._closed = False

    async def follow(self, after: int, where: EventFilter) -> AsyncGenerator[bytes, None]:
        """Pieces of a stream of server-sent events: those after a position that fit, each once and in order, and a sign
        of life when there are none. It ends when the tail is closed.
        """
        self._listeners += 1
        if self._reading is None or self._reading.done():
            # Nothing may be awaited before: who comes at the same moment must find that it is read already.
            self._reading = asyncio.create_task(self._read(), name="refold-tail")
        try:
            yield b"retry: 1000\n: following after %d\n\n" % after
            quiet_since = time.monotonic()
            while not self._closed:
                moved = self._moved
                if after < self._last - len(self._frames):
                    try:
                        page = await self._store.read_log(after=after, limit=_PAGE, where=where)
                    except RefoldError as problem:
                        # It comes back with the id of the last event that it got.
                        _log.warning("a live stream ends at position %d: %s", after, problem)
                        return
                    piece = b"".join(frame_of(stored) for stored in page.events)
                    after = page.scanned_to
                elif after < self._last:
                    # The frames end at the last position without a gap, so where one goes on is only counted.
                    new = self._frames[len(self._frames) - (self._last - after) :]
                    piece = b"".join(frame for stored, frame in new if where.fits(stored))
                    after = self._last
                else:
                    await _set_within(moved, max(0.0, quiet_since + HEARTBEAT_SECONDS - time.monotonic()))
                    piece = b""
                if not piece and time.monotonic() >= quiet_since + HEARTBEAT_SECONDS:
                    # Also while the log moves by what is not meant for this client: the line would seem dead. The id
                    # tells one that comes back how far it was.
                    piece = b": still here\nid: %d\n\n" % after
                if piece:
                    yield piece
                    quiet_since = time.monotonic()
        finally:
            self._listeners -= 1

    def close(self) -> None:
        """Lets everybody who follows go."""
        self._closed = True
        self._moved.set()
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        begun = False
        while self._listeners:
            try:
                if not begun:
                    # What is older than now, whoever wants it reads from the store.
                    self._last, self._frames, self._size = (await self._store.head()).position, [], 0
                    begun = True
                    self._tell()
                page = await self._store.read_log(after=self._last, limit=_PAGE)
            except RefoldError as problem:
                _log.warning("the tail of the log cannot be read: %s", problem)
                # A store that comes back may have lost what it had: whoever follows reads it there, not here.
                begun, self._frames, self._size = False, [], 0
                await asyncio.sleep(_PAUSE)
                continue
            if page.head < self._last:
                begun = False
                continue
            if page.events:
                new = [(stored, frame_of(stored)) for stored in page.events]
                self._frames += new
                self._size += sum(len(frame) for _, frame in new)
                self._last = page.events[-1].position
                self._forget()
                self._tell()
                await asyncio.sleep(_PACE)
            else:
                await self._store.wait_beyond(self._last, 1.0)

    def _forget(self) -> None:
        """Lets the oldest frames go, seldom enough that it costs next to nothing."""
        if len(self._frames) <= 2 * _KEPT and self._size <= 2 * _KEPT_BYTES:
            return
        first, kept = len(self._frames), 0
        while first > max(0, len(self._frames) - _KEPT) and kept + len(self._frames[first - 1][1]) <= _KEPT_BYTES:
            first -= 1
            kept += len(self._frames[first][1])
        del self._frames[:first]
        self._size = kept

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
