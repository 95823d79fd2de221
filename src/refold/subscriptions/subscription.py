"""A subscription: the events of the log after a position, each once and in order, and then those that come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator

from refold.errors import LogRegression, StoreUnavailable
from refold.store.event_store import EventFilter, EventStore, LogPage
from refold.subscriptions.pace import Pace

__all__ = ["pages"]

_log = logging.getLogger("refold.subscriptions")

_PAGE = 1_000
_PAUSE = 0.25
_PATIENCE = 60.0
"""Seconds for which a subscription waits for a store that is away; a restart is over sooner."""


async def pages(
    store: EventStore, *, after: int, where: EventFilter, follow: bool, size: int = _PAGE
) -> AsyncGenerator[LogPage, None]:
    """Pages of the log after a position. With `follow` it never ends; otherwise it ends at the head that it finds.

    With `follow`, a store that is away is waited for, up to a minute; then `StoreUnavailable` is raised.
    A page may be empty: `scanned_to` says how far nothing more matched. Raises `LogRegression` when the log ends before
    `after`.
    """
    reader = await store.open_reader()
    pace = Pace()
    away = 0.0
    try:
        while True:
            try:
                page = await reader.read(after, size, where)
            except StoreUnavailable as problem:
                away = away or time.monotonic()
                if not follow or time.monotonic() - away > _PATIENCE:
                    raise
                _log.warning("a subscription at position %d waits for the store: %s", after, problem)
                await asyncio.sleep(_PAUSE)
                continue
            away = 0.0
            if page.head < after:
                raise LogRegression(
                    f"the log of {store.name} ends at position {page.head}, before {after}: it was restored from "
                    "an older backup; begin again at a position that it has"
                )
            if page.scanned_to > after:
                after = page.scanned_to
                pace.found()
                yield page
            if page.scanned_to >= page.head:
                if not follow:
                    return
                await store.wait_beyond(after, pace.pause())
    finally:
        await reader.close()
