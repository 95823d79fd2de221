"""Samples of how it goes, every two seconds for ten minutes: what a curve needs that begins before one looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from datetime import UTC, datetime

import msgspec

from refold.app import Context
from refold.errors import RefoldError
from refold.store.counts import counts_of

__all__ = ["EVERY_SECONDS", "Sample", "Samples"]

_log = logging.getLogger("refold.server")

EVERY_SECONDS = 2.0
_KEPT = 300


class Sample(msgspec.Struct, frozen=True):
    """One look: the log's head, where each projection stood, and how many appends of this process had found others
    faster since it began (`conflicts`). Samples are numbered from 1.
    """

    number: int
    at: datetime
    head: int
    conflicts: int
    positions: dict[str, int]


class Samples:
    """The samples of this process. A look costs two short reads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: deque[Sample] = deque(maxlen=_KEPT)
        self._number = 0
        self._looking = asyncio.create_task(self._look_again(), name="refold-samples")

    def after(self, number: int) -> list[Sample]:
        """Those with a higher number, the oldest first. A number that was never given gets all."""
        return [sample for sample in self._kept if sample.number > number or number > self._number]

    async def close(self) -> None:
        """Looks no more."""
        self._looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._looking

    async def _look_again(self) -> None:
        while True:
            try:
                await self._look()
            except RefoldError as problem:
                _log.debug("no sample: %s", problem)
            except Exception:  # noqa: BLE001  # whatever it was, it is logged, and looked at again
                _log.exception("no sample could be taken; trying again")
            await asyncio.sleep(EVERY_SECONDS)

    async def _look(self) -> None:
        checkpoints = await self._context.projections.sink.checkpoints()
        # Read after the checkpoints, the head is never behind one of them.
        head = await self._context.store.head()
        counts = counts_of(self._context.store)
        self._number += 1
        self._kept.append(
            Sample(
                self._number,
                datetime.now(UTC),
                head.position,
                0 if counts is None else counts.appends["conflict"],
                {each.name: each.position for each in checkpoints},
            )
        )
