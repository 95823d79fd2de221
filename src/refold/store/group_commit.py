"""Group commit: callers enqueue, and whatever waits is committed at once.

The latency of one commit is the window in which the next batch gathers; there is no timer. Each append has its own
result, so a conflict fails its own append and not its neighbours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final
from uuid import UUID

import msgspec

from refold.errors import OutcomeUnknown, Overloaded, RefoldError, StoreUnavailable
from refold.messages.event_types import DEFAULT_PAYLOAD_LIMIT
from refold.store.append import Append, AppendResult, validate_append
from refold.store.counts import CommitCounts

__all__ = ["AGAIN", "BeginBatch", "CommitBatch", "GroupCommit", "Limits", "Outcome"]


class _Again(Enum):
    AGAIN = "again"


AGAIN: Final = _Again.AGAIN
"""The outcome of an append that this batch could not judge: it goes to the front of the next one."""

Outcome = AppendResult | RefoldError | _Again
CommitBatch = Callable[[Sequence[Append]], Awaitable[Sequence[Outcome]]]
BeginBatch = Callable[[Sequence[Append], Callable[[Sequence[Outcome]], None]], bool]
"""Begins a commit without waiting for anything, and calls back with the outcomes; False: it cannot right now."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait and how much goes into one commit. Sizes are bytes of payload and metadata."""

    waiting_appends: int = 10_000
    waiting_bytes: int = 256 * 1_048_576
    batch_events: int = 1_000
    batch_bytes: int = 8 * 1_048_576
    payload: int = DEFAULT_PAYLOAD_LIMIT


_WORTH_OVERLAPPING = 16
"""So many appends must wait before a second commit is begun while one is under way: each has a cost of its own."""


class _Waiting(msgspec.Struct, eq=False):
    append: Append
    events: int
    bytes: int
    result: asyncio.Future[AppendResult]


