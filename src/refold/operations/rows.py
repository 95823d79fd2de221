"""A row of a read model as it was, and the events behind it: both read from the log, whatever became of the rows."""

from __future__ import annotations

import time
from contextlib import aclosing

from refold.app import Context
from refold.errors import InvalidQuery, LogRegression
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import StoredEvent
from refold.projections.parking.waiting import Undecodable, events_of_key

__all__ = ["events_behind", "row_at"]


async def row_at(context: Context, definition: ReadModelDefinition, key: object, position: int) -> ReadModel | None:
    """The row of a key as today's code folds it from the log up to a position; None when there was none.

    It reads the row's stream, where every event goes to the row of its stream's id, and that is text. Else it reads all
    the read model's events up to there, so it takes as long as the log is long. Raises `InvalidQuery` for what
    is no key, `LogRegression` for a position that the log does not have, `DecodeError`, `FoldFailed`.
    """
    row_key = _key(definition, key)
    head = (await context.store.head()).position
    if position > head:
        raise LogRegression(f"the log ends at position {head}; it does not have {position}")
    rows: dict[RowKey, ReadModel | None] = {row_key: None}
    fold = RowFold(definition)
    pages = events_of_key(context.store, context.types, definition, row_key, 0, position)
    async with aclosing(pages) as each_page:
        async for page in each_page:
            events = []
            for event in page.events:
                if isinstance(event, Undecodable):
                    raise event.problem
                events.append(event)
            fold.fold(rows, events, only=lambda each: each == row_key)
    return rows[row_key]


async def events_behind(
    context: Context,
    definition: ReadModelDefinition,
    key: object,
    *,
    after: int = 0,
    limit: int = 100,
    seconds: float | None = None,
) -> tuple[list[StoredEvent], int | None]:
    """The events after a position that change the row of a key, so many at most; and the position to go on after, None
    when these were the last. With `seconds` it gives what it has found by then. Raises `InvalidQuery` for what is no
    key.
    """
    row_key = _key(definition, key)
    head = (await context.store.head()).position
    began = time.monotonic()
    deadline = None if seconds is None else began + seconds
    found: list[StoredEvent] = []
    if after >= head:
        return found, None
    pages = events_of_key(context.store, context.types, definition, row_key, after, head)
    async with aclosing(pages) as each_page:
        async for page in each_page:
            found += [each.stored for each in page.events]
            if len(found) > limit:
                return found[:limit], found[limit - 1].position
            now = time.monotonic()
            if deadline is not None and now + (now - began) > deadline:  # the next page would come too late
                return found, page.upto if page.upto < head else None
            began = now
    return found, None


def _key(definition: ReadModelDefinition, key: object) -> RowKey:
    try:
        return definition.as_key(key)
    except Exception as problem:
        raise InvalidQuery(f"{key!r} cannot be a key of {definition.cls.__qualname__}: {problem}") from problem
