"""Snapshots are saved in the background: a command never waits for one, and a lost one only costs a longer fold."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from refold.commands.live import LiveAggregate
from refold.errors import RefoldError
from refold.store.event_store import EventStore, Snapshot

__all__ = ["SnapshotSaver"]

_log = logging.getLogger("refold.snapshots")


class SnapshotSaver:
    """Saves the newest snapshot of each stream that waits, one at a time."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._waiting: dict[str, Snapshot] = {}
        self._task: asyncio.Task[None] | None = None

    def consider(self, live: LiveAggregate[Any]) -> None:
        """Takes a snapshot of the confirmed state when it has passed the next multiple of its aggregate's
        `snapshot_every`.
        """
        every = live.loader.definition.snapshot_every
        if every is None or live.confirmed.version // every <= live.snapshot_version // every:
            return
        live.snapshot_version = live.confirmed.version
        try:
            self._waiting[live.stream] = live.loader.snapshot(live.stream, live.confirmed)
        except Exception as problem:  # noqa: BLE001  # the events are in the log: whatever it was, their caller is told so
            _log.warning("no snapshot of %s at version %d: %s", live.stream, live.confirmed.version, problem)
            return
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._save(), name="refold-snapshots")

    async def settled(self) -> None:
        """Waits until all that was taken is saved."""
        if self._task is not None:
            await self._task

    async def _save(self) -> None:
        while self._waiting:
            stream, snapshot = next(iter(self._waiting.items()))
            del self._waiting[stream]
            try:
                await self._store.save_snapshot(snapshot)
            except RefoldError as problem:
                _log.warning("the snapshot of %s at version %d was not saved: %s", stream, snapshot.version, problem)
