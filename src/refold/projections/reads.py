"""Reading read models: as they are, not older than a receipt, or with no lag at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from refold.errors import ConfigurationError, DefinitionError, InvalidQuery, LogRegression, ProjectionStopped, StaleRead
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded
from refold.projections.checkpoint import RUNNING, STOPPED, Checkpoint
from refold.projections.columns import refuse_value
from refold.projections.conditions import Condition, checked, orders_of
from refold.projections.crews import Crew
from refold.projections.ordering import sorted_rows
from refold.projections.parking.gate import open_gate
from refold.projections.parking.records import as_text
from refold.projections.projection import Projection, check_history, paused_in_words
from refold.projections.routed import RoutedSink
from refold.projections.shards import Shard, shard_of, shards_of
from refold.projections.shared_reads import SharedReads
from refold.projections.sink import Answer, Query, Sink, previous, refuse_other
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["Reads"]

_FRESH_PAGE = 2_000
_FRESH_LIMIT = 100_000
"""Unseen events that a fresh read folds at most: a read model that is further behind has no worker, and should be
caught up.
"""
_FIRST_LOOK = 0.002
_LONGEST_LOOK = 0.1


class Reads:
    """Queries on the read models of one context. `running` gives the projections of a read model, if this process runs
    them.
    """

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        types: EventTypes,
        running: Callable[[str], Crew | None],
    ) -> None:
        self._store = store
        self._sink = sink
        self._types = types
        self._running = running
        self._shared: dict[type[ReadModel], SharedReads] = {}

    async def get(
        self, definition: ReadModelDefinition, key: object, after: int | None, fresh: bool, timeout: float
    ) -> ReadModel | None:
        """The row of a key, or None."""
        row_key = _key(definition, key)
        answer = await self._answer_after(definition, [row_key], None, None if fresh else after, timeout)
        if definition.parks and (after or fresh):
            await self._refuse_parked(definition, row_key, after)
        if not fresh:
            return answer.rows.get(row_key)
        await self._refuse_other_log(definition)
        state: dict[RowKey, ReadModel | None] = {row_key: answer.rows.get(row_key)}
        fold = RowFold(definition)
        passes = await self._passes(definition)
        for events in await self._unseen(definition, answer.position):
            fold.fold(state, events, only=lambda each: each == row_key, seen=answer.seen, passes=passes)
        return state[row_key]

    async def find(
        self,
        definition: ReadModelDefinition,
        conditions: Iterable[Condition],
        equals: Mapping[str, Any],
        order_by: str | Sequence[str],
        limit: int | None,
        offset: int,
        after: int | None,
        fresh: bool,
        timeout: float,
    ) -> list[ReadModel]:
        """The rows that fulfil the conditions, in order."""
        for what, number in (("limit", 0 if limit is None else limit), ("offset", offset)):
            if type(number) is not int or not 0 <= number < 2**63:
                raise InvalidQuery(f"{what}={number!r} must be a whole number, 0 or more")
        where = checked(definition, conditions, dict(equals))
        order = orders_of(definition, order_by)
        if not fresh:
            query = Query(where, order, limit, offset)
            return (await self._answer_after(definition, [], query, after, timeout)).found
        return await self._find_fresh(definition, where, Query(where, order, limit, offset))

    async def _find_fresh(
        self, definition: ReadModelDefinition, where: Condition | None, query: Query
    ) -> list[ReadModel]:
        fold = RowFold(definition)
        await self._refuse_other_log(definition)
        checkpoint = await self._checkpoint(definition)
        unseen = [event for page in await self._unseen(definition, checkpoint.position) for event in page]
        touched = list(fold.keys(unseen))
        enough = None if query.limit is None else query.limit + query.offset + len(touched)
        answer = await self._answer(definition, touched, Query(where, query.order, enough))
        # The checkpoints may have moved since the events were read; then the rows have seen some of them.
        state: dict[RowKey, ReadModel | None] = dict(answer.rows)
        new = [event for event in unseen if event.position > answer.position]
        fold.fold(state, new, seen=answer.seen, passes=await self._passes(definition))
        changed = set(touched)
        kept = [row for row in answer.found if definition.key_of(row) not in changed]
        kept += [row for row in state.values() if row is not None and (where is None or where.holds(row))]
        ordered = sorted_rows(kept, query.order)[query.offset :]
        return ordered if query.limit is None else ordered[: query.limit]

    async def count(
        self,
        definition: ReadModelDefinition,
        conditions: Iterable[Condition],
        equals: Mapping[str, Any],
        after: int | None,
        timeout: float,
    ) -> int:
        """The number of rows that fulfil the conditions."""
        where = checked(definition, conditions, dict(equals))
        if after:
            await self._wait_surely(definition, after, timeout)
        try:
            return await self._sink.count(definition, where)
        except ProjectionStopped:
            if not await self._kept(definition):
                raise
            return await self._sink.count(definition, where, table=previous(definition.name))

    async def _wait_surely(self, definition: ReadModelDefinition, after: int, timeout: float) -> None:
        """As `_wait`, for an answer that does not say its position: the checkpoint is looked at too, since the rows may
        have been rolled back while the projection here does not know it yet.
        """
        began = time.monotonic()
        await self._wait(definition, after, timeout)
        await self._wait(definition, after, timeout - (time.monotonic() - began), look_here=False)

    async def search(
        self,
        definition: ReadModelDefinition,
        text: str,
        limit: int,
        fields: Sequence[str] | None,
        after: int | None,
        timeout: float,
    ) -> list[ReadModel]:
        """The rows that fit a text, the best first, of a read model that lives where such search is."""
        external = self._sink.external(definition.name) if isinstance(self._sink, RoutedSink) else None
        if external is None:
            raise ConfigurationError(
                f"read model {definition.name!r} lives in the log's database, which has no full-text search; keep it "
                "in OpenSearch (sinks=…)"
            )
        if after:
            await self._wait_surely(definition, after, timeout)
        return await external.search(definition, text, limit, fields)

    async def _answer_after(
        self,
        definition: ReadModelDefinition,
        keys: Sequence[RowKey],
        query: Query | None,
        after: int | None,
        timeout: float,
    ) -> Answer:
        """What was read, none of it older than `after`. Raises `StaleRead`."""
        began = time.monotonic()
        look_here = True
        while True:
            if after:
                # Of one row, its own shard is enough.
                key = keys[0] if query is None and len(keys) == 1 else None
                await self._wait(definition, after, timeout - (time.monotonic() - began), look_here, key)
            if query is None and len(keys) == 1:
                answer = await self._shared_read(definition).of(keys[0])
                reached = answer.seen.get(keys[0], answer.position)
            else:
                answer = await self._answer(definition, keys, query)
                reached = answer.position
            if not after or reached >= after:
                return answer
            if (waited := time.monotonic() - began) > timeout:
                raise StaleRead(definition.name, after, reached, waited)
            # The rows were rolled back, or lost their last moments, and the projection here does not know it yet.
            look_here = False
            await asyncio.sleep(_FIRST_LOOK)

    def _shared_read(self, definition: ReadModelDefinition) -> SharedReads:
        if definition.cls not in self._shared:
            self._shared[definition.cls] = SharedReads(lambda keys: self._answer(definition, keys, None))
        return self._shared[definition.cls]

    async def _answer(self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None) -> Answer:
        """From the version that is read; from the previous one when that is of this definition: another release, whose
        rows took its place, runs beside.
        """
        try:
            return await self._sink.read(definition, keys, query)
        except ProjectionStopped:
            if not await self._kept(definition):
                raise
            return await self._sink.read(definition, keys, query, table=previous(definition.name))

    async def _kept(self, definition: ReadModelDefinition) -> bool:
        checkpoint = await self._sink.checkpoint(previous(definition.name))
        return checkpoint is not None and checkpoint.fingerprint == definition.fingerprint

    async def _refuse_parked(self, definition: ReadModelDefinition, key: RowKey, wanted: int | None) -> None:
        """Raises `StaleRead` for a row that is parked before a position (None: at all)."""
        text, table = as_text(key), await self._table(definition)
        for parked in await self._sink.records.parked():
            if parked.key == text and parked.name.partition(":")[0] == table:
                if wanted is not None and wanted < parked.position:
                    return
                raise StaleRead(
                    definition.name,
                    wanted or parked.position,
                    parked.position - 1,
                    0.0,
                    f"row {text} is parked at position {parked.position}: {parked.error}; see `refold parked list`",
                )

    async def _passes(self, definition: ReadModelDefinition) -> Callable[[RowKey, int], bool] | None:
        """Which events go to which rows; None: all."""
        if not definition.parks:
            return None
        gate = await open_gate(self._sink.records, definition, await self._table(definition))
        return gate.passes if gate else None

    async def _table(self, definition: ReadModelDefinition) -> str:
        """The table in which the rows of this definition are."""
        read = await self._sink.checkpoint(definition.name)
        other = read is not None and read.fingerprint != definition.fingerprint
        return previous(definition.name) if other and await self._kept(definition) else definition.name

    async def _unseen(self, definition: ReadModelDefinition, position: int) -> list[list[Recorded[Any]]]:
        """What the log holds for this read model after a position, in pages."""
        where = EventFilter(matching=(Matching(tuple(event.__message_name__ for event in definition.evolves)),))
        pages: list[list[Recorded[Any]]] = []
        seen = 0
        while True:
            page = await self._store.read_log(after=position, limit=_FRESH_PAGE, where=where)
            if page.head < position:
                raise LogRegression(
                    f"read model {definition.name!r} is at position {position}, the log ends at {page.head}: the log "
                    f"was restored from an older backup; run `refold rebuild {definition.name}`"
                )
            if page.events:
                pages.append([self._types.decode(event) for event in page.events])
                seen += len(page.events)
            if page.scanned_to >= page.head:
                return pages
            if seen > _FRESH_LIMIT:
                raise StaleRead(
                    definition.name,
                    page.head,
                    position,
                    0,
                    f"more than {_FRESH_LIMIT:,} events behind, too far for fresh=True",
                )
            position = page.scanned_to

    async def _refuse_other_log(self, definition: ReadModelDefinition) -> None:
        """What is folded onto rows must be of the log that they were folded from: one that was restored from a backup
        has grown past them by now, perhaps, and rows in another store were not restored with it.
        """
        if isinstance(self._sink, RoutedSink) and self._sink.external(definition.name) is not None:
            await check_history(self._store, await self._checkpoint(definition))

    async def _checkpoint(self, definition: ReadModelDefinition) -> Checkpoint:
        checkpoint = await self._sink.checkpoint(definition.name)
        if checkpoint is not None and checkpoint.fingerprint != definition.fingerprint and await self._kept(definition):
            checkpoint = await self._sink.checkpoint(previous(definition.name))
        refuse_other(definition, checkpoint)
        assert checkpoint is not None
        return checkpoint

    async def _parts(self, definition: ReadModelDefinition) -> list[Checkpoint]:
        """The checkpoints that move the rows of this definition: one, or those of the shards."""
        parts = await self._sink.shards(definition.name)
        if parts and parts[0].fingerprint != definition.fingerprint and await self._kept(definition):
            parts = await self._sink.shards(previous(definition.name))
        refuse_other(definition, parts[0] if parts else None)
        return parts

    async def _part_soon(
        self, definition: ReadModelDefinition, shard: Shard, running: Projection | None
    ) -> Checkpoint | None:
        """The checkpoint of a shard; None while this process may build the rows of a definition that changed. Raises
        `_Divided`.
        """
        try:
            parts = await self._parts(definition)
        except ProjectionStopped:
            if running is None or running.stands or running.status == STOPPED:
                raise
            return None
        found = next((each for each in parts if shard_of(each.name) == shard), None)
        if found is None:
            raise _Divided
        return found

    async def _wait(
        self,
        definition: ReadModelDefinition,
        wanted: int,
        timeout: float,
        look_here: bool = True,
        key: RowKey | None = None,
    ) -> None:
        """Returns when the shard of a key, or all shards, have reached a position: as the projections of this process
        say, or (`look_here` is false) as the checkpoints do. Raises `StaleRead` at the time-out, or when one of them
        stands still.
        """
        began = time.monotonic()
        crew = self._running(definition.name)
        of = crew.of if crew is not None else 0
        while True:
            try:
                if not of:
                    of = len(await self._parts(definition)) if self._sink.divides(definition.name) else 1
                for shard in shards_of(of):
                    if key is None or shard.has(key):
                        await self._wait_for(definition, shard, wanted, timeout, began, look_here)
            except _Divided:
                of = 0
                await asyncio.sleep(_FIRST_LOOK)
            else:
                return

    async def _wait_for(
        self,
        definition: ReadModelDefinition,
        shard: Shard,
        wanted: int,
        timeout: float,
        began: float,
        look_here: bool,
    ) -> None:
        """Returns when one shard has reached a position. Raises `StaleRead`, `_Divided`."""
        pause = _FIRST_LOOK
        while True:
            crew = self._running(definition.name)
            running = None if crew is None else crew.projections.get(shard.checkpoint(definition.name))
            left = timeout - (time.monotonic() - began)
            stopped = False
            if look_here and running is not None and running.owns:
                reached, why = running.applied.position, running.error
                if reached >= wanted:
                    return
                if left > 0:
                    # Rung too when it stops, or when another process takes over; then the checkpoint tells.
                    await running.applied.wait_beyond(wanted - 1, left)
                    continue
            elif (checkpoint := await self._part_soon(definition, shard, running)) is None:
                reached, why = 0, running.error if running is not None else ""
                await asyncio.sleep(min(_LONGEST_LOOK, max(left, 0)))
            else:
                reached, why = checkpoint.position, checkpoint.error or (running.error if running is not None else "")
                # What was stopped and is nobody's is begun again by the projection here.
                owned = bool(checkpoint.owner and checkpoint.lease_until)
                begins = running is not None and running.status == RUNNING and not owned
                stopped = checkpoint.status == STOPPED and not begins
                if running is not None and running.status == STOPPED and running.epoch == checkpoint.epoch:
                    stopped, why = True, running.error
                if stopped:
                    await check_history(self._store, checkpoint)
                if reached >= wanted:
                    return
                if not stopped and (pause == _LONGEST_LOOK or left <= 0):
                    pauses = [each for each in await self._sink.records.pauses() if each.name == definition.name]
                    stopped, why = (True, paused_in_words(pauses[0])) if pauses else (False, why)
                if not stopped and left > 0:
                    await asyncio.sleep(min(pause, left))
                    pause = min(2 * pause, _LONGEST_LOOK)
            if stopped or left <= 0:
                raise StaleRead(definition.name, wanted, reached, time.monotonic() - began, why)


class _Divided(Exception):
    """The read model has another number of shards by now."""


def _key(definition: ReadModelDefinition, given: object) -> RowKey:
    try:
        key = definition.as_key(given)
    except (DefinitionError, msgspec.ValidationError, TypeError) as problem:
        raise InvalidQuery(f"{given!r} cannot be a key of {definition.cls.__qualname__}: {problem}") from problem
    for name, value in zip(definition.key, key, strict=True):
        refuse_value(definition, name, value)
    return key
