"""A look at what a rebuild has built, before it takes the place of the rows that are read."""

from __future__ import annotations

from collections.abc import Callable

from refold.errors import ProjectionStopped, StoreCorrupt
from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.projections.parking.gate import open_gate
from refold.projections.parking.records import ParkedKey, from_text
from refold.projections.projection import check_history
from refold.projections.review.changes import RebuildDiff
from refold.projections.review.comparing import Built, Compared, compare
from refold.projections.review.earlier import Earlier, earlier_rows
from refold.projections.review.reasons import explained
from refold.projections.sink import Sink, building, lives_elsewhere, rows_elsewhere
from refold.store.event_store import EventStore

__all__ = ["Review"]


class Review:
    """Finds out what a rebuild changes. `shown` rows of each kind are explained (None: all of them); `was` is the class
    that made the rows that are read, where it is at hand. `diff` is what was found. `tell` is called with it before the
    switch; with `dry_run`, nothing is switched.
    """

    def __init__(
        self,
        *,
        dry_run: bool,
        shown: int | None = 20,
        was: ReadModelDefinition | None = None,
        tell: Callable[[RebuildDiff], None] | None = None,
        looked: Callable[[int], None] | None = None,
    ) -> None:
        self.dry_run = dry_run
        self.diff: RebuildDiff | None = None
        self._shown = shown
        self._was = was
        self._tell = tell
        self._looked = looked or _unheard
        self._earlier: Earlier | None = None

    async def begin(self, store: EventStore, sink: Sink, definition: ReadModelDefinition) -> int:
        """Looks whether there is anything to compare with, before anything is built; gives the position of the rows
        that are read. Raises `ProjectionStopped`, `LogRegression`, `ConfigurationError`.
        """
        read = await sink.checkpoint(definition.name)
        if read is None or (read.position == 0 and (await store.head()).position):
            raise ProjectionStopped(
                f"read model {definition.name!r} has no rows yet, so there is nothing to compare with; start a worker "
                "(`refold worker`)"
            )
        if lives_elsewhere(read):
            raise ProjectionStopped(f"read model {definition.name!r} cannot be compared: {rows_elsewhere(read)}")
        await check_history(store, read)
        self._earlier = await earlier_rows(sink, definition, read, self._was)
        return read.position

    async def look(
        self, store: EventStore, sink: Sink, definition: ReadModelDefinition, types: EventTypes, built: Built
    ) -> None:
        """Compares, explains, and tells. Raises `ProjectionStopped` when the rows that are read were replaced
        meanwhile.
        """
        assert self._earlier is not None
        earlier, found = await self._compared(sink, definition, self._earlier, built)
        gate = await open_gate(sink.records, definition, building(definition.name))
        parked: dict[RowKey, ParkedKey] = {
            from_text(definition, each.key): each for each in await sink.records.parked(definition.name)
        }
        rows = await explained(store, types, definition, earlier, gate, parked, found.rows, built)
        self.diff = RebuildDiff(
            name=definition.name,
            position=found.position,
            definition=earlier.said,
            counts=found.counts,
            same=found.same,
            rows=rows,
            new_fields=list(earlier.new),
            gone_fields=list(earlier.gone),
            not_comparable=list(earlier.not_comparable),
            uncompared=found.uncompared,
        )
        if self._tell is not None:
            self._tell(self.diff)

    async def _compared(
        self, sink: Sink, definition: ReadModelDefinition, earlier: Earlier, built: Built
    ) -> tuple[Earlier, Compared]:
        try:
            return earlier, await compare(sink, definition, earlier, built, self._shown, self._looked)
        except StoreCorrupt:
            if not earlier.doubtful:
                raise
            # A field that had another type then: its values are none of today's.
            narrower = earlier.without_doubtful(definition)
            return narrower, await compare(sink, definition, narrower, built, self._shown, self._looked)


def _unheard(_: int) -> None:
    """Nobody wants to know how many rows were looked at."""
