"""The server as an ASGI application: stands alone, or is mounted in FastAPI, Starlette or Django."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from refold.app import App, Context
from refold.errors import ConfigurationError
from refold.server.api import operations_of
from refold.server.console.routes import console_routes
from refold.server.jobs import Jobs
from refold.server.operation import Operation
from refold.server.paths import below
from refold.server.problems import Problem
from refold.server.routing import endpoints_of, problem_response
from refold.server.samples import Samples
from refold.server.security.guard import Guard
from refold.server.security.journal import Journal
from refold.server.security.pace import OpenStreams
from refold.server.settings import Authentication, Bounds
from refold.server.tail import Tail

__all__ = ["Server"]

_KIND_OF_STATUS = {404: "not-found", 405: "method-not-allowed"}


class Server:
    """An app's HTTP API and console, as an ASGI application.

    `store` is a URL or an open context. It is connected (with `options` of `App.connect`) when the application starts:
    by the ASGI server's lifespan; where it is mounted, by `async with server:` in the host's; at the latest by the
    first request. Without `authentication`, only this machine is let in. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        app: App,
        store: str | Context,
        *,
        authentication: Authentication | None = None,
        bounds: Bounds | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        self.bounds = bounds or Bounds()
        self.authentication = authentication or Authentication()
        self.guard = Guard(self.authentication, self.bounds)
        self._store = store
        self._options = options
        self._opening = asyncio.Lock()
        self._open = AsyncExitStack()
        self._context: Context | None = None
        self._journal: Journal | None = None
        self._tail: Tail | None = None
        self._samples: Samples | None = None
        self.jobs = Jobs()
        self.streams = OpenStreams(self.bounds.streams, self.bounds.own_streams)
        self.operations: Sequence[Operation] = operations_of(self)
        self._endpoints = endpoints_of(self, self.operations)
        self._pages = Starlette(
            routes=console_routes(self),
            exception_handlers={HTTPException: _as_problem},  # type: ignore[dict-item]  # Starlette's own type is too wide
        )
        self._pages.router.redirect_slashes = False

    @property
    def journal(self) -> Journal:
        """Where refusals are kept; there is one once the context is open."""
        if self._journal is None:
            raise ConfigurationError("the server is not open yet: use `async with server:`")
        return self._journal

    @property
    def tail(self) -> Tail:
        """The tail of the log, for all who follow it."""
        if self._tail is None:
            raise ConfigurationError("the server is not open yet: use `async with server:`")
        return self._tail

    @property
    def samples(self) -> Samples:
        """How it went in the last minutes."""
        if self._samples is None:
            raise ConfigurationError("the server is not open yet: use `async with server:`")
        return self._samples

    async def context(self) -> Context:
        """The open context; opens it when this is the first call."""
        if self._context is None:
            async with self._opening:
                if self._context is None:
                    await self._start()
        assert self._context is not None
        return self._context

    async def __aenter__(self) -> Self:
        """Connects."""
        await self.context()
        return self

    async def __aexit__(self, *problem: object) -> None:
        """Disconnects; see `close`."""
        await self.close()

    async def close(self) -> None:
        """Disconnects. Jobs are cancelled, and live streams end. The next request would connect again."""
        self.drain()
        await self.jobs.close()
        if self._samples is not None:
            await self._samples.close()
        if self._journal is not None:
            await self._journal.close()
        self._context = self._journal = self._tail = self._samples = None
        await self._open.aclose()

    def drain(self) -> None:
        """Ends the live streams, which would not end by themselves. New ones are not begun."""
        if self._tail is not None:
            self._tail.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI scope: HTTP, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] == "http":
            await self.context()
            # Parts of a path are keys, in which a slash may stand: they are told apart before they are decoded.
            raw = scope.get("raw_path")
            path = raw.decode("ascii", "replace") if raw else quote(scope["path"], safe="/~!$&'()*+,;=:@%")
            found = self._endpoints.find(below(scope.get("root_path", ""), path))
            if found is not None:
                endpoint, parts = found
                await endpoint({**scope, "path": path, "path_params": parts}, receive, send)
                return
        await self._pages(scope, receive, send)

    async def _start(self) -> None:
        if isinstance(self._store, Context):
            self._context = self._store
        else:
            self._context = await self._open.enter_async_context(self.app.connect(self._store, **self._options))
        self._journal = Journal(self._context.projections.sink.records)
        self._tail = Tail(self._context.store)
        self._samples = Samples(self._context)

    async def _live(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.__aenter__()
                except Exception as problem:
                    await send({"type": "lifespan.startup.failed", "message": str(problem)})
                    raise
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _as_problem(request: Request, error: HTTPException) -> Response:
    kind = _KIND_OF_STATUS.get(error.status_code, "malformed")
    detail = {
        "not-found": "there is nothing here; /openapi.json says what there is",
        "method-not-allowed": f"{request.method} is not done here",
    }.get(kind, error.detail)
    return problem_response(Problem(kind, detail, headers=error.headers), request.url.path)
