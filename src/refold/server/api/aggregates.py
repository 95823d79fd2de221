"""Aggregates over HTTP: the state now or then, what each event changed, and the difference between two versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from refold.app import App
from refold.errors import InvalidQuery
from refold.folds.aggregate import AggregateDefinition
from refold.messages.recorded import from_microseconds
from refold.operations.changes import Change, changes_between, changes_of
from refold.operations.known_states import KnownStates
from refold.operations.state import state_of
from refold.server.api.documents import EventDocument, document_of
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem
from refold.server.security.identity import Access, Role

__all__ = ["aggregates_of"]

_GROUP = "Aggregates"
_SECONDS = 0.12
"""How long events are looked through for their changes, before what was found is given."""
Version = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class StateQuery(msgspec.Struct, frozen=True):
    """When: at a version of the stream, a position of the log, or a moment (by the time that it was recorded, or had
    `occurred`). None of them: now.
    """

    at_version: Version | None = None
    at_position: Version | None = None
    as_of: datetime | None = None
    time: Literal["recorded", "occurred"] = "recorded"


class DifferenceQuery(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """Two versions; `to` is the newest unless given."""

    before: Version
    after: Version | None = None


class ChangesQuery(msgspec.Struct, frozen=True):
    """Which events: those after a version, so many at most; with `field`, those that changed it (as in `owner` or
    `address.city`).
    """

    after: Version = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    field: str = ""


class Difference(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """What is different between two versions of a state, field by field."""

    stream: str
    before: int
    after: int
    changes: list[Change]


class Step(msgspec.Struct, frozen=True):
    """An event, and what it changed in the state."""

    event: EventDocument
    changes: list[Change]


class Steps(msgspec.Struct, frozen=True):
    """Events and what they changed. `next` is the version to go on after; None: these were the last. They are looked
    through for a short time only, so a page may be short, or empty, though there are more.
    """

    steps: list[Step]
    next: int | None


class AggregateInfo(msgspec.Struct, frozen=True):
    """A kind of aggregate: the category of its streams, the commands that it decides, the schema of its state."""

    category: str
    name: str
    commands: list[str]
    schema: dict[str, Any]


class AggregateList(msgspec.Struct, frozen=True):
    """The kinds of aggregates that the caller may look at."""

    aggregates: list[AggregateInfo]


def aggregates_of(app: App) -> Sequence[Operation]:
    """The operations of each kind of aggregate, and the list of all."""
    known = KnownStates()
    found = [each for definition in app.aggregates.values() for each in _aggregate(app, definition, known)]
    infos = [
        AggregateInfo(
            definition.category,
            definition.cls.__name__,
            [command.__message_name__ for command in definition.decides],
            msgspec.json.schema(definition.cls),
        )
        for definition in app.aggregates.values()
    ]

    async def list_aggregates(call: Call) -> Answer:
        scopes = call.identity.scopes(Role.READER)
        return Answer(AggregateList([info for info in infos if scopes is None or info.category in scopes]))

    listing = Operation(
        method="GET",
        path="/aggregates",
        name="list_aggregates",
        summary="The kinds of aggregates that you may look at.",
        group=_GROUP,
        access=Access(None),
        run=list_aggregates,
        answers={200: Said("The kinds.", AggregateList)},
    )
    return (*found, listing)


def _aggregate(app: App, definition: AggregateDefinition, known: KnownStates) -> Iterable[Operation]:
    category = definition.category
    path = f"/aggregates/{category}/{{id}}"
    document_type = msgspec.defstruct(
        f"{definition.cls.__name__}State",
        [
            ("stream", str), ("version", int), ("newest_version", int), ("position", int),
            ("recorded_at", datetime | None), ("state", definition.cls),
        ],
        frozen=True,
    )  # fmt: skip

    async def state(call: Call) -> Answer:
        query: StateQuery = call.query
        given = [query.at_version, query.at_position, query.as_of]
        if sum(each is not None for each in given) > 1:
            raise Problem("invalid", "at_version, at_position and as_of all say when; give one")
        if query.time == "occurred" and query.as_of is None:
            raise Problem("invalid", "time=occurred says what as_of means; give as_of too", field="time")
        stream = await _stream(call, definition)
        shown = await state_of(
            call.context.store,
            app,
            stream,
            as_of=query.as_of,
            time=query.time,
            at_version=query.at_version,
            at_position=query.at_position,
            known=known,
        )
        recorded = None if shown.recorded_at is None else from_microseconds(shown.recorded_at)
        return Answer(
            {
                "stream": stream,
                "version": shown.version,
                "newest_version": shown.newest_version,
                "position": shown.position,
                "recorded_at": recorded,
                "state": shown.state,
            }
        )

    async def difference(call: Call) -> Answer:
        query: DifferenceQuery = call.query
        stream = await _stream(call, definition)
        first, second = [
            await state_of(call.context.store, app, stream, at_version=version, known=known)
            for version in (query.before, query.after)
        ]
        return Answer(Difference(stream, first.version, second.version, changes_between(first.state, second.state)))

    async def changes(call: Call) -> Answer:
        query: ChangesQuery = call.query
        stream = await _stream(call, definition)
        steps, following = await changes_of(
            call.context.store,
            app,
            stream,
            after=query.after,
            limit=query.limit,
            field=query.field,
            seconds=_SECONDS,
            known=known,
        )
        return Answer(Steps([Step(document_of(stored), found) for stored, found in steps], following))

    common: dict[str, Any] = {
        "method": "GET",
        "group": _GROUP,
        "access": Access(Role.READER, (category,)),
        "problems": ("not-found",),
    }
    yield Operation(
        path=path,
        name=f"state_of_{category}",
        summary=f"The state of one {category}, now or as it was.",
        query=StateQuery,
        run=state,
        answers={200: Said("The state, folded from its events.", document_type)},
        **common,
    )
    yield Operation(
        path=f"{path}/difference",
        name=f"difference_of_{category}",
        summary=f"What is different between two versions of one {category}.",
        query=DifferenceQuery,
        run=difference,
        answers={200: Said("The difference.", Difference)},
        **common,
    )
    yield Operation(
        path=f"{path}/changes",
        name=f"changes_of_{category}",
        summary=f"The events of one {category}, each with what it changed in the state: why it is as it is.",
        query=ChangesQuery,
        run=changes,
        answers={200: Said("The events and their changes.", Steps)},
        **common,
    )


async def _stream(call: Call, definition: AggregateDefinition) -> str:
    stream = definition.stream_of(call.path["id"])
    try:
        version = await call.context.store.stream_version(stream)
    except InvalidQuery as problem:
        raise Problem("not-found", str(problem)) from problem
    if not version:
        raise Problem("not-found", f"there is no {definition.category} {call.path['id']!r}")
    return stream


def scope_of(path: Mapping[str, Any]) -> Access:
    """Who may read a stream that is named in the path: a reader of its category."""
    return Access(Role.READER, (str(path["stream"]).partition("-")[0],))
