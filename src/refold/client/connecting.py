"""One call for both: in this process on a store, or over HTTP on a server, whichever the URL says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from refold.app import App, Context
from refold.client.client import Client

__all__ = ["connect"]


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
