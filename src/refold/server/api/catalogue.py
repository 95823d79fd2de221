"""What the app has: the categories of its streams, the types of its events, and its hand-written projections."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from refold.app import App
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.security.identity import Access, Role

__all__ = ["catalogue_of"]


class EventTypeInfo(msgspec.Struct, frozen=True):
    """A type of event: its name in the log, and what its class says about it."""

    name: str
    description: str


class Catalogue(msgspec.Struct, frozen=True):
    """The categories that you may read and their event types, in the order of their names. Others may be in the log,
    from other apps or times. `projections` are those that are written by hand.
    """

    categories: list[str]
    events: list[EventTypeInfo]
    projections: list[str]


def catalogue_of(app: App) -> Sequence[Operation]:
    """The operation that lists them."""

    async def catalogue(call: Call) -> Answer:
        scopes = call.identity.scopes(Role.READER)
        mine = [each for each in app.aggregates.values() if scopes is None or each.category in scopes]
        types = app.types if scopes is None else dict.fromkeys(type_ for each in mine for type_ in each.events)
        events = [EventTypeInfo(each.__message_name__, (each.__doc__ or "").strip()) for each in types]
        return Answer(
            Catalogue(
                sorted(each.category for each in mine),
                sorted(events, key=lambda each: each.name),
                sorted(app.projections) if scopes is None else [],
            )
        )

    return (
        Operation(
            method="GET",
            path="/catalogue",
            name="catalogue",
            summary="The categories of streams, types of events and hand-written projections that the app has.",
            group="Events",
            access=Access(None),
            run=catalogue,
            answers={200: Said("What there is.", Catalogue)},
        ),
    )
