"""Streams over HTTP: which there are, and the events of one, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from refold.errors import InvalidQuery
from refold.messages.recorded import from_microseconds
from refold.server.api.aggregates import scope_of
from refold.server.api.documents import EventDocument, documents_of
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem
from refold.server.security.identity import Access, Role

__all__ = ["streams_of"]

_GROUP = "Events"


class StreamsQuery(msgspec.Struct, frozen=True):
    """Streams of one category, or of all; those after a stream's id."""

    category: str | None = None
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class StreamDocument(msgspec.Struct, frozen=True):
    """A stream at a glance: its version, and its last event's position and time."""

    stream: str
    version: int
    position: int
    recorded_at: datetime


class StreamPage(msgspec.Struct, frozen=True):
    """Streams in order of their ids. `next` is the id to go on after; None: these were the last."""

    streams: list[StreamDocument]
    next: str | None


class StreamQuery(msgspec.Struct, frozen=True):
    """Forward the events with a version above `after`, backward those below it (0: from the end)."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    backward: bool = False


class StreamEvents(msgspec.Struct, frozen=True):
    """Events of a stream. `next` is the version to go on after; None: these were the last."""

    stream: str
    version: int
    events: list[EventDocument]
    next: int | None


def streams_of() -> Sequence[Operation]:
    """The operations on streams."""

    async def list_streams(call: Call) -> Answer:
        query: StreamsQuery = call.query
        scopes = call.identity.scopes(Role.READER)
        if scopes is not None and query.category not in scopes:
            raise Problem(
                "forbidden", f"{call.identity.name} may list the streams of a category: {', '.join(sorted(scopes))}"
            )
        found = await call.context.store.streams(category=query.category, after=query.after, limit=query.limit + 1)
        shown = [
            StreamDocument(each.stream, each.version, each.position, from_microseconds(each.recorded_at))
            for each in found[: query.limit]
        ]
        return Answer(StreamPage(shown, shown[-1].stream if len(found) > query.limit else None))

    async def read_stream(call: Call) -> Answer:
        query: StreamQuery = call.query
        stream, store = call.path["stream"], call.context.store
        try:
            version = await store.stream_version(stream)
        except InvalidQuery as problem:
            raise Problem("not-found", str(problem)) from problem
        if not version:
            raise Problem("not-found", f"there is no stream {stream!r}")
        events = await store.read_stream(stream, after=query.after, limit=query.limit + 1, backward=query.backward)
        shown = events[: query.limit]
        following = shown[-1].version if len(events) > query.limit else None
        return Answer(StreamEvents(stream, version, documents_of(shown), following))

    return (
        Operation(
            method="GET",
            path="/streams",
            name="list_streams",
            summary="The streams, in order of their ids.",
            group=_GROUP,
            # Whoever may read some categories may list those: it is looked at inside.
            access=Access(None),
            query=StreamsQuery,
            run=list_streams,
            answers={200: Said("A page of streams.", StreamPage)},
        ),
        Operation(
            method="GET",
            path="/streams/{stream}",
            name="read_stream",
            summary="The events of a stream, forward or backward.",
            group=_GROUP,
            access=scope_of,
            query=StreamQuery,
            run=read_stream,
            answers={200: Said("A page of events.", StreamEvents)},
            problems=("not-found",),
        ),
    )
