"""The state of one aggregate, now or as it was."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from refold.app import App
from refold.commands.loading import Until
from refold.errors import InvalidQuery
from refold.folds.engine import AggregateFold
from refold.messages.recorded import StoredEvent, category_of, to_microseconds
from refold.operations.known_states import KnownStates
from refold.store.event_store import EventStore

__all__ = ["ShownState", "state_of"]

_PAGE = 2_000


class ShownState(msgspec.Struct, frozen=True):
    """A folded state: of how many events, and the last of them with its version, position and time (microseconds).

    `newest_version` is the stream's version now.
    """

    stream: str
    aggregate: str
    events: int
    version: int
    newest_version: int
    position: int
    recorded_at: int | None
    state: Any


async def state_of(
    store: EventStore,
    app: App,
    stream: str,
    *,
    as_of: datetime | None = None,
    time: Literal["recorded", "occurred"] = "recorded",
    at_version: int | None = None,
    at_position: int | None = None,
    known: KnownStates | None = None,
) -> ShownState:
    """Folds a stream into the state of its aggregate, up to the bounds that are given. With `known`, it begins with a
    state that was folded so before, and keeps others for the next time.

    Raises `InvalidQuery` for a stream that is not there and for bad bounds, `ConfigurationError` when no aggregate of
    the app has such streams, `UnknownEvent`, `DecodeError`.
    """
    definition = app.aggregates[app.aggregate_of(category_of(stream))]
    newest = await store.stream_version(stream)
    if not newest:
        raise InvalidQuery(f"there is no stream {stream!r}; list the streams to see which there are")
    if (at_version or 0) < 0 or (at_position or 0) < 0:
        raise InvalidQuery("a version or a position must be 0 or more")
    until = Until(at_version, at_position, None if as_of is None else to_microseconds(as_of), time)
    # Folded from the first event, past any snapshot: what is shown here is to be believed.
    fold = AggregateFold[Any](definition, app.types)
    state: Any = definition.cls()
    folded = after = 0
    last: StoredEvent | None = None
    begun = None if known is None else await known.before(store, definition, stream, until)
    if begun is not None:
        state, last = begun
        folded = after = last.version
    while page := await store.read_stream(stream, after=after, limit=_PAGE):
        events = [event for event in page if not until.past(event) and until.wants(event)]
        state = fold.fold(state, events)
        folded += len(events)
        last = events[-1] if events else last
        after = page[-1].version
        if known is not None and len(events) == len(page) and folded == after:
            known.keep(definition, stream, page[-1], state)
        if after >= newest or until.past(page[-1]):
            break
    return ShownState(
        stream=stream,
        aggregate=definition.cls.__qualname__,
        events=folded,
        version=last.version if last is not None else 0,
        newest_version=newest,
        position=last.position if last is not None else 0,
        recorded_at=last.recorded_at if last is not None else None,
        state=state,
    )
