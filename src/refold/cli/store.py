"""Opening the store that a command works on, for the time of one coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from refold.app.stores import open_store
from refold.cli.command import settings
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits

__all__ = ["on_store", "shown_name"]

T = TypeVar("T")


def on_store(work: Callable[[EventStore], Awaitable[T]], *, read_only: bool = True) -> T:
    """Opens the store of the settings, does the work, closes the store."""
    chosen = settings()
    url = chosen.needed_url

    async def run() -> T:
        store = await open_store(url, limits=Limits(), listen_url=chosen.listen_url, read_only=read_only)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def shown_name(url: str) -> str:
    """A store's URL without its password, and without its options, which may hold secrets too."""
    if url.startswith("sqlite:"):
        return url
    parts = urlsplit(url)
    login, at, place = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{login.partition(':')[0]}{at}{place}", parts.path, "", ""))
