"""Resharding: a read model gets another number of shards while it is followed, and loses or doubles nothing.

The shards that are there are taken over, so that nobody moves them; those whose rows come together are brought to the
same position; then the new ones take their place in one transaction. Killed before it, all is as it was as soon as the
leases are over; killed after it, all is done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from refold import faults
from refold.errors import RefoldError
from refold.folds.read_model import ReadModelDefinition
from refold.messages.event_types import EventTypes
from refold.projections.checkpoint import RUNNING, Checkpoint
from refold.projections.feed import decoded
from refold.projections.folding import Folding, LostOwnership
from refold.projections.parking.care import Care
from refold.projections.parking.gate import open_gate
from refold.projections.shards import origins, shard_of, shards_of
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["CLOSE", "Resharding", "reshard_when_possible"]

_log = logging.getLogger("refold.projections")

CLOSE = 10_000
"""How many events the shards whose rows come together may be apart: what is left is folded while they all stand."""
_PAGE = 2_000


class Resharding:
    """Brings a read model to the number of shards that its class declares."""

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        definition: ReadModelDefinition,
        types: EventTypes,
        owner: str,
        lease: float,
    ) -> None:
        self._store = store
        self._sink = sink
        self._definition = definition
        self._types = types
        self._owner = f"{owner}:reshard"
        self._lease = lease
        self._wanted = frozenset(event.__message_name__ for event in definition.evolves)
        self._claimed: dict[str, Checkpoint] = {}
        self._renewed = 0.0

    async def done(self) -> bool:
        """Whether it has that number now; tries once to bring it there. Raises what a fold raises, `StoreError`."""
        name, of = self._definition.name, self._definition.shards
        parts = await self._sink.shards(name)
        if len(parts) == of:
            return True
        if not parts or parts[0].fingerprint != self._definition.fingerprint or not await self._can_begin(parts):
            return False
        done = False
        try:
            if not await self._taken_over(parts):
                return False
            faults.at("shards.taken_over")
            for group in self._groups(list(self._claimed.values())):
                await self._bring_up(group)
            faults.at("shards.brought_up")
            epochs = {each.name: each.epoch for each in self._claimed.values()}
            done = await self._sink.reshard(name, of, epochs)
            faults.at("shards.committed")
        except LostOwnership:
            return False
        finally:
            if not done:
                for each in self._claimed.values():
                    await self._sink.release(each.name, each.epoch)
            self._claimed.clear()
        if done:
            _log.info("read model %s has %d shards now; it had %d", name, of, len(parts))
        return done

    async def _can_begin(self, parts: Sequence[Checkpoint]) -> bool:
        """Whether those whose rows come together are near to each other, and nothing stands in the way of one."""
        groups = self._groups(parts)
        if all(len({each.position for each in group}) == 1 for group in groups):
            return True
        # A shard that fails, or that an operator holds up, has to be mended first: its rows cannot be brought up.
        paused = {each.name for each in await self._sink.records.pauses()}
        failing = {each.name for each in await self._sink.records.attempts() if each.failed or each.begun}
        if self._definition.name in paused or any(each.status != RUNNING or each.name in failing for each in parts):
            return False
        spread = [max(each.position for each in group) - min(each.position for each in group) for group in groups]
        return max(spread) <= CLOSE

    def _groups(self, parts: Sequence[Checkpoint]) -> list[list[Checkpoint]]:
        """The shards whose rows come together, and so must have seen the same position."""
        by_shard = {shard_of(each.name): each for each in parts}
        groups = {tuple(origins(new, len(parts))) for new in shards_of(self._definition.shards)}
        return [[by_shard[shard] for shard in group] for group in groups]

    async def _taken_over(self, parts: Sequence[Checkpoint]) -> bool:
        self._renewed = time.monotonic()
        for each in parts:
            claimed = await self._sink.claim(each.name, self._owner, self._lease, force=True)
            if claimed is None:
                return False
            self._claimed[each.name] = claimed
        return True

    async def _bring_up(self, group: Sequence[Checkpoint]) -> None:
        until = max(each.position for each in group)
        for each in group:
            if each.position < until:
                await self._fold(each, until)

    async def _fold(self, checkpoint: Checkpoint, until: int) -> None:
        name = self._definition.name
        gate = await open_gate(self._sink.records, self._definition, name)
        shard = shard_of(checkpoint.name)
        folding = Folding(self._sink, self._definition, name, checkpoint, self._renew, gate, shard=shard)
        # As after a death: what would kill this process is written down before it is tried.
        care = Care(self._sink.records, self._definition, self._owner, asyncio.Lock())
        await care.begin(checkpoint, True, until)
        while folding.position < until:
            page = await self._store.read_log(after=folding.position, limit=min(_PAGE, until - folding.position))
            batch = decoded(folding.position, page.head, page.events, self._types, self._wanted)
            await care.take(folding, batch)
            if batch.unreadable is not None:
                raise batch.unreadable
            await self._renew()
        if folding.position > folding.written:
            await folding.write()
        await care.healed(folding.position)

    async def _renew(self) -> None:
        now = time.monotonic()
        if now - self._renewed < self._lease / 3:
            return
        self._renewed = now
        for each in self._claimed.values():
            if not await self._sink.renew(each.name, each.epoch, self._lease):
                raise LostOwnership(each.name)


async def reshard_when_possible(resharding: Resharding, name: str, seconds: float) -> None:
    """Tries until it is done."""
    said = ""
    while True:
        try:
            if await resharding.done():
                return
        except RefoldError as problem:
            if said != str(problem):
                said = str(problem)
                _log.warning("read model %s keeps its shards for now: %s", name, problem)
        except Exception as problem:  # noqa: BLE001  # whatever a fold of the user's raises, its shard deals with it
            if said != repr(problem):
                said = repr(problem)
                _log.warning("read model %s keeps its shards for now: %r", name, problem)
        await asyncio.sleep(seconds)
