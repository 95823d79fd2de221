"""Opening what a command works on, for the time of one coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from refold.app import Context
from refold.app.stores import open_store, sink_of
from refold.cli.command import app_of_settings, optional_app_of_settings, settings
from refold.projections.parking.records import Logged, Operation
from refold.projections.sink import Sink
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits

__all__ = ["on_context", "on_store", "on_store_and_sink", "recorded", "shown_name"]

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


def on_store_and_sink(work: Callable[[EventStore, Sink], Awaitable[T]]) -> T:
    """The same, to read read models too."""

    sinks = settings().sinks
    app = optional_app_of_settings() if sinks else None
    if app is not None:
        app.checked_sinks(sinks)

    async def run(store: EventStore) -> T:
        async with sink_of(store, sinks) as sink:
            return await work(store, sink)

    return on_store(run)


def on_context(work: Callable[[Context], Awaitable[T]], *, projections: bool, **options: Any) -> T:
    """Connects the app of the settings (with more options of `App.connect`), does the work, disconnects."""
    chosen = settings()
    url = chosen.needed_url
    app = app_of_settings()

    async def run() -> T:
        async with app.connect(
            url, projections=projections, listen_url=chosen.listen_url, sinks=chosen.sinks, **options
        ) as context:
            return await work(context)

    return asyncio.run(run())


async def recorded(store: EventStore, operation: Operation) -> None:
    """Adds to the store's log of operations."""
    async with sink_of(store) as sink:
        await sink.records.apply([Logged(operation)])


def shown_name(url: str) -> str:
    """A store's URL without its password, and without its options, which may hold secrets too."""
    if url.startswith("sqlite:"):
        return url
    parts = urlsplit(url)
    login, at, place = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{login.partition(':')[0]}{at}{place}", parts.path, "", ""))
