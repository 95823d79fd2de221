"""The log live: server-sent events that go on where a client was, without loss or doubles."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from refold.server.api.events import Position, filter_of, readable
from refold.server.operation import Call, Operation, Said, Stream
from refold.server.problems import Problem
from refold.server.security.identity import Access
from refold.store.event_store import EventFilter

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["live_of"]

_KIND = "text/event-stream"
_LIFE = 900.0
"""Seconds after which a stream ends and the client comes back, maybe to another server."""
_ASKED_EVERY = 1.0
"""Seconds between two looks whether whoever listens still may."""


class LiveQuery(msgspec.Struct, frozen=True):
    """Which events: those after a position (from now on unless given) of these types, categories and tags."""

    after: Position | None = None
    type: list[str] = []
    category: list[str] = []
    tag: list[str] = []


def live_of(server: Server) -> Sequence[Operation]:
    """The operation that follows the log."""

    async def follow(call: Call) -> Stream:
        query: LiveQuery = call.query
        where = filter_of(query.type, query.tag, readable(call.identity, query.category))
        after = _last_seen(call)
        head = (await call.context.store.head()).position
        if after is None:
            after = head if query.after is None else query.after
        if after > head:
            raise Problem("ahead", f"the log ends at position {head}; there is no {after} to go on after")
        return Stream(_for_a_while(server, call, after, where), _KIND, {"X-Accel-Buffering": "no"})

    return (
        Operation(
            method="GET",
            path="/events/live",
            name="follow_log",
            summary="The log as it grows: server-sent events.",
            description=(
                "Each event's id is its position; a client that comes back sends it as Last-Event-ID (browsers do so "
                "by themselves) and misses nothing. A comment every ten seconds shows that the line is there. A client "
                "that is slow holds back nobody but itself."
            ),
            group="Events",
            access=Access(None),
            query=LiveQuery,
            headers={"Last-Event-ID": "The position of the last event that you have; stronger than `after`."},
            run=follow,
            answers={200: Said("Events, for as long as you listen.", kind=_KIND)},
            problems=("ahead",),
        ),
    )


async def _for_a_while(server: Server, call: Call, after: int, where: EventFilter) -> AsyncIterator[bytes]:
    begun = asked = time.monotonic()
    async with aclosing(server.tail.follow(after, where)) as pieces:
        async for piece in pieces:
            now = time.monotonic()
            if now > asked + _ASKED_EVERY:
                # A key that is revoked, or a token that has expired, is out at once, also of what is open.
                if not await server.guard.still(call.request, call.identity):
                    return
                asked = now
            yield piece
            if now > begun + _LIFE:
                return


def _last_seen(call: Call) -> int | None:
    given = call.header("Last-Event-ID")
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise Problem("invalid", f"Last-Event-ID: {given!r} is no position", field="Last-Event-ID")
    return int(given)
