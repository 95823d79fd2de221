"""Rows that several callers want at the same time are read by one statement.

While one read is under way the next callers gather, and all of them are answered by the read after it: what group
commit does for appends, without a timer either. A read begins after all of its callers have asked, so none of them is
shown anything older than if they had asked alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from refold.errors import StoreUnavailable
from refold.folds.read_model import RowKey
from refold.projections.sink import Answer

__all__ = ["SharedReads"]

_AT_ONCE = 200
"""Keys of one read: some milliseconds of the store's."""

_Waiting = tuple[RowKey, asyncio.Future[Answer]]


class SharedReads:
    """The reads by key of one read model. `read` reads the rows of several keys."""

    def __init__(self, read: Callable[[Sequence[RowKey]], Awaitable[Answer]]) -> None:
        self._read = read
        self._waiting: list[_Waiting] = []
        self._under_way = False

    async def of(self, key: RowKey) -> Answer:
        """What `read` answers for a key, maybe with the rows of others. Raises what it raises for this key."""
        if self._under_way:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting.append((key, answer))
            return await answer
        self._under_way = True
        try:
            return await self._read([key])
        finally:
            self._go_on()

    def _go_on(self) -> None:
        waiting = [each for each in self._waiting if not each[1].done()]
        together, self._waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        self._under_way = bool(together)
        if not together:
            return
        reading = asyncio.create_task(self._together(together))

        def given_up(_: asyncio.Future[Answer]) -> None:
            # Nobody waits for it any more, as at a dead connection; those who wait for the next read do.
            if all(answer.cancelled() for _, answer in together):
                reading.cancel()

        for _, answer in together:
            answer.add_done_callback(given_up)

    async def _together(self, waiting: Sequence[_Waiting]) -> None:
        try:
            if not await self._answered(waiting):
                for each in waiting:
                    await self._answered([each])
        finally:
            for _, answer in waiting:
                answer.cancel()  # of those that have none, because the loop ends
            self._go_on()

    async def _answered(self, waiting: Sequence[_Waiting]) -> bool:
        """Whether they have their answer, or their error. Not when it may be the fault of one of the keys, or of its
        row.
        """
        try:
            answer = await self._read(list(dict.fromkeys(key for key, _ in waiting)))
        except Exception as problem:  # noqa: BLE001  # whoever waits gets it
            if len(waiting) > 1 and not isinstance(problem, StoreUnavailable):
                return False
            for _, wanted in waiting:
                if not wanted.done():
                    wanted.set_exception(problem)
        else:
            for _, wanted in waiting:
                if not wanted.done():
                    wanted.set_result(answer)
        return True
