"""All projections of one process: their tasks, their feed, and a watch over them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, cast

from refold.errors import ConfigurationError, LogRegression, ProjectionStopped, StaleRead, StoreUnavailable
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey, read_model_of
from refold.messages.event_types import EventTypes
from refold.projections.checkpoint import RUNNING, STOPPED, Checkpoint
from refold.projections.counts import FoldCounts
from refold.projections.crews import Crew
from refold.projections.feed import Feed
from refold.projections.handwritten import HAND_WRITTEN, HandWritten, HandWrittenProjection
from refold.projections.leases import Leases
from refold.projections.parking.operator import Operator, Waiting
from refold.projections.parking.records import Desk, Operation, ParkedKey
from refold.projections.projection import ORDERS_EVERY, Projection, check_history
from refold.projections.reads import Reads
from refold.projections.rebuild import RebuildProgress, Split, rebuild
from refold.projections.rebuild_orders import cancel_rebuild, pause_rebuild, resume_rebuild
from refold.projections.refolding import refold_row
from refold.projections.resharding import Resharding
from refold.projections.review.reviewing import Review
from refold.projections.roster import Shift, Worker
from refold.projections.routed import SECONDS_TO_ANSWER, RoutedSink, log_of
from refold.projections.shards import Shard, shards_of
from refold.projections.sink import InlineRows, Sink, previous
from refold.projections.watchdog import PATIENCE_SECONDS, Stalled, Watchdog, Watched
from refold.store.event_store import EventStore
from refold.tracing import NO_TRACING, Tracing

__all__ = ["Projections"]

_log = logging.getLogger("refold.projections")

_GIVEN_UP_LEASES = 20
"""For so many leases, what hangs here is left to other processes."""
_FIRST_LOOK = 0.002
_LONGEST_LOOK = 0.1


class Projections:
    """The read models of one context: kept current by this process when it is started, read in any case."""

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        definitions: Sequence[ReadModelDefinition],
        types: EventTypes,
        lease: float,
        declared: Sequence[HandWritten] = (),
        patience: float = PATIENCE_SECONDS,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._tracing = tracing
        self.sink = sink
        self.definitions = tuple(definitions)
        self._store = store
        self._types = types
        self._lease = lease
        self.counts: dict[str, FoldCounts] = {}
        self.watchdog = Watchdog(store, sink, self.running, patience)
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._crews: dict[str, Crew] = {}
        self.declared = tuple(declared)
        self._hand_written: dict[str, HandWrittenProjection] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._feed: Feed | None = None
        self._shift: Shift | None = None
        self._desk = Desk(sink.records, ORDERS_EVERY)
        self._leases = Leases(log_of(sink), lease, self._give_up_what_hangs)
        self._following: Sequence[ReadModelDefinition] = ()
        self.operator = Operator(store, sink, types, self._standing_by)
        self.reads = Reads(store, sink, types, self._crews.get)

    async def prepare(self) -> None:
        """Creates the tables that are missing, catches inline read models up, and makes the store change them from now
        on.
        """
        await self.sink.prepare()
        for definition in self.definitions:
            if not isinstance(self.sink, RoutedSink) or self.sink.external(definition.name) is None:
                await self.sink.register(definition, definition.name)
                continue
            try:
                async with asyncio.timeout(SECONDS_TO_ANSWER):
                    await self.sink.register(definition, definition.name)
            except (StoreUnavailable, ConfigurationError, TimeoutError) as problem:
                # Commands and all other read models go on; its projection tries again.
                why = str(problem) or "it does not answer"
                _log.warning("read model %s waits for its store: %s", definition.name, why)
        inline = [definition for definition in self.definitions if definition.inline]
        if not inline:
            return
        if not hasattr(self.sink, "install"):
            raise ConfigurationError(f"this kind of store has no inline read models ({inline[0].cls.__qualname__})")
        for definition in inline:
            try:
                await self._catch_up(definition)
            except (LogRegression, ProjectionStopped) as problem:
                # Its appends are refused until it is rebuilt, which needs this context; all else can be done.
                await self._refuse_appends(definition, problem)
        cast("InlineRows", self.sink).install(inline, self._types.decode)

    async def _catch_up(self, definition: ReadModelDefinition) -> None:
        """Brings an inline read model to the head. What is appended meanwhile by others is folded by the append that
        follows.
        """
        checkpoint = await self.sink.checkpoint(definition.name)
        head = await self._store.head()
        if checkpoint is None or checkpoint.fingerprint != definition.fingerprint:
            return  # refused by each append until it is rebuilt
        await check_history(self._store, checkpoint)
        if checkpoint.position >= head.position:
            return
        async with self._standing_by(definition) as projection:
            while projection.applied.position < head.position:
                if projection.status != RUNNING:
                    raise ProjectionStopped(f"inline read model {definition.name!r} stopped: {projection.error}")
                if not projection.owns:
                    now = await self.sink.checkpoint(definition.name)
                    if now is not None and now.position >= head.position:
                        break
                await projection.applied.wait_beyond(projection.applied.position, 0.1)

    @asynccontextmanager
    async def _standing_by(
        self, definition: ReadModelDefinition, key: RowKey | None = None
    ) -> AsyncIterator[Projection]:
        """The projection of this process that has a key (or: any), or, for the time of the block, one that takes over
        when nobody owns it.
        """
        for local in self.here(definition.name):
            if key is None or local.shard.has(key):
                yield local
                return
        parts = shards_of(max(1, len(await self.sink.shards(definition.name))))
        shard = next(each for each in parts if key is None or each.has(key))
        feed = Feed(self._store, self._types, definition.evolves)
        projection = Projection(self._store, self.sink, feed, definition, self.owner, self._lease, shard=shard)
        task = asyncio.create_task(self._watched(projection))
        try:
            yield projection
        finally:
            await projection.stop()
            await task
            await feed.close()

    async def _refuse_appends(self, definition: ReadModelDefinition, problem: Exception) -> None:
        _log.error("inline read model %s stopped, so nothing can be appended: %s", definition.name, problem)
        checkpoint = await self.sink.checkpoint(definition.name)
        if checkpoint is not None:
            await self.sink.mark(definition.name, checkpoint.epoch, STOPPED, str(problem))

    async def start(self, only: Sequence[ReadModelDefinition] | None = None) -> None:
        """Follows the log in the background, for all read models that are not inline (or for these)."""
        self._following = [each for each in (self.definitions if only is None else only) if not each.inline]
        declared = self.declared if only is None else ()
        if not self._following and not declared:
            return
        wanted = {event for definition in self._following for event in definition.evolves}
        for each in declared:
            wanted |= {event for event in self._types if not each.events or event.__message_name__ in each.events}
        self._feed = Feed(self._store, self._types, wanted)
        self._shift = Shift(self.sink.roster, Worker(owner=self.owner, serves={}), self._lease)
        self._shift.serve({each.name: HAND_WRITTEN for each in declared})
        for definition in self._following:
            resharding = Resharding(self._store, self.sink, definition, self._types, self.owner, self._lease)
            crew = Crew(self.sink, definition, self._shift, self._projection, self._watched, resharding, self._lease)
            self._crews[definition.name] = crew
            await crew.start()
        await self._shift.begin()
        self._leases.start()
        self.watchdog.start()
        for each in declared:
            self._write_by_hand(each)

    def _projection(self, definition: ReadModelDefinition, shard: Shard, regroup: Callable[[], None]) -> Projection:
        assert self._feed is not None
        return Projection(
            self._store,
            self.sink,
            self._feed,
            definition,
            self.owner,
            self._lease,
            self._rebuilt,
            self._shift,
            self._desk,
            self.counts.setdefault(shard.checkpoint(definition.name), FoldCounts()),
            self._tracing,
            self._leases,
            shard,
            regroup,
        )

    def _write_by_hand(self, declared: HandWritten) -> None:
        assert self._feed is not None
        assert self._shift is not None
        one = HandWrittenProjection(
            self._store,
            log_of(self.sink),
            self._feed,
            self._types,
            declared,
            self.owner,
            self._lease,
            self._shift,
            self._desk,
            self.counts.setdefault(declared.name, FoldCounts()),
            self._leases,
        )
        self._hand_written[declared.name] = one
        name = f"refold-{declared.name}"
        self._tasks[declared.name] = asyncio.create_task(self._watched(one), name=name, context=Context())

    def _give_up_what_hangs(self) -> None:
        """Lets what makes no progress here go to another process: its lease is not kept, and it is not its turn here.
        Without another, it begins anew here.
        """
        running = self.running()
        for stalled in self.watchdog.hanging():
            projection = running.get(stalled.name)
            # One that fails is tried again, and stops by itself.
            if projection is None or not projection.owns or projection.error or self._shift is None:
                continue
            _log.error("read model %s is given up by this process: %s", stalled.name, stalled.why)
            self._shift.give_up(stalled.name, _GIVEN_UP_LEASES * self._lease)
            self._leases.forget(stalled.name)
            self.watchdog.forget(stalled.name)
            if stalled.name in self._hand_written:
                self._tasks[stalled.name].cancel()
                self._write_by_hand(self._hand_written[stalled.name].declared)
            else:
                next(crew for crew in self._crews.values() if stalled.name in crew.projections).give_up(stalled.name)

    async def _rebuilt(self, definition: ReadModelDefinition) -> int:
        return await self.rebuild(definition, keep=True)

    async def _watched(self, projection: Projection | HandWrittenProjection) -> None:
        """Runs a projection, and again should it ever end by an error: none may stop in silence."""
        while True:
            try:
                await projection.run()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody cancelled this task: a fold of the user's raised it.
                _log.exception("the task of a projection was ended by its own code; starting it again")
                await asyncio.sleep(1)
            except Exception:  # noqa: BLE001  # whatever it was, it is logged, and the projection begins again
                _log.exception("the task of a projection ended; starting it again")
                await asyncio.sleep(1)
            else:
                return

    async def stop(self) -> None:
        """Stops following, and gives the leases back."""
        await self.watchdog.stop()
        if self._shift is not None:
            await self._shift.end()
        for projection in self._hand_written.values():
            await projection.stop()
        await asyncio.gather(
            *(crew.stop() for crew in self._crews.values()), *self._tasks.values(), return_exceptions=True
        )
        await self._leases.stop()
        self._tasks.clear()
        self._crews.clear()
        self._hand_written.clear()
        if self._feed is not None:
            await self._feed.close()
            self._feed = None

    def local(self, name: str) -> Projection | None:
        """The projection of that checkpoint's name, if this process runs it."""
        return next((each for each in self.here(name.partition(":")[0]) if each.name == name), None)

    def here(self, name: str) -> list[Projection]:
        """The projections of a read model that this process runs: one for each of its shards; none if it runs none."""
        crew = self._crews.get(name)
        return [] if crew is None else list(crew.projections.values())

    async def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints that the store knows, those of other apps included."""
        return await self.sink.checkpoints()

    async def rebuild(
        self,
        definition: ReadModelDefinition,
        progress: Callable[[RebuildProgress], None] | None = None,
        *,
        resume: bool = True,
        keep: bool = False,
        split: Split | None = None,
        review: Review | None = None,
    ) -> int:
        """Folds a read model anew, beside the one that is read; see `refold.projections.rebuild`."""
        with self._tracing.rebuild(definition.name):
            position = await rebuild(
                self._store,
                self.sink,
                definition,
                self._types,
                f"{self.owner}:rebuild:{secrets.token_hex(3)}",
                progress,
                self._lease,
                resume=resume,
                keep=keep,
                split=split,
                review=review,
                tracing=self._tracing,
            )
        if review is None or not review.dry_run:
            await self._look_again(definition)
        return position

    async def pause_rebuild(self, read_model: type[ReadModel], *, actor: str, reason: str = "") -> bool:
        """Lets a rebuild stand still, whatever process it is in, until it is resumed, also when it is killed and begun
        again. False: it is paused already. Raises `ProjectionStopped` when there is none.
        """
        return await pause_rebuild(self.sink, read_model_of(read_model), actor=actor, reason=reason)

    async def resume_rebuild(self, read_model: type[ReadModel], *, actor: str, reason: str = "") -> bool:
        """Lets a paused rebuild go on. False: it is not paused."""
        return await resume_rebuild(self.sink, read_model_of(read_model), actor=actor, reason=reason)

    async def cancel_rebuild(self, read_model: type[ReadModel], *, actor: str, reason: str = "") -> bool:
        """Ends a rebuild, whatever process it is in, and one that was killed; nothing of it is left. False: there is
        none.
        """
        return await cancel_rebuild(self.sink, read_model_of(read_model), actor=actor, reason=reason)

    async def _look_again(self, definition: ReadModelDefinition) -> None:
        for local in self.here(definition.name):
            local.look()
        if definition.inline and hasattr(self.sink, "install"):
            await self._catch_up(definition)

    async def rollback(self, definition: ReadModelDefinition) -> Checkpoint:
        """Puts the version that was read before in the place of the one that is read, in one step; gives its
        checkpoint. Done twice, all is as before.

        Raises `ProjectionStopped` when there is none. Of an inline read model, what was appended since is folded first,
        when its definition is still this one; otherwise appends are refused until a process of the old code connects.
        """
        if not await self.sink.exchange(definition):
            raise ProjectionStopped(
                f"read model {definition.name!r} has no previous version where its rows are: it was never rebuilt "
                "there (when it moved between stores, its earlier rows stayed behind: to go back, set the former sink "
                "and rebuild), or that was dropped"
            )
        now = await self.sink.checkpoint(definition.name)
        assert now is not None
        await self.sink.choose(definition.name, now.fingerprint, {})
        await self._look_again(definition)
        return now

    async def drop_previous(self, definition: ReadModelDefinition) -> bool:
        """Drops the version that is kept for a rollback. False: there is none."""
        there = await self.sink.checkpoint(previous(definition.name)) is not None
        await self.sink.drop(previous(definition.name))
        return there

    async def refold(self, definition: ReadModelDefinition, key: RowKey) -> ReadModel | None:
        """Folds one row anew; see `refold.projections.refolding`."""
        return await refold_row(self._store, self.sink, definition, self._types, key, self._lease)

    async def parked(self, read_model: type[ReadModel] | None = None) -> list[ParkedKey]:
        """The rows that wait, of one read model or of all, in the order of the events that failed."""
        return await self.operator.parked("" if read_model is None else read_model_of(read_model).name)

    async def waiting(self, read_model: type[ReadModel], key: object, *, limit: int = 100) -> Waiting:
        """Why a row waits, and the events that do; the one that failed is the first. Raises `InvalidQuery` when it does
        not wait.
        """
        return await self.operator.waiting(read_model_of(read_model), key, limit)

    async def retry(
        self, read_model: type[ReadModel], key: object, *, actor: str, reason: str = "", timeout: float = 30.0
    ) -> Operation:
        """Folds the event that failed, and all that wait behind it, onto a parked row: in order, each once.

        The owner of the projection does it, in one step with the checkpoint; `details["done"]` says whether the row
        goes on. Raises `InvalidQuery`, `Refused`, `ProjectionStopped`.
        """
        return await self.operator.ask(
            read_model_of(read_model), key, "retry", actor=actor, reason=reason, timeout=timeout
        )

    async def release(
        self, read_model: type[ReadModel], key: object, *, actor: str, reason: str = "", timeout: float = 30.0
    ) -> Operation:
        """Folds a parked row anew from the log's beginning, and lets it go on; otherwise as `retry`."""
        return await self.operator.ask(
            read_model_of(read_model), key, "release", actor=actor, reason=reason, timeout=timeout
        )

    async def skip(
        self, read_model: type[ReadModel], key: object, *, actor: str, reason: str, timeout: float = 30.0
    ) -> Operation:
        """Leaves the event that failed out of a parked row, for as long as the read model has this definition, and
        folds what waits behind it; otherwise as `retry`.
        """
        return await self.operator.ask(
            read_model_of(read_model), key, "skip", actor=actor, reason=reason, timeout=timeout
        )

    async def pause(self, read_model: type[ReadModel] | str, *, actor: str, reason: str = "") -> bool:
        """Lets a read model, or a hand-written projection by its name, stand still, for all processes, until it is
        resumed. False: it is paused already.

        Raises `ConfigurationError` for an inline one, and for a name that no hand-written projection has.
        """
        return await self.operator.pause(self._followed(read_model), actor=actor, reason=reason)

    async def resume(self, read_model: type[ReadModel] | str, *, actor: str, reason: str = "") -> bool:
        """Lets one go on that is paused or has stopped: what failed is tried again. False: it is neither."""
        return await self.operator.resume(self._followed(read_model), actor=actor, reason=reason)

    def _followed(self, given: type[ReadModel] | str) -> ReadModelDefinition | HandWritten:
        return self._hand_written_named(given) if isinstance(given, str) else read_model_of(given)

    def _hand_written_named(self, name: str) -> HandWritten:
        for each in self.declared:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.declared) or "none"
        raise ConfigurationError(f"there is no hand-written projection {name!r}; there are: {known}")

    async def operations(self, *, before: int = 0, limit: int = 100) -> list[Operation]:
        """What operators did, newest first; with a number below `before` (0: from the end)."""
        return await self.operator.operations(before=before, limit=limit)

    async def record_operation(
        self, operation: str, target: str, *, actor: str, reason: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Adds to the log of operations what was done by other means."""
        await self.operator.record(operation, target, actor=actor, reason=reason, details=details)

    async def reached(self, name: str, position: int, timeout: float) -> None:
        """Returns when a hand-written projection has seen a position. Raises `StaleRead`, `ConfigurationError`."""
        self._hand_written_named(name)
        began, pause = time.monotonic(), _FIRST_LOOK
        while True:
            checkpoint = await self.sink.checkpoint(name)
            at = 0 if checkpoint is None else checkpoint.position
            if at >= position:
                return
            spent = time.monotonic() - began
            here = self._hand_written.get(name)
            # What was stopped earlier is begun again by this process.
            begins = here is not None and here.status == RUNNING
            stopped = checkpoint is not None and checkpoint.status == STOPPED and not begins
            if stopped or spent >= timeout:
                raise StaleRead(name, position, at, spent, "" if checkpoint is None else checkpoint.error)
            await asyncio.sleep(min(pause, timeout - spent))
            pause = min(2 * pause, _LONGEST_LOOK)

    def running(self) -> dict[str, Watched]:
        """Those of this process, by the names of their checkpoints."""
        found: dict[str, Watched] = dict(self._hand_written)
        for crew in list(self._crews.values()):
            found |= crew.projections
        return found

    def stalled(self) -> list[Stalled]:
        """Those that this process should move and that make no progress, whatever their state says."""
        return self.watchdog.stalled()
