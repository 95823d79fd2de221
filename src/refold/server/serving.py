"""Serving a server on an address, by uvicorn."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from refold.errors import ConfigurationError
from refold.operations.endpoints import parsed_address
from refold.server.asgi import Server
from refold.server.heads import BoundedHeads
from refold.server.security.guard import is_loopback

__all__ = ["ADDRESS", "run", "serve"]

ADDRESS = "127.0.0.1:8181"
_GRACE_SECONDS = 10


async def serve(
    server: Server,
    address: str = ADDRESS,
    *,
    certificate: str | os.PathLike[str] | None = None,
    private_key: str | os.PathLike[str] | None = None,
    behind_proxy: bool = False,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serves until SIGTERM or Ctrl-C; what is under way then is finished, live streams end.

    `certificate` and `private_key` are PEM files for TLS. `ready` is called with the URL once it listens.
    `behind_proxy`: what a proxy on this machine says of its clients is believed. Raises `ConfigurationError` for an
    address that cannot be had, and for one that others can reach while nobody is asked who they are.
    """
    host, port = parsed_address(address)
    if not server.guard.asks and not is_loopback(host):
        raise ConfigurationError(
            f"{host} can be reached by others, and no authentication is configured: make a key with `refold keys add`, "
            "or serve on 127.0.0.1"
        )
    if (certificate is None) != (private_key is None):
        raise ConfigurationError("TLS needs both a certificate and its private key")
    listening = _listening(host, port)
    port = listening.getsockname()[1]
    scheme = "http" if certificate is None else "https"
    try:
        config = uvicorn.Config(
            server,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=behind_proxy,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            http=BoundedHeads,
            ssl_certfile=certificate,
            ssl_keyfile=None if private_key is None else os.fspath(private_key),
        )
        config.load()
        running = _Uvicorn(config, server)
    except (OSError, ValueError) as problem:
        listening.close()
        raise ConfigurationError(f"the certificate or its key cannot be used: {problem}") from problem
    async with server:
        await running.startup_then(ready, f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}", listening)


def run(server: Server, address: str = ADDRESS, **options: Any) -> None:
    """Serves as `serve` does, on an event loop of its own: uvloop's where that is installed."""
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        runner.run(serve(server, address, **options))


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    new: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new


class _Uvicorn(uvicorn.Server):
    """Lets live streams go as soon as the end is asked for: they would be waited for otherwise."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._server = server
        self._ready: Callable[[], None] = lambda: None

    async def startup_then(self, ready: Callable[[str], None], url: str, listening: socket.socket) -> None:
        """Serves; says so once it does."""
        self._ready = lambda: ready(url)
        await self.serve(sockets=[listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins the end; asked for twice, it is at once."""
        self._server.drain()
        super().handle_exit(sig, frame)
        # uvicorn would raise it again at the end; who serves comes back in order instead.
        self._captured_signals: list[Any] = []


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # Of a socket that is given open, asyncio does not know that it is TCP, and would let answers wait 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as problem:
        raise ConfigurationError(f"{host}:{port} cannot be served: {problem}; choose another address") from problem
