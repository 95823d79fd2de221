"""The journal: what was refused, in the log of operations."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from refold.errors import RefoldError
from refold.projections.parking.records import Logged, Operation, ProjectionRecords

__all__ = ["Journal"]

_log = logging.getLogger("refold.server")

_EVERY = 5.0
"""Seconds after which what was refused is written: a flood of calls must not become a flood of writes."""
_KINDS = 200
"""Different refusals that are kept apart until they are written; more are counted together."""


class Journal:
    """Keeps a record of what was refused: counted, and written every few seconds. It is logged at once."""

    def __init__(self, records: ProjectionRecords) -> None:
        self._records = records
        self._refused: dict[tuple[str, str, str], int] = {}
        self._writer: asyncio.Task[None] | None = None

    def refused(self, who: str, what: str, why: str) -> None:
        """Notes that somebody was refused something."""
        _log.warning("refused: %s by %s: %s", what, who or "nobody", why)
        key = (who, what, why)
        if key not in self._refused and len(self._refused) >= _KINDS:
            key = ("", "calls of many kinds", "see the log of the server")
        self._refused[key] = self._refused.get(key, 0) + 1
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon(), name="refold-journal")

    async def close(self) -> None:
        """Writes what is noted."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await self._write()

    async def _write_soon(self) -> None:
        await asyncio.sleep(_EVERY)
        await self._write()

    async def _write(self) -> None:
        noted, self._refused = self._refused, {}
        changes = [
            Logged(
                Operation(actor=who or "nobody", operation="refused", target=what, reason=why, details={"times": times})
            )
            for (who, what, why), times in noted.items()
        ]
        if changes:
            try:
                await self._records.apply(changes)
            except RefoldError as problem:
                _log.warning("what was refused could not be written: %s", problem)
