"""The log over HTTP: a page of it, filtered; one event; and what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from refold.app import App
from refold.errors import InvalidQuery, RefoldError
from refold.messages.recorded import StoredEvent, category_of, to_microseconds
from refold.operations.log_search import Wanted, search_log
from refold.server.api.documents import EventDocument, document_of, documents_of
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem
from refold.server.security.identity import Access, Identity, Role
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["Position", "events_of", "filter_of", "position_before", "readable"]

_GROUP = "Events"
Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_RELATED = 200
_EACH_WAY = 0.06
"""Seconds for which related events are looked for before an event, and again behind it."""


class LogQuery(msgspec.Struct, frozen=True):
    """Which events. Forward those after a position, backward those before it (0: from the end). Those recorded from
    `since` (included) until `until` (excluded). `text` looks into the payloads, whatever its case.
    """

    after: Position = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    backward: bool = False
    type: list[str] = []
    category: list[str] = []
    tag: list[str] = []
    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


class LogEvents(msgspec.Struct, frozen=True):
    """Events of the log. `next` is the position to go on after, None at the end of the log: a search looks for a short
    time only, so a page may be short, or empty, though there is more.
    """

    events: list[EventDocument]
    next: int | None
    head: int


class OneEvent(msgspec.Struct, frozen=True):
    """An event, and how today's code reads it (`problem` says why it cannot). `reads_version` is the schema version of
    today's class, null when there is none: an older event was brought to it by the class's upcasters, if it has any.
    """

    event: EventDocument
    today: Any
    problem: str | None
    reads_version: int | None


class Related(msgspec.Struct, frozen=True):
    """The events of the same conversation (correlation id) that stand nearby in the log, in order. `complete`: all of
    the log was searched for them.
    """

    events: list[EventDocument]
    complete: bool


def readable(identity: Identity, asked: Sequence[str]) -> tuple[str, ...]:
    """The categories to look into: those asked for (none: all), as far as the caller may read them.

    Raises `Problem` (`forbidden`).
    """
    scopes = identity.scopes(Role.READER)
    if scopes is None:
        return tuple(asked)
    refused = [category for category in asked if category not in scopes]
    if refused or not scopes:
        raise Problem("forbidden", f"{identity.name} may not read {', '.join(refused) or 'the log'}")
    return tuple(asked) or tuple(sorted(scopes))


def filter_of(types: Sequence[str], tags: Sequence[str], categories: Sequence[str]) -> EventFilter:
    """The store's filter."""
    matching = (Matching(tuple(types), tuple(tags)),) if types or tags else ()
    return EventFilter(matching=matching, categories=tuple(categories))


async def position_before(store: EventStore, moment: datetime) -> int:
    """The last position that was recorded before a moment. Raises `Problem`."""
    try:
        return await store.position_at(to_microseconds(moment) - 1)
    except InvalidQuery as problem:
        raise Problem("invalid", str(problem)) from problem


def events_of(app: App) -> Sequence[Operation]:
    """The operations on the log."""

    async def read_log(call: Call) -> Answer:
        query: LogQuery = call.query
        store = call.context.store
        where = filter_of(query.type, query.tag, readable(call.identity, query.category))
        wanted = Wanted(query.actor, query.correlation_id, query.causation_id, query.text)
        # Times never go back along positions, so a time is a position.
        first = 1 if query.since is None else await position_before(store, query.since) + 1
        last = None if query.until is None else await position_before(store, query.until)
        found = await search_log(
            store,
            where,
            wanted,
            after=query.after,
            limit=query.limit,
            backward=query.backward,
            first=first,
            last=last,
        )
        return Answer(LogEvents(documents_of(found.events), found.next, found.head))

    async def read_event(call: Call) -> Answer:
        stored = await _event(call)
        try:
            today, problem = app.types.decode(stored).event, None
        except RefoldError as error:
            today, problem = None, str(error)
        version = app.types.named(stored.type).__schema_version__ if stored.type in app.types else None
        return Answer(OneEvent(document_of(stored), today, problem, version))

    async def read_related(call: Call) -> Answer:
        stored = await _event(call)
        document = document_of(stored)
        conversation = document.metadata.correlation_id
        if conversation is None:
            return Answer(Related([document], True))
        where = filter_of((), (), readable(call.identity, ()))
        wanted = Wanted(correlation_id=conversation)
        store = call.context.store
        before = await search_log(
            store, where, wanted, after=stored.position, limit=_RELATED, backward=True, seconds=_EACH_WAY
        )
        behind = await search_log(store, where, wanted, after=stored.position, limit=_RELATED, seconds=_EACH_WAY)
        events = [*reversed(before.events if stored.position > 1 else []), stored, *behind.events]
        complete = (before.next is None or stored.position == 1) and behind.next is None
        return Answer(Related(documents_of(events), complete))

    common: dict[str, Any] = {"method": "GET", "group": _GROUP}
    return (
        Operation(
            path="/events",
            name="read_log",
            summary="The log after a position, forward or backward, filtered.",
            description=(
                "By type, category and tag (each may be repeated: one of the types and categories, all of the tags), "
                "by time, actor, conversation or text. Where a search finds little, it answers after a moment with "
                "what it has; go on with `next`."
            ),
            access=Access(None),
            query=LogQuery,
            run=read_log,
            answers={200: Said("A page of events.", LogEvents)},
            **common,
        ),
        Operation(
            path="/events/{position}",
            name="read_event",
            summary="One event, as it is stored and as today's code reads it.",
            access=Access(None),
            path_types={"position": Position},
            run=read_event,
            answers={200: Said("The event.", OneEvent)},
            problems=("not-found",),
            **common,
        ),
        Operation(
            path="/events/{position}/related",
            name="read_related",
            summary="The events of the same conversation: what caused it, and what it caused.",
            access=Access(None),
            path_types={"position": Position},
            run=read_related,
            answers={200: Said("The events.", Related)},
            problems=("not-found",),
            **common,
        ),
    )


async def _event(call: Call) -> StoredEvent:
    position: int = call.path["position"]
    page = await call.context.store.read_log(after=position - 1, limit=1) if position else None
    if page is None or not page.events or page.events[0].position != position:
        raise Problem("not-found", f"the log has no position {position}")
    stored = page.events[0]
    call_access = Access(Role.READER, (category_of(stored.stream),))
    if not call.identity.may(call_access):
        raise Problem("forbidden", f"{call.identity.name} may not read {category_of(stored.stream)}")
    return stored
