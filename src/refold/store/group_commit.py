"""Group commit: callers enqueue, one writer takes whatever waits and commits it all at once.

The latency of one commit is the window in which the next batch gathers; there is no timer. Each append has its own
result, so a conflict fails its own append and not its neighbours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Final
from uuid import UUID

import msgspec

from refold.errors import Overloaded, RefoldError, StoreUnavailable
from refold.store.append import Append, AppendResult, validate_append

__all__ = ["AGAIN", "CommitBatch", "GroupCommit", "Limits", "Outcome"]


class _Again(Enum):
    AGAIN = "again"


AGAIN: Final = _Again.AGAIN
"""The outcome of an append that this batch could not judge: it goes to the front of the next one."""

Outcome = AppendResult | RefoldError | _Again
CommitBatch = Callable[[Sequence[Append]], Awaitable[Sequence[Outcome]]]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait and how much goes into one commit. Sizes are bytes of payload and metadata."""

    waiting_appends: int = 10_000
    waiting_bytes: int = 256 * 1_048_576
    batch_events: int = 1_000
    batch_bytes: int = 8 * 1_048_576
    payload: int = 8 * 1_048_576


class _Waiting(msgspec.Struct, eq=False):
    append: Append
    events: int
    bytes: int
    result: asyncio.Future[AppendResult]


class GroupCommit:
    """The queue before one store's writer. `commit` gets a batch and gives one outcome for each of its appends, in
    order.
    """

    def __init__(self, commit: CommitBatch, limits: Limits, committed: Callable[[int], None]) -> None:
        self._commit = commit
        self._limits = limits
        self._committed = committed
        self._queue: deque[_Waiting] = deque()
        self._by_id: dict[UUID, _Waiting] = {}
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="refold-group-commit")

    @property
    def waiting(self) -> int:
        """The number of appends that wait for their commit."""
        return len(self._by_id)

    async def append(self, append: Append) -> AppendResult:
        """Enqueues an append and waits for its result. Raises what `EventStore.append` raises.

        A caller that is cancelled while its append waits takes it back; once the commit is under way, it will be
        stored.
        """
        validate_append(append, payload_limit=self._limits.payload)
        if self._closing:
            raise StoreUnavailable("the store is closed; nothing was stored")
        under_way = self._by_id.get(append.id)
        if under_way is not None:
            return await asyncio.shield(under_way.result)
        size = append.bytes
        if (
            len(self._by_id) >= self._limits.waiting_appends
            or self._bytes + size > self._limits.waiting_bytes + self._limits.payload
        ):
            raise Overloaded(
                f"{len(self._by_id):,} appends ({self._bytes:,} bytes) wait for their commit already; "
                "nothing was stored, try again after a moment"
            )
        waiting = _Waiting(append, append.size, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._by_id[append.id] = waiting
        self._bytes += size
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        return await waiting.result

    async def close(self) -> None:
        """Commits what waits, then stops."""
        self._closing = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        await self._task

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                continue
            batch = self._take()
            if batch:
                await self._settle(batch)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        events = size = 0
        while self._queue:
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

    async def _settle(self, batch: list[_Waiting]) -> None:
        try:
            outcomes: Sequence[Outcome] = await self._commit([waiting.append for waiting in batch])
        except asyncio.CancelledError:
            for waiting in batch:
                self._answer(waiting, StoreUnavailable("the store was stopped while it committed"))
            raise
        except Exception as problem:  # noqa: BLE001  # whatever went wrong, every caller of the batch must be answered
            failure = (
                problem if isinstance(problem, RefoldError) else StoreUnavailable(f"the commit failed: {problem!r}")
            )
            outcomes = [failure] * len(batch)
        head = 0
        again: list[_Waiting] = []
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if outcome is AGAIN:
                again.append(waiting)
                continue
            if isinstance(outcome, AppendResult):
                head = max(head, outcome.last)
            self._answer(waiting, outcome)
        self._queue.extendleft(reversed(again))
        if head:
            self._committed(head)

    def _answer(self, waiting: _Waiting, outcome: Outcome) -> None:
        self._forget(waiting)
        if waiting.result.done():  # its caller was cancelled meanwhile
            return
        if isinstance(outcome, AppendResult):
            waiting.result.set_result(outcome)
        elif isinstance(outcome, RefoldError):
            waiting.result.set_exception(outcome)

    def _forget(self, waiting: _Waiting) -> None:
        del self._by_id[waiting.append.id]
        self._bytes -= waiting.bytes
