"""A crew: the projections of one read model in this process, one for each shard that it has in the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context

from refold.errors import RefoldError
from refold.folds.read_model import ReadModelDefinition
from refold.projections.projection import Projection
from refold.projections.resharding import Resharding, reshard_when_possible
from refold.projections.roster import Shift
from refold.projections.shards import Shard, shards_of
from refold.projections.sink import Sink, previous

__all__ = ["Crew"]

_log = logging.getLogger("refold.projections")


class Crew:
    """Runs a projection for each shard, whoever divides the read model anew. `new` makes one, `watched` runs it.

    The number of shards is the store's. Where the class declares another one, this process brings it there, once: of
    several releases that differ, the one that was started last decides.
    """

    def __init__(
        self,
        sink: Sink,
        definition: ReadModelDefinition,
        shift: Shift,
        new: Callable[[ReadModelDefinition, Shard, Callable[[], None]], Projection],
        watched: Callable[[Projection], Awaitable[None]],
        resharding: Resharding,
        lease: float,
    ) -> None:
        self.definition = definition
        self.of = 0
        self.projections: dict[str, Projection] = {}
        self._sink = sink
        self._shift = shift
        self._new = new
        self._watched = watched
        self._resharding = resharding
        self._lease = lease
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._divides = sink.divides(definition.name)
        self._wanted = asyncio.Event()
        self._own: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins with the shards that there are."""
        of = 1
        if self._divides:
            with contextlib.suppress(RefoldError):  # the store is away: it is looked at again
                of = await self._number()
        self._begin(of)
        if not self._divides:
            if self.definition.shards > 1:
                _log.info("read model %s has no shards where its rows are: it is kept whole", self.definition.name)
            return
        self._own.append(self._task(self._go_on(), "shards"))
        if self.definition.shards != of:
            divide = reshard_when_possible(self._resharding, self.definition.name, self._lease / 4)
            self._own.append(self._task(divide, "reshard"))

    def _task(self, what: Awaitable[None], name: str) -> asyncio.Task[None]:
        async def run() -> None:
            await what

        return asyncio.create_task(run(), name=f"refold-{self.definition.name}-{name}", context=Context())

    async def _number(self) -> int:
        """How many shards the rows of this definition have; 1 where there are none yet."""
        parts = await self._sink.shards(self.definition.name)
        if parts and parts[0].fingerprint != self.definition.fingerprint:
            kept = await self._sink.shards(previous(self.definition.name))
            if kept and kept[0].fingerprint == self.definition.fingerprint:
                parts = kept
        return max(1, len(parts))

    def _begin(self, of: int) -> None:
        self.of = of
        before = list(self.projections)
        self.projections = {}
        for shard in shards_of(of):
            self._run(shard)
        self._shift.serve(dict.fromkeys(self.projections, self.definition.fingerprint), before)

    def _run(self, shard: Shard) -> None:
        projection = self._new(self.definition, shard, self._wanted.set)
        self.projections[projection.name] = projection
        self._tasks[projection.name] = self._task(self._watched(projection), shard.checkpoint("it"))

    async def _go_on(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                of = await self._number()
                if of != self.of:
                    await self._end_all()
                    self._begin(of)
            except RefoldError as away:
                _log.debug("the shards of %s could not be looked at: %s", self.definition.name, away)

    async def _end_all(self) -> None:
        tasks = list(self._tasks.values())
        for projection in self.projections.values():
            await projection.stop()
        # One that hangs is fenced out already.
        _, hanging = await asyncio.wait(tasks, timeout=self._lease)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def give_up(self, name: str) -> None:
        """Ends a projection that hangs, and begins it anew: here, or where another process takes it over."""
        self._tasks[name].cancel()
        self._run(self.projections[name].shard)

    async def stop(self) -> None:
        """Ends all, in order."""
        for task in self._own:
            task.cancel()
        await asyncio.gather(*self._own, return_exceptions=True)
        for projection in self.projections.values():
            await projection.stop()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        self.projections = {}
