"""The rows that were built beside those that are read: which differ, both at the same position of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from refold.errors import ProjectionStopped
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.review.changes import KINDS, Kind, RowChange
from refold.projections.review.earlier import Earlier
from refold.projections.row_pages import row_pages
from refold.projections.sink import Sink, building

__all__ = ["Built", "Compared", "compare"]

_LOOKS = 12
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


class Built(Protocol):
    """The version that is built."""

    async def reach(self, position: int) -> None:
        """Folds up to a position that is not behind it, and writes."""
        ...

    async def keep(self) -> None:
        """Shows that its builder lives."""
        ...


class Compared:
    """What was found so far. The first `limit` rows of each kind are kept (None: all)."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.rows: list[RowChange] = []
        self.noted: set[RowKey] = set()
        self.same = 0
        self.uncompared = 0
        self.position = 0

    def note(self, change: RowChange) -> None:
        """Counts a row that differs."""
        self.noted.add(change.key)
        self.counts[change.kind] += 1
        if self._limit is None or self.counts[change.kind] <= self._limit:
            self.rows.append(change)


class _Pace:
    """The live rows are read in small pages, so that what is built has little to catch up with in between."""

    rows = 1_000

    def __init__(self, built: Built) -> None:
        self._built = built

    async def rest(self) -> None:
        await self._built.keep()


async def compare(
    sink: Sink,
    definition: ReadModelDefinition,
    earlier: Earlier,
    built: Built,
    limit: int | None,
    told: Callable[[int], None],
) -> Compared:
    """Compares all rows. Those that are read may go on moving: what is built follows each page of them to its position,
    so that both have seen the same events. `told` is called with the number of rows looked at.

    Raises `ProjectionStopped` when the rows that are read were replaced, or went back, meanwhile.
    """
    comparison = _Comparison(sink, definition, earlier, built, limit, told)
    await comparison.live_rows()
    await comparison.built_rows()
    await comparison.those_ahead()
    return comparison.found


class _Comparison:
    def __init__(
        self,
        sink: Sink,
        definition: ReadModelDefinition,
        earlier: Earlier,
        built: Built,
        limit: int | None,
        told: Callable[[int], None],
    ) -> None:
        self._sink = sink
        self._definition = definition
        self._earlier = earlier
        self._built = built
        self._told = told
        self._ahead: dict[RowKey, None] = {}
        self._looked = 0
        self.found = Compared(limit)

    async def live_rows(self) -> None:
        """Every row that is read."""
        live = self._earlier.definition
        async with aclosing(row_pages(self._sink, live, _Pace(self._built))) as pages:
            async for answer in pages:
                rows = {live.key_of(row): row for row in answer.found}
                self._ahead.update(dict.fromkeys(key for key in rows if key in answer.seen))
                await self._compare(answer.position, {key: row for key, row in rows.items() if key not in answer.seen})

    async def built_rows(self) -> None:
        """The rows that only the built version has."""
        pages = row_pages(self._sink, self._definition, _Pace(self._built), table=building(self._definition.name))
        async with aclosing(pages) as each_page:
            async for page in each_page:
                keys = [self._definition.key_of(row) for row in page.found]
                await self._absent(keys)

    async def _absent(self, keys: list[RowKey]) -> None:
        answer = await self._sink.read(self._earlier.definition, keys, None)
        absent = [key for key in keys if key not in answer.rows and key not in self._ahead]
        self._ahead.update(dict.fromkeys(key for key in absent if key in answer.seen))
        await self._compare(answer.position, {key: None for key in absent if key not in answer.seen})

    async def those_ahead(self) -> None:
        """Rows that are ahead of their checkpoint, as a store without transactions has them while a page is written,
        are looked at until they stand still, a few seconds long.
        """
        waiting, pause = list(self._ahead), _FIRST_PAUSE
        for _ in range(_LOOKS):
            if not waiting:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            await self._built.keep()
            answer = await self._sink.read(self._earlier.definition, waiting, None)
            await self._compare(
                answer.position, {key: answer.rows.get(key) for key in waiting if key not in answer.seen}
            )
            waiting = [key for key in waiting if key in answer.seen]
        self.found.uncompared += len(waiting)

    async def _compare(self, position: int, rows: Mapping[RowKey, ReadModel | None]) -> None:
        if position < self.found.position:
            raise ProjectionStopped(
                f"the rows of {self._definition.name!r} went back or were replaced meanwhile; do it again"
            )
        await self._built.reach(position)
        self.found.position = position
        wanted = [key for key in rows if key not in self.found.noted]
        loaded = await self._sink.load(self._definition, building(self._definition.name), wanted)
        for key in wanted:
            change = self._change(key, rows[key], loaded.rows.get(key), position)
            if change is not None:
                self.found.note(change)
            elif rows[key] is not None:
                self.found.same += 1
        self._looked += len(wanted)
        self._told(self._looked)

    def _change(self, key: RowKey, old: ReadModel | None, new: ReadModel | None, position: int) -> RowChange | None:
        compared, extra = self._earlier.compared, self._earlier.new
        if old is None:
            if new is None:
                return None
            return RowChange(key, "added", {}, _values(new, new.__struct_fields__), position)
        if new is None:
            return RowChange(key, "removed", _values(old, compared), {}, position)
        differing = [name for name in compared if getattr(old, name) != getattr(new, name)]
        kind: Kind = "changed" if differing else "extended"
        fresh = self._definition.new_row(key)
        filled = [name for name in extra if getattr(new, name) != getattr(fresh, name)]
        if not differing and not filled:
            return None
        return RowChange(key, kind, _values(old, differing), _values(new, [*differing, *filled]), position)


def _values(row: ReadModel, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
