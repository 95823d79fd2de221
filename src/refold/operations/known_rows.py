"""Rows as they were, that were folded already: whoever looks at one at several moments does not fold it anew for each,
and a look that took too long goes on where it was when it is asked for again.
"""

from __future__ import annotations

import msgspec

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.operations.shelf import Shelf
from refold.store.event_store import EventStore

__all__ = ["KnownRows"]

_EVERY = 5_000
"""Positions from one row that is kept to the next: so much of the log is read in some milliseconds."""

_Name = tuple[str, RowKey]


class KnownRows:
    """Rows that were looked at last, folded by this process from the log: of no use beyond the process, whose code has
    made them.
    """

    def __init__(self, shelf: Shelf[_Name] | None = None) -> None:
        self._shelf: Shelf[_Name] = shelf or Shelf()

    async def before(
        self, store: EventStore, definition: ReadModelDefinition, key: RowKey, position: int
    ) -> tuple[ReadModel | None, int] | None:
        """The latest row (None: it was not there) up to a position, and the position that it has seen; None: none is
        known.

        It is checked that the log still has the event there: it may have been restored from an older backup.
        """
        name = definition.name, key
        fitting = [each for each in self._shelf.of(name) if each.event.position <= position]
        if not fitting:
            return None
        found = fitting[-1]
        page = await store.read_log(after=found.event.position - 1, limit=1)
        if list(page.events) != [found.event]:
            self._shelf.forget(name)
            return None
        return msgspec.json.decode(found.data, type=definition.cls | None), found.event.position

    async def keep(
        self,
        store: EventStore,
        definition: ReadModelDefinition,
        key: RowKey,
        position: int,
        row: ReadModel | None,
        *,
        always: bool = False,
    ) -> None:
        """Keeps a row that has seen the log up to a position, where that is worth it, or `always`; and where JSON gives
        it back as it is.
        """
        name = definition.name, key
        distance = 1 if always else _EVERY
        # Before the first one that is kept there is the log's beginning, where no row is.
        near = (0, *(kept.event.position for kept in self._shelf.of(name)))
        if any(0 <= position - each < distance for each in near):
            return
        page = await store.read_log(after=position - 1, limit=1)
        if page.events:
            self._shelf.put(name, page.events[0], row, definition.cls | None)
