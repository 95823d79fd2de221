"""What operators ask about parked keys, done by the owner of the projection, between two batches: each in one step with
the row, the checkpoint and the log of operations.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from refold import faults
from refold.errors import InvalidQuery
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, StoredEvent
from refold.projections.folding import Folding
from refold.projections.parking.care import DEATHS, keys_fault, said_of
from refold.projections.parking.records import (
    Change,
    Logged,
    Operation,
    Park,
    ParkedKey,
    ProjectionRecords,
    Skip,
    Unpark,
    from_text,
)
from refold.projections.parking.waiting import Undecodable, events_of_key
from refold.store.event_store import EventStore

__all__ = ["Requests"]

_log = logging.getLogger("refold.projections")


class _Failed(msgspec.Struct, frozen=True):
    """The event that a row cannot take, and why."""

    stored: StoredEvent
    problem: Exception


class Requests:
    """Does what is asked about the parked keys of one projection. `together`: its rows are in the log's database."""

    def __init__(
        self,
        store: EventStore,
        records: ProjectionRecords,
        definition: ReadModelDefinition,
        types: EventTypes,
        together: bool,
    ) -> None:
        self._store = store
        self._records = records
        self._definition = definition
        self._types = types
        self._together = together

    async def answer(self, folding: Folding, name: str, between: Callable[[], Awaitable[None]]) -> None:
        """Does all that is asked. Raises `LostOwnership`."""
        if folding.position > folding.written:
            await folding.write()
        for parked in await self._records.parked(name):
            if parked.request and folding.shard.has(from_text(self._definition, parked.key)):
                await self._answer(folding, parked, between)

    async def _answer(self, folding: Folding, parked: ParkedKey, between: Callable[[], Awaitable[None]]) -> None:
        key = from_text(self._definition, parked.key)
        skipped = (key, parked.position) if parked.request == "skip" else None
        faults.at("parking.request_found")
        if parked.begun >= DEATHS:
            await self._refuse(folding, key, parked, f"{parked.request} killed the worker {parked.begun} times")
            return
        # Written before it is tried: what waits may kill the process.
        parked = msgspec.structs.replace(parked, begun=parked.begun + 1)
        await folding.settle(folding.written, None, [], [], [Park(parked)])
        anew = parked.request == "release" or not self._together
        row = None if anew else await folding.load_row(key)
        after = 0 if anew else parked.position - 1
        row, count, failed = await self._fold(folding, key, row, after, skipped, between)
        faults.at("parking.request_folded")
        # Rows elsewhere are not in step with what is parked: nothing is written there unless all went well.
        advanced = failed is None or (self._together and failed.stored.position > parked.position)
        changes: list[Change] = []
        if skipped is not None and (failed is None or advanced):
            changes.append(
                Skip(
                    self._definition.name,
                    parked.key,
                    parked.position,
                    self._definition.fingerprint,
                    parked.requested_by,
                    parked.reason,
                )
            )
        if failed is None:
            changes.append(Unpark(parked.name, parked.key, parked.request_id))
        else:
            changes.append(Park(_still(parked, failed, advanced)))
        changes.append(Logged(_outcome(parked, count, failed)))
        rows = [row] if advanced and row is not None else []
        deleted = [key] if advanced and row is None else []
        try:
            await folding.settle(folding.written, None, rows, deleted, changes)
        except InvalidQuery as problem:
            # Its events can be folded, and the database does not take the row that comes of them.
            await self._refuse(folding, key, parked, said_of(problem))
            return
        if skipped is not None and advanced:
            folding.gate.leave_out(key, parked.position)
        if failed is None:
            folding.gate.let_go(key)
            _log.info("row %s of read model %s goes on after %s", parked.key, self._definition.name, parked.request)
        else:
            folding.gate.park(key, _still(parked, failed, advanced))
            _log.warning("row %s of read model %s waits: %s", parked.key, self._definition.name, failed.problem)

    async def _refuse(self, folding: Folding, key: RowKey, parked: ParkedKey, why: str) -> None:
        """Lets a wish go that cannot be fulfilled; the row waits where it did."""
        still = _unasked(msgspec.structs.replace(parked, error=why, attempts=parked.attempts + parked.begun))
        outcome = Operation(
            actor=parked.requested_by,
            operation=f"parked {parked.request}: failed",
            target=f"{parked.name} {parked.key}",
            reason=parked.reason,
            request=parked.request_id,
            details={
                "position": parked.position,
                "events": 0,
                "done": False,
                "failed_at": parked.position,
                "error": why,
            },
        )
        await folding.settle(folding.written, None, [], [], [Park(still), Logged(outcome)])
        folding.gate.park(key, still)
        _log.error("row %s of read model %s waits: %s", parked.key, self._definition.name, why)

    async def _fold(
        self,
        folding: Folding,
        key: RowKey,
        row: ReadModel | None,
        after: int,
        skipped: tuple[RowKey, int] | None,
        between: Callable[[], Awaitable[None]],
    ) -> tuple[ReadModel | None, int, _Failed | None]:
        """The row after all its events up to where the projection stands, or up to the one that fails; how many they
        are.
        """
        count = 0
        pages = events_of_key(self._store, self._types, self._definition, key, after, folding.written)
        async with aclosing(pages) as found:
            async for page in found:
                for each in page.events:
                    if isinstance(each, Undecodable):
                        if skipped == (key, each.stored.position) or folding.gate.left_out(key, each.stored.position):
                            continue
                        return row, count, _Failed(each.stored, each.problem)
                    if skipped == (key, each.position) or folding.gate.left_out(key, each.position):
                        continue
                    failed = self._one(folding, key, row, each)
                    if isinstance(failed, _Failed):
                        return row, count, failed
                    row = failed
                    count += 1
                await between()
        return row, count, None

    @staticmethod
    def _one(
        folding: Folding, key: RowKey, row: ReadModel | None, recorded: Recorded[Any]
    ) -> ReadModel | _Failed | None:
        try:
            # A fold that fails half-way leaves the row that was as it was.
            changed, _ = folding.fold_onto(key, copy.deepcopy(row), recorded)
        except Exception as problem:
            if not keys_fault(problem):
                raise
            return _Failed(recorded.stored, problem)
        return changed[0] if changed else None


def _still(parked: ParkedKey, failed: _Failed, advanced: bool) -> ParkedKey:
    """The key as it is parked now: at the event that fails, if its row has got there."""
    stored = failed.stored
    if advanced:
        parked = msgspec.structs.replace(
            parked, position=stored.position, stream=stored.stream, type=stored.type, attempts=0
        )
    at = "" if stored.position == parked.position else f"at position {stored.position} ({stored.type!r}): "
    said = f"{at}{said_of(failed.problem)}"
    return _unasked(msgspec.structs.replace(parked, error=said, attempts=parked.attempts + 1))


def _unasked(parked: ParkedKey) -> ParkedKey:
    return msgspec.structs.replace(parked, request="", request_id="", requested_by="", reason="", begun=0)


def _outcome(parked: ParkedKey, count: int, failed: _Failed | None) -> Operation:
    details: dict[str, object] = {"position": parked.position, "events": count, "done": failed is None}
    if failed is not None:
        details |= {"failed_at": failed.stored.position, "error": said_of(failed.problem)}
    return Operation(
        actor=parked.requested_by,
        operation=f"parked {parked.request}: {'done' if failed is None else 'failed'}",
        target=f"{parked.name} {parked.key}",
        reason=parked.reason,
        request=parked.request_id,
        details=details,
    )
