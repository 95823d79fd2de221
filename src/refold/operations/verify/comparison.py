"""One part of a read model: its rows folded anew from the log, up to where the sink's own rows are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing

from refold.errors import RefoldError
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import StoredEvent
from refold.operations.pages import log_pages
from refold.operations.progress import Progress
from refold.operations.verify.findings import Check
from refold.operations.verify.manner import Pace
from refold.operations.verify.parts import Part
from refold.operations.verify.rows import difference_of, row_text
from refold.operations.verify.waiting import decoded
from refold.projections.parking.gate import Gate
from refold.projections.row_pages import row_pages
from refold.projections.sink import Sink
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["Comparison", "WentBack", "wanted_by"]

_KEYS = 500
_LOOKS = 12
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


class WentBack(Exception):
    """The checkpoint moved backward: the rows are others than those that were looked at before."""


def wanted_by(definition: ReadModelDefinition) -> EventFilter:
    """The events that a read model is folded from."""
    return EventFilter(matching=(Matching(types=tuple(event.__message_name__ for event in definition.evolves)),))


class Comparison:
    """Compares the rows of a part, and notes there which are not the fold. Raises `WentBack`."""

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        definition: ReadModelDefinition,
        types: EventTypes,
        gate: Gate,
        check: Check,
        part: Part[RowKey, ReadModel | None],
        pace: Pace,
        progress: Progress,
    ) -> None:
        self._store = store
        self._sink = sink
        self._definition = definition
        self._types = types
        self._gate = gate
        self._passes = gate.passes if gate else None
        self._check = check
        self._part = part
        self._pace = pace
        self._progress = progress
        self._fold = RowFold(definition)
        self._position = 0
        self._wanted = wanted_by(definition)

    async def run(self, position: int) -> None:
        """All rows that a page can be had of, beginning at a position."""
        await self._advance(position)
        unseen = set(self._part.remembered)
        ahead: set[RowKey] = set()
        async with aclosing(row_pages(self._sink, self._definition, self._pace)) as pages:
            async for answer in pages:
                rows: dict[RowKey, ReadModel | None] = {self._definition.key_of(row): row for row in answer.found}
                ahead |= {key for key in rows if key in answer.seen and self._part.has(key)}
                await self._compare(answer.position, {key: row for key, row in rows.items() if key not in answer.seen})
                unseen -= rows.keys()
        # What was not met: rows that are missing, and, while the projection runs, rows that came behind our back.
        await self.look_at(unseen | ahead)

    async def look_at(self, keys: Iterable[RowKey]) -> None:
        """Compares rows by their keys. Those that are ahead of their checkpoint, as a store without transactions has
        them while a page is written, are looked at again until they stand still, a few seconds long.
        """
        waiting = sorted(keys, key=repr)
        pause = _FIRST_PAUSE
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            moving: list[RowKey] = []
            for start in range(0, len(waiting), _KEYS):
                some = waiting[start : start + _KEYS]
                answer = await self._sink.read(self._definition, some, None)
                await self._compare(
                    answer.position, {key: answer.rows.get(key) for key in some if key not in answer.seen}
                )
                moving += [key for key in some if key in answer.seen]
                await self._pace.rest()
            waiting = moving
            if not waiting:
                return
        self._check.uncompared += sum(self._part.has(key) for key in waiting)

    async def _compare(self, position: int, rows: dict[RowKey, ReadModel | None]) -> None:
        if position < self._position:
            raise WentBack
        await self._advance(position)
        for key, row in rows.items():
            if not self._part.has(key):
                continue
            self._check.looked(position)
            problem = difference_of(row, self._part.remembered.get(key))
            if problem:
                self._part.note(key, row_text(self._definition, key), problem)

    async def _advance(self, position: int) -> None:
        """Folds what the projection has seen and this fold has not."""
        if position <= self._position:
            return
        pages = log_pages(self._store, after=self._position, until=position, where=self._wanted)
        async with aclosing(pages):
            async for page in pages:
                await asyncio.to_thread(self._fold_page, page)
                if page:
                    self._progress(f"verify {self._definition.name}", page[-1].position, position)
                await self._pace.rest()
        self._position = position

    def _fold_page(self, page: list[StoredEvent]) -> None:
        part = self._part
        events = decoded(page, self._types, self._definition, self._gate)
        try:
            touched = self._fold.fold(part.remembered, events, only=part.has, passes=self._passes)
        except RefoldError:
            raise
        except Exception as problem:
            raise RefoldError(
                f"an evolve method failed between positions {page[0].position} and {page[-1].position}: {problem!r}"
            ) from problem
        for key in touched:
            if part.remembered[key] is None:
                del part.remembered[key]
        part.shrink()
