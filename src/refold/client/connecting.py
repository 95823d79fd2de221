"""One call for both: in this process on a store, or over HTTP on a server, whichever the URL says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from refold.app import App, Context, SyncContext
from refold.app.loop_thread import running_loop_in_thread
from refold.client.client import Client
from refold.client.sync import SyncClient

__all__ = ["connect", "connect_sync"]


@asynccontextmanager
async def connect(app: App, url: str, *, key: str | None = None, **options: Any) -> AsyncIterator[Context | Client]:
    """A context on a store (`sqlite:///…`, `postgresql://…`; with `options` of `App.connect`), or a client of a server
    (`https://…`, with an API key or token): code that uses what both have moves from one to the other by its URL.

    Raises `ConfigurationError`, `MissingExtra`, and what `App.connect` raises.
    """
    if url.startswith(("http://", "https://")):
        async with Client(app, url, key=key, **options) as client:
            yield client
    else:
        async with app.connect(url, **options) as context:
            yield context


@contextmanager
def connect_sync(app: App, url: str, *, key: str | None = None, **options: Any) -> Iterator[SyncContext | SyncClient]:
    """The same for code without `async`; each call waits for its answer, and many threads may use it at once."""
    if url.startswith(("http://", "https://")):
        with running_loop_in_thread() as loop, loop.entered(Client(app, url, key=key, **options)) as client:
            yield SyncClient(client, loop)
    else:
        with app.connect_sync(url, **options) as context:
            yield context
