"""A row of a read model as it was, and the events behind it: both read from the log, whatever became of the rows."""

from __future__ import annotations

import time
from contextlib import aclosing

from refold.app import Context
from refold.errors import InvalidQuery, LogRegression, RefoldError
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import StoredEvent
from refold.operations.known_rows import KnownRows
from refold.projections.parking.waiting import Undecodable, events_of_key

__all__ = ["NotYetFolded", "events_behind", "row_at"]


class NotYetFolded(RefoldError):
    """A row could not be folded in the time that there was."""

    def __init__(self, wanted: int, reached: int) -> None:
        self.wanted = wanted
        self.reached = reached
        super().__init__(
            f"the row is folded up to position {reached:,} of {wanted:,} so far; asked for again, it goes on from there"
        )

    def __reduce__(self) -> tuple[type[NotYetFolded], tuple[int, int]]:
        return (type(self), (self.wanted, self.reached))


async def row_at(
    context: Context,
    definition: ReadModelDefinition,
    key: object,
    position: int,
    *,
    known: KnownRows | None = None,
    seconds: float | None = None,
) -> ReadModel | None:
    """The row of a key as today's code folds it from the log up to a position; None when there was none.

    It reads the row's stream, where every event goes to the row of its stream's id, and that is text. Else it reads all
    the read model's events up to there, so it takes as long as the log is long. With `known`, it begins with a row that
    was folded so before, and keeps others for the next time. Raises `NotYetFolded` when it takes more than `seconds`,
    `InvalidQuery` for what is no key, `LogRegression` for a position that the log does not have, `DecodeError`,
    `FoldFailed`.
    """
    row_key = _key(definition, key)
    head = (await context.store.head()).position
    if position > head:
        raise LogRegression(f"the log ends at position {head}; it does not have {position}")
    deadline = None if seconds is None else time.monotonic() + seconds
    begun = None if known is None else await known.before(context.store, definition, row_key, position)
    row, seen = (None, 0) if begun is None else begun
    rows: dict[RowKey, ReadModel | None] = {row_key: row}
    fold = RowFold(definition)
    pages = events_of_key(context.store, context.types, definition, row_key, seen, position)
    async with aclosing(pages) as each_page:
        async for page in each_page:
            events = []
            for event in page.events:
                if isinstance(event, Undecodable):
                    raise event.problem
                events.append(event)
            fold.fold(rows, events, only=lambda each: each == row_key)
            late = deadline is not None and time.monotonic() > deadline and page.upto < position
            if known is not None:
                await known.keep(context.store, definition, row_key, page.upto, rows[row_key], always=late)
            if late:
                raise NotYetFolded(position, page.upto)
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
