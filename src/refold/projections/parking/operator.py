"""What an operator can do with projections: look at parked keys, have them dealt with, pause and resume. All of it is
kept in the log of operations.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import msgspec

from refold.errors import ConfigurationError, InvalidQuery, ProjectionStopped, Refused
from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import StoredEvent
from refold.projections.checkpoint import STOPPED
from refold.projections.handwritten import HandWritten
from refold.projections.parking.records import (
    Begin,
    Forget,
    Logged,
    Operation,
    ParkedKey,
    Pause,
    ProjectionRecords,
    Request,
    RequestKind,
    Resume,
    as_text,
)
from refold.projections.parking.waiting import events_of_key
from refold.projections.projection import Projection, paused_in_words
from refold.projections.shards import shard_of
from refold.projections.sink import Sink, read_model_of_table, refuse_other
from refold.store.event_store import EventStore

__all__ = ["Operator", "Waiting"]

_LOOK = 0.05


class Waiting(msgspec.Struct, frozen=True):
    """A parked key, the events that wait (the one that failed is the first), and whether there are more of them."""

    parked: ParkedKey
    events: list[StoredEvent]
    more: bool


class Operator:
    """Deals with the projections of one context. `standing_by` gives a projection that takes over if nobody owns it."""

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        types: EventTypes,
        standing_by: Callable[[ReadModelDefinition, RowKey], AbstractAsyncContextManager[Projection]],
    ) -> None:
        self._store = store
        self._sink = sink
        self._types = types
        self._standing_by = standing_by

    @property
    def _records(self) -> ProjectionRecords:
        return self._sink.records

    async def parked(self, read_model: str = "") -> list[ParkedKey]:
        """The parked keys of one read model, or of all, in the order of their positions."""
        return [each for each in await self._records.parked() if read_model in ("", read_model_of_table(each.name))]

    async def waiting(self, definition: ReadModelDefinition, key: object, limit: int) -> Waiting:
        """What waits behind a parked key. Raises `InvalidQuery` when it is not parked."""
        row_key, parked = await self._found(definition, key)
        parts = await self._sink.shards(parked.name)
        upto = next((each.position for each in parts if shard_of(each.name).has(row_key)), 0)
        found: list[StoredEvent] = []
        pages = events_of_key(self._store, self._types, definition, row_key, parked.position - 1, upto)
        async with aclosing(pages) as each_page:
            async for page in each_page:
                found += [each.stored for each in page.events]
                if len(found) > limit:
                    break
        return Waiting(parked, found[:limit], len(found) > limit)

    async def ask(
        self,
        definition: ReadModelDefinition,
        key: object,
        kind: RequestKind,
        *,
        actor: str,
        reason: str,
        timeout: float,
    ) -> Operation:
        """Has the owner of a projection deal with a parked key, and gives what came of it: `details["done"]` says
        whether the row goes on.

        What was asked is kept until it is done, also when this process dies. Raises `InvalidQuery` when the key is not
        parked, `Refused` when something else is asked already, `ProjectionStopped` when nobody can do it in time.
        """
        if kind == "skip" and not reason.strip():
            raise InvalidQuery("an event is skipped for a reason; give one")
        row_key, parked = await self._found(definition, key)
        refuse_other(definition, await self._sink.checkpoint(parked.name))
        await self._refuse_paused(definition.name)
        request_id = await self._asked(parked, as_text(row_key), kind, actor, reason)
        deadline = time.monotonic() + timeout
        async with self._standing_by(definition, row_key) as projection:
            projection.look()
            while True:
                for operation in await self._records.operations(request=request_id):
                    if "done" in operation.details:
                        return operation
                if time.monotonic() >= deadline:
                    break
                await projection.applied.wait_beyond(projection.applied.position, _LOOK)
        raise ProjectionStopped(
            f"{kind} of {definition.name} {parked.key} was not done in {timeout:g} s"
            f"{': ' + projection.error if projection.error else ''}; it is kept, and done by the next owner"
        )

    async def _asked(self, parked: ParkedKey, key: str, kind: RequestKind, actor: str, reason: str) -> str:
        request_id = secrets.token_hex(8)
        asked = Operation(
            actor=actor,
            operation=f"parked {kind}: asked",
            target=f"{parked.name} {key}",
            reason=reason,
            request=request_id,
            details={"position": parked.position},
        )
        request = Request(parked.name, key, kind, request_id, actor, reason)
        if await self._records.apply([request, Logged(asked)]):
            return request_id
        for now in await self._records.parked(parked.name):
            if now.key == key and now.request == kind:
                return now.request_id  # asked before, by a command that did not wait for its end
            if now.key == key and now.request:
                raise Refused(f"{now.request} of {parked.name} {key} was asked by {now.requested_by}; wait for its end")
        raise InvalidQuery(f"{parked.name} {key} is not parked any more; see `refold parked list`")

    async def _found(self, definition: ReadModelDefinition, key: object) -> tuple[RowKey, ParkedKey]:
        try:
            row_key = definition.as_key(key)
        except Exception as problem:
            raise InvalidQuery(f"{key!r} cannot be a key of {definition.cls.__qualname__}: {problem}") from problem
        text = as_text(row_key)
        for parked in await self.parked(definition.name):
            # The version that is read, and not one that is built or kept.
            if parked.key == text and parked.name.partition(":")[0] == definition.name:
                return row_key, parked
        raise InvalidQuery(f"{definition.name} {text} is not parked; see `refold parked list`")

    async def pause_of(self, read_model: str) -> Pause | None:
        """The pause of a read model, if it is paused."""
        return next((pause for pause in await self._records.pauses() if pause.name == read_model), None)

    async def _refuse_paused(self, read_model: str) -> None:
        pause = await self.pause_of(read_model)
        if pause is not None:
            raise ProjectionStopped(f"read model {read_model!r} is {paused_in_words(pause)}")

    async def pause(self, definition: ReadModelDefinition | HandWritten, *, actor: str, reason: str) -> bool:
        """Lets a read model or a hand-written projection stand still, for all processes, until it is resumed. False: it
        is paused already.

        Raises `ConfigurationError` for an inline one.
        """
        if isinstance(definition, ReadModelDefinition) and definition.inline:
            raise ConfigurationError(
                f"{definition.name} is inline: it changes with each append, and cannot be paused on its own"
            )
        done = Operation(actor=actor, operation="pause", target=definition.name, reason=reason)
        return await self._records.apply([Begin(Pause(name=definition.name, actor=actor, reason=reason)), Logged(done)])

    async def resume(self, definition: ReadModelDefinition | HandWritten, *, actor: str, reason: str) -> bool:
        """Lets one go on that is paused, or that has stopped: what it could not fold is tried again, also what
        killed its worker. False: it is neither.
        """
        name = definition.name
        done = Logged(Operation(actor=actor, operation="resume", target=name, reason=reason))
        parts = await self._sink.shards(name)
        attempts = {each.name: each for each in await self._records.attempts()}
        forgotten = [Forget(each.name) for each in parts] or [Forget(name)]
        resumed = await self._records.apply([Resume(name), *forgotten, done])
        # Whoever has just taken it over has not marked it as stopped again.
        stopped = [
            each
            for each in parts
            if each.status == STOPPED or (each.name in attempts and attempts[each.name].first > each.position)
        ]
        if stopped and not resumed:
            await self._records.apply([*forgotten, done])
        for each in stopped:
            # Whoever stands still there sees that it is his no more, and begins anew.
            taken = await self._sink.claim(each.name, f"resume:{actor}", 0.0, force=True)
            if taken is not None:
                await self._sink.release(each.name, taken.epoch)
        return resumed or bool(stopped)

    async def operations(self, *, before: int = 0, limit: int = 100) -> list[Operation]:
        """The log of operations, newest first; those with a number below `before` (0: from the end)."""
        return await self._records.operations(before=before, limit=limit)

    async def record(
        self, operation: str, target: str, *, actor: str, reason: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Adds to the log of operations what was done by other means: a rebuild, an import, a migration."""
        done = Operation(actor=actor, operation=operation, target=target, reason=reason, details=details or {})
        await self._records.apply([Logged(done)])
