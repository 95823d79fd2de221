"""Loading: snapshot, then the events after it, folded. A snapshot is a head start and is never trusted over events."""

from __future__ import annotations

import logging
from typing import Generic, Literal, TypeVar, cast
from uuid import UUID

import msgspec

from refold.errors import InvalidQuery
from refold.folds.aggregate import Aggregate, AggregateDefinition
from refold.folds.engine import AggregateFold
from refold.messages.event_types import EventTypes, encode_json
from refold.messages.misfits import refuse_what_json_changes
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventStore, Snapshot

__all__ = ["Loaded", "Loader", "Until"]

A = TypeVar("A", bound=Aggregate)
_log = logging.getLogger("refold.loading")
_PAGE = 2_000


class Loaded(msgspec.Struct, Generic[A]):
    """A folded state, and the last event that it has seen (version 0: none).

    `snapshot_version` is that of the snapshot that it began with (0: it was folded from the first event).
    """

    state: A
    version: int = 0
    position: int = 0
    append_id: bytes = b""
    snapshot_version: int = 0

    @property
    def last_append(self) -> UUID | None:
        """The append of the last event that it has seen; None before any."""
        return UUID(bytes=self.append_id) if self.version else None


class Until(msgspec.Struct, frozen=True):
    """Where a temporal query stops. Only events that satisfy every given bound are folded; times are microseconds.

    Recorded time, version and position grow along a stream, so the fold stops at the first event past them; the time at
    which things occurred does not, so every event is looked at.
    """

    version: int | None = None
    position: int | None = None
    moment: int | None = None
    time: Literal["recorded", "occurred"] = "recorded"

    def past(self, event: StoredEvent) -> bool:
        """Whether this event and all after it are beyond the bounds."""
        return (
            (self.version is not None and event.version > self.version)
            or (self.position is not None and event.position > self.position)
            or (self.moment is not None and self.time == "recorded" and event.recorded_at > self.moment)
        )

    def wants(self, event: StoredEvent) -> bool:
        """Whether this event is within the bound on occurred time."""
        if self.moment is None or self.time == "recorded":
            return True
        return (event.recorded_at if event.occurred_at is None else event.occurred_at) <= self.moment


class Loader(Generic[A]):
    """Loads the aggregates of one class from a store."""

    def __init__(self, store: EventStore, definition: AggregateDefinition, types: EventTypes) -> None:
        self._store = store
        self.definition = definition
        self.fold = AggregateFold[A](definition, types)
        self._decode_state = msgspec.json.Decoder(definition.cls).decode

    def new(self) -> Loaded[A]:
        """The state before any event."""
        return Loaded(cast("A", self.definition.cls()))

    async def load(self, stream: str, until: Until | None = None) -> Loaded[A]:
        """The state of a stream, now or as the bounds say. Raises `UnknownEvent`, `DecodeError`, `InvalidQuery`."""
        if until is not None and ((until.version or 0) < 0 or (until.position or 0) < 0):
            raise InvalidQuery(f"version {until.version} and position {until.position} must be 0 or more")
        loaded, read = self.new(), None
        if self.definition.snapshot_every is not None and (
            until is None or until.time == "recorded" or until.moment is None
        ):
            loaded, read = await self._from_snapshot(stream, until)
        await self.catch_up(stream, loaded, until, read=read)
        return loaded

    async def catch_up(
        self, stream: str, loaded: Loaded[A], until: Until | None = None, *, read: list[StoredEvent] | None = None
    ) -> int:
        """Folds the events that `loaded` has not seen onto it, and gives their number. `read` is the first page, where
        it was read already.
        """
        seen = 0
        while True:
            page = read
            if page is None:
                page = await self._store.read_stream(stream, after=loaded.version, limit=_PAGE)
            read = None
            events = page if until is None else self._within(page, until)
            loaded.state = self.fold.fold(loaded.state, events)
            if page:
                last = page[-1]
                loaded.version, loaded.position, loaded.append_id = last.version, last.position, last.append_id
            seen += len(page)
            if len(page) < _PAGE or (until is not None and until.past(page[-1])):
                return seen

    async def catch_up_proven(self, stream: str, loaded: Loaded[A]) -> bool:
        """The same for a state that was kept. False: the log does not hold its last event (it was restored from a
        backup meanwhile); then nothing was folded.
        """
        # The event that proves it, and those that it has not seen: one question for both.
        page = await self._store.read_stream(stream, after=loaded.version - 1, limit=_PAGE + 1)
        if not _ends_at(page, loaded.position, loaded.append_id):
            return False
        await self.catch_up(stream, loaded, read=page[1:])
        return True

    @staticmethod
    def _within(page: list[StoredEvent], until: Until) -> list[StoredEvent]:
        wanted = []
        for event in page:
            if until.past(event):
                break
            if until.wants(event):
                wanted.append(event)
        return wanted

    async def _from_snapshot(self, stream: str, until: Until | None) -> tuple[Loaded[A], list[StoredEvent] | None]:
        """The snapshot's state, and the page of events after it."""
        snapshot = await self._store.load_snapshot(stream)
        if snapshot is None or snapshot.fingerprint != self.definition.fingerprint:
            return self.new(), None
        # The snapshot's own event, which proves it, and those that it has not seen: one question for both.
        at_version = await self._store.read_stream(stream, after=snapshot.version - 1, limit=_PAGE + 1)
        # After a restore from an older backup the stream may be shorter, or hold another history under the same
        # version.
        if not _ends_at(at_version, snapshot.position, snapshot.append_id):
            _log.warning(
                "dropped the snapshot of %s at version %d: the log does not hold its last event",
                stream,
                snapshot.version,
            )
            await self._store.drop_snapshot(stream)
            return self.new(), None
        if until is not None and until.past(at_version[0]):
            return self.new(), None
        try:
            state = self._decode_state(snapshot.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            _log.warning("dropped the snapshot of %s at version %d: %s", stream, snapshot.version, problem)
            await self._store.drop_snapshot(stream)
            return self.new(), None
        loaded = Loaded(cast("A", state), snapshot.version, snapshot.position, snapshot.append_id, snapshot.version)
        return loaded, at_version[1:]

    def snapshot(self, stream: str, loaded: Loaded[A]) -> Snapshot:
        """A snapshot of this state. Raises `ValueError` for one that JSON would give back as another."""
        data = encode_json(loaded.state)
        if self._decode_state(data) != loaded.state:
            refuse_what_json_changes(loaded.state)
        return Snapshot(
            stream,
            loaded.version,
            loaded.position,
            loaded.append_id,
            self.definition.fingerprint,
            data,
        )


def _ends_at(page: list[StoredEvent], position: int, append_id: bytes) -> bool:
    """Whether a page begins with the event that a kept state has seen last."""
    return bool(page) and (page[0].position, page[0].append_id) == (position, append_id)
