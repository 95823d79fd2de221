"""Handling a command: validate, load, decide, append; on a conflict again on the fresh state, a bounded number of
times.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any
from uuid import UUID

from refold import faults
from refold.commands.decision import Decider, Deciders
from refold.commands.envelope import Envelope
from refold.commands.live import LiveAggregate, LiveAggregates, Staged
from refold.commands.loading import Loader
from refold.commands.receipt import Receipt
from refold.commands.snapshots import SnapshotSaver
from refold.errors import AlreadyAppended, Conflict, FoldFailed, IdReused, Rejected, StateChanged
from refold.folds.aggregate import Aggregate, AggregateDefinition
from refold.messages.event import Command, Event
from refold.messages.event_types import EventTypes
from refold.messages.metadata import decode_metadata
from refold.messages.recorded import NewEvent
from refold.store.append import Append, StreamAppend, validate_stream_id
from refold.store.event_store import EventStore
from refold.tracing import NO_TRACING, Tracing

__all__ = ["CommandHandler"]

_log = logging.getLogger("refold.commands")
_ATTEMPTS = 40
"""How often a command is decided on fresh state before its `Conflict` is raised: each time another process was faster.
"""
_PAUSE = 0.001
"""Seconds; the longest pause before the third attempt, growing up to eight times that. Long pauses would only favour
the process that never has to make one.
"""


class CommandHandler:
    """Executes the commands of one app on one store."""

    def __init__(
        self,
        store: EventStore,
        definitions: dict[type[Aggregate], AggregateDefinition],
        types: EventTypes,
        live_aggregates: int,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self.tracing = tracing
        self._store = store
        self._types = types
        self.deciders = Deciders(definitions.values())
        self._loaders: dict[type[Aggregate], Loader[Any]] = {
            cls: Loader(store, definition, types) for cls, definition in definitions.items()
        }
        self._live = LiveAggregates(live_aggregates)
        self._executing: dict[tuple[UUID, str, type[Command]], asyncio.Future[Receipt]] = {}
        self.snapshots = SnapshotSaver(store)

    def loader(self, cls: type[Aggregate]) -> Loader[Any]:
        """The loader of an aggregate of this app. Raises `KeyError`."""
        return self._loaders[cls]

    def live(self, stream: str, cls: type[Aggregate]) -> LiveAggregate[Any]:
        """The live aggregate of a stream."""
        return self._live.of(stream, lambda: LiveAggregate(stream, self._loaders[cls]))

    async def execute(self, command: Command, envelope: Envelope, decider: Decider) -> Receipt:
        """The receipt of a validated command.

        Raises `Rejected`, `Conflict` after the last attempt, `IdReused` for an id that was another command's, and
        what `EventStore.append` raises.
        """
        stream = decider.stream_of(command)
        validate_stream_id(stream)
        if not envelope.given:
            return await self._execute(command, envelope, decider, stream)
        # Another command under the same id, by mistake, must not get this one's receipt.
        same = (envelope.id, stream, type(command))
        while (under_way := self._executing.get(same)) is not None:
            try:
                return await asyncio.shield(under_way)
            except asyncio.CancelledError:
                # Either this caller is cancelled, or the one that it joined, whose place it then takes.
                task = asyncio.current_task()
                if not under_way.cancelled() or (task is not None and task.cancelling()):
                    raise
        mine = self._executing[same] = asyncio.get_running_loop().create_future()
        mine.add_done_callback(_look_at)
        try:
            receipt = await self._execute(command, envelope, decider, stream)
        except BaseException as problem:
            if isinstance(problem, asyncio.CancelledError):
                mine.cancel()
            else:
                mine.set_exception(problem)
            raise
        else:
            mine.set_result(receipt)
            return receipt
        finally:
            del self._executing[same]

    async def dry_run(self, command: Command, decider: Decider) -> tuple[str, int, list[Event]]:
        """What a validated command would do on the state that its stream has now: stream, version, events."""
        stream = decider.stream_of(command)
        validate_stream_id(stream)
        loaded = await self._loaders[decider.definition.cls].load(stream)
        return stream, loaded.version, decider.decide(loaded.state, command)

    async def _execute(self, command: Command, envelope: Envelope, decider: Decider, stream: str) -> Receipt:
        name = type(command).__message_name__
        live = self.live(stream, decider.definition.cls)
        attempt = 0
        surely_fresh = False
        while True:
            await self._ready(live, surely_fresh)
            resting_on = live.last_staged
            if resting_on is not None and not live.can_run_ahead:
                await asyncio.shield(resting_on.settled)
                continue
            state, version = live.tip()
            try:
                events = decider.decide(state, command)
            except StateChanged:
                live.spoil()
                raise
            except Rejected:
                if resting_on is None and surely_fresh:
                    first = await self._first_receipt(envelope, stream, name)
                    if first is not None:
                        return first
                    raise
                # Refused on a state that may be outdated, or that rests on events which are not in the log yet: make
                # sure first.
                if resting_on is not None and await asyncio.shield(resting_on.settled):
                    first = await self._first_receipt(envelope, stream, name)
                    if first is not None:
                        return first
                    raise
                surely_fresh = True
                continue
            if not events:
                # On a stream that never rests, what it was decided on is proven only by the commit of what it rests on.
                if resting_on is not None and await asyncio.shield(resting_on.settled):
                    assert resting_on.result is not None
                    return await self._nothing_happened(envelope, stream, name, version, resting_on.result.last)
                if resting_on is None and surely_fresh:
                    return await self._nothing_happened(envelope, stream, name, version, live.confirmed.position)
                surely_fresh = True
                continue
            try:
                return await self._append(live, envelope, version, events, name, resting_on)
            except Conflict as conflict:
                attempt += 1
                # Not while others rest on it: then this conflict came late, and tells of a time before them.
                if conflict.actual < live.confirmed.version and not live.busy:
                    live.start_over()
                if attempt >= _ATTEMPTS:
                    raise
                if attempt > 1:
                    await asyncio.sleep(random.uniform(0, _PAUSE * min(attempt - 1, 8)))  # noqa: S311  # spreads retries, guards nothing

    async def _ready(self, live: LiveAggregate[Any], surely_fresh: bool) -> None:
        """Comes back when the live aggregate may be decided on; between that and staging nothing may be awaited."""
        if not (live.stale or surely_fresh or live.lock.locked()):
            return
        async with live.lock:
            if live.stale or (surely_fresh and live.last_staged is None):
                live.stale = True
                await live.refresh()
                self.snapshots.consider(live)

    async def _append(
        self,
        live: LiveAggregate[Any],
        envelope: Envelope,
        version: int,
        events: list[Event],
        name: str,
        resting_on: Staged | None,
    ) -> Receipt:
        prepared: list[NewEvent] = []
        as_read: list[Event] = []
        for event in events:
            new, read_back = self._types.prepare(event, metadata=envelope.metadata, occurred_at=envelope.occurred_at)
            prepared.append(new)
            as_read.append(read_back)
        append = Append(
            (StreamAppend(live.stream, version, tuple(prepared)),),
            envelope.id,
            rests_on=live.confirmed.last_append if resting_on is None else resting_on.append.id,
        )
        staged = live.stage(append)
        try:
            faults.at("command.before_append")
            with self.tracing.append(len(prepared)):
                result = await self._store.append(append)
            faults.at("command.after_append")
        except BaseException:
            live.fail(staged)
            raise
        if result.repeated:
            live.fail(staged)
            return await self._receipt_of(envelope.id, live.stream, name)
        try:
            live.confirm(staged, result)
        except FoldFailed as problem:
            # It is stored, and its caller must not be told otherwise. Whoever loads the stream next is told why.
            _log.exception("stream %s at version %d cannot be folded: %s", live.stream, version + len(events), problem)
            live.fail(staged)
            live.start_over()
        else:
            self.snapshots.consider(live)
        return Receipt(
            envelope.id, live.stream, result.versions[live.stream], result.last, result.recorded_at, tuple(as_read)
        )

    async def refuse_repetition(self, envelope: Envelope) -> None:
        """Raises `AlreadyAppended` when the caller gave the id and the log has its events."""
        if envelope.given and await self._store.find_append(envelope.id.bytes) is not None:
            raise AlreadyAppended(envelope.id)

    async def _first_receipt(self, envelope: Envelope, stream: str, name: str) -> Receipt | None:
        """The receipt of an earlier execution of this command, when its caller gave the id and the log has it."""
        if not envelope.given or await self._store.find_append(envelope.id.bytes) is None:
            return None
        return await self._receipt_of(envelope.id, stream, name)

    async def _receipt_of(self, command_id: UUID, stream: str, name: str) -> Receipt:
        whole = await self._store.read_append(command_id.bytes)
        recorded = [event for event in whole if event.stream == stream]
        first = decode_metadata(whole[0].metadata).command
        if not recorded or first != name:
            raise IdReused(
                f"command {name} for stream {stream!r}: its id {command_id} was given to {first or 'an append'} for "
                f"stream {whole[0].stream!r} before; nothing was stored, an id belongs to one command"
            )
        last = recorded[-1]
        return Receipt(
            command_id,
            stream,
            last.version,
            last.position,
            last.recorded_at,
            tuple(self._types.decode_event(event) for event in recorded),
        )

    async def _nothing_happened(
        self, envelope: Envelope, stream: str, name: str, version: int, position: int
    ) -> Receipt:
        first = await self._first_receipt(envelope, stream, name)
        if first is not None:
            return first
        head = await self._store.head()
        return Receipt(envelope.id, stream, version, position, head.recorded_at, ())


def _look_at(done: asyncio.Future[Receipt]) -> None:
    """Marks the exception as seen: most often nobody else waits for this command, and then it is no oversight."""
    if not done.cancelled():
        done.exception()