class GroupCommit:
    """The queue before one store's writer. `commit` gets a batch and gives one outcome for each of its appends, in
    order; it is not called again before it is done.

    `begin` is asked first, when given, and spares a task for each batch. With `pipelined` a second batch is begun while
    the first is under way, so that the database commits one while the other is made ready; `commit` and `begin` then do
    the batches in the order in which they are called.
    """

    def __init__(
        self,
        commit: CommitBatch,
        limits: Limits,
        committed: Callable[[int], None],
        *,
        begin: BeginBatch | None = None,
        pipelined: bool = False,
        counts: CommitCounts | None = None,
    ) -> None:
        self._commit = commit
        self._begin = begin
        self._pipelined = pipelined
        self._counts = counts or CommitCounts()
        self._limits = limits
        self._committed = committed
        self._queue: deque[_Waiting] = deque()
        self._by_id: dict[UUID, _Waiting] = {}
        self._waiting = 0
        self._bytes = 0
        self._under_way = 0
        self._last_size = 0
        self._due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._idle: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """The number of appends that wait for their commit."""
        return self._waiting

    async def append(self, append: Append) -> AppendResult:
        """Enqueues an append and waits for its result. Raises what `EventStore.append` raises.

        A caller that is cancelled while its append waits takes it back; once the commit is under way, it will be
        stored.
        """
        events, size = validate_append(append, payload_limit=self._limits.payload)
        while (same := self._by_id.get(append.id)) is not None and not same.result.cancelled():
            try:
                first = await asyncio.shield(same.result)
                return msgspec.structs.replace(first, repeated=True)
            except asyncio.CancelledError:
                # Either this caller is cancelled, or the one that it joined, whose append it then makes its own.
                task = asyncio.current_task()
                if not same.result.cancelled() or (task is not None and task.cancelling()):
                    raise
        if self._closing:
            raise StoreUnavailable("the store is closed; nothing was stored")
        # One that is larger than the queue may be must not be refused for ever: it waits alone.
        if self._waiting >= self._limits.waiting_appends or (
            self._waiting and self._bytes + size > self._limits.waiting_bytes
        ):
            overloaded = Overloaded(
                f"{self._waiting:,} appends ({self._bytes:,} bytes) wait for their commit already; "
                "nothing was stored, try again after a moment"
            )
            self._counts.failure(overloaded)
            raise overloaded
        waiting = _Waiting(append, events, size, self._loop.create_future())
        self._queue.append(waiting)
        self._by_id[append.id] = waiting
        self._waiting += 1
        self._bytes += size
        self._counts.waiting = self._waiting
        if not self._due:
            if self._under_way == 0 and self._last_size == 1:
                self._go_on()  # a lone caller: nobody else will come in this turn of the loop
            elif self._may_go_on():
                self._soon()
        return await waiting.result

    async def close(self) -> None:
        """Commits what waits, then stops."""
        self._closing = True
        if self._queue or self._under_way:
            self._idle = self._idle or self._loop.create_future()
            await asyncio.shield(self._idle)

    def _soon(self) -> None:
        """Goes on once all callers who are awake had their turn: what they append then goes into one batch."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._go_on)

    def _may_go_on(self) -> bool:
        if self._under_way == 0:
            return bool(self._queue)
        return self._pipelined and self._under_way == 1 and len(self._queue) >= _WORTH_OVERLAPPING

    def _go_on(self) -> None:
        self._due = False
        while self._may_go_on():
            batch = self._take()
            if batch:
                self._start(batch)
        self._rest()

    def _rest(self) -> None:
        if self._idle is not None and not self._queue and not self._under_way and not self._idle.done():
            self._idle.set_result(None)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        events = size = 0
        most = len(self._queue)
        if self._pipelined and self._under_way == 0 and most >= 2 * _WORTH_OVERLAPPING:
            most = (most + 1) // 2
        while self._queue and len(batch) < most:
            first = self._queue[0]
            if first.result.cancelled():
                self._forget(self._queue.popleft())
                continue
            full = events + first.events > self._limits.batch_events or size + first.bytes > self._limits.batch_bytes
            if batch and full:
                break
            events += first.events
            size += first.bytes
            batch.append(self._queue.popleft())
        return batch

    def _start(self, batch: list[_Waiting]) -> None:
        self._under_way += 1
        self._last_size = len(batch)
        appends = [waiting.append for waiting in batch]
        try:
            if self._begin is not None and self._begin(appends, partial(self._settle, batch)):
                return
        except Exception as problem:  # noqa: BLE001  # whatever went wrong, every caller of the batch must be answered
            self._settle(batch, _all_failed(appends, problem))
            return
        task = self._loop.create_task(self._commit_and_settle(batch, appends), name="refold-commit")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _commit_and_settle(self, batch: list[_Waiting], appends: list[Append]) -> None:
        try:
            outcomes: Sequence[Outcome] = await self._commit(appends)
        except asyncio.CancelledError:
            self._settle(batch, [OutcomeUnknown(each.id, "the store was stopped meanwhile") for each in appends])
            raise
        except Exception as problem:  # noqa: BLE001  # whatever went wrong, every caller of the batch must be answered
            outcomes = _all_failed(appends, problem)
        self._settle(batch, outcomes)

    def _settle(self, batch: list[_Waiting], outcomes: Sequence[Outcome]) -> None:
        self._under_way -= 1
        if len(outcomes) != len(batch):
            outcomes = _all_failed([waiting.append for waiting in batch], ValueError(f"{len(outcomes)} outcomes"))
        self._counts.commit(outcomes)
        head = 0
        again: list[_Waiting] = []
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if outcome is AGAIN:
                again.append(waiting)
                continue
            self._forget(waiting)
            result = waiting.result
            if isinstance(outcome, AppendResult):
                head = max(head, outcome.last)
                if not result.done():  # otherwise its caller was cancelled meanwhile
                    result.set_result(outcome)
            elif not result.done():
                result.set_exception(outcome)
        self._queue.extendleft(reversed(again))
        if head:
            self._committed(head)
        if self._queue:
            self._soon()
        else:
            self._rest()

    def _forget(self, waiting: _Waiting) -> None:
        if self._by_id.get(waiting.append.id) is waiting:
            del self._by_id[waiting.append.id]
        self._waiting -= 1
        self._bytes -= waiting.bytes
        self._counts.waiting = self._waiting


def _all_failed(appends: Sequence[Append], problem: Exception) -> list[Outcome]:
    """A store's own error says what became of the batch; after any other nobody knows."""
    if isinstance(problem, RefoldError):
        return [problem] * len(appends)
    return [OutcomeUnknown(append.id, f"the commit failed: {problem!r}") for append in appends]
