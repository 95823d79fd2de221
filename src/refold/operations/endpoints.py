"""Endpoints for monitoring over HTTP: /metrics, /livez, /readyz and /status.

They are served from a thread of their own, so they also answer when the event loop that they tell of stands still. They
only read what a monitor has seen, and take nothing but GET and HEAD, of a bounded size, in a bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import msgspec

from refold.errors import ConfigurationError
from refold.operations.health import Health
from refold.operations.monitor import Monitor

__all__ = ["Endpoints", "parsed_address"]

_log = logging.getLogger("refold.operations")

LOOPBACK = "127.0.0.1"
_MOST_BYTES = 8_192
_SECONDS = 5.0
"""For one request, from the first byte to the last of the answer."""
_AT_ONCE = 32
"""Whoever comes when so many are being answered is sent away without an answer."""
_TURNS = 3
"""Turns of the loop from the end of a connection's task to the end of the connection."""
_JSON = "application/json; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class _Answer(msgspec.Struct, frozen=True):
    status: HTTPStatus
    kind: str
    body: bytes
    allow: bool = False


def parsed_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `:PORT` or `PORT`; without a host it is the loopback. IPv6 stands in brackets.

    Raises `ConfigurationError`.
    """
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"{address!r} is no address: an IPv6 address stands in brackets, as in [::1]:9464")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigurationError(f"{address!r} is no address; give HOST:PORT, as in {LOOPBACK}:9464")
    return host or LOOPBACK, int(port)


class Endpoints:
    """Serves a monitor at an address (see `parsed_address`; port 0 takes a free one) for the time of its block.

    Nobody is asked who they are: an address other than the loopback is for a network in which everybody may see the
    names and errors of read models. Raises `ConfigurationError` for an address that cannot be had, `MissingExtra`
    without `prometheus_client`.
    """

    def __init__(self, monitor: Monitor, address: str = f"{LOOPBACK}:9464") -> None:
        self._monitor = monitor
        self.host, self.port = parsed_address(address)
        self._talks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where they are served: `http://127.0.0.1:9464`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        """Begins to serve."""
        self._monitor.metrics()  # what is missing for it is said now, not to whoever asks first
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listening = socket.create_server((self.host, self.port), family=family)
        except OSError as problem:
            raise ConfigurationError(f"{self.url} cannot be served: {problem}; choose another address") from problem
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._over = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=[listening], name="refold-endpoints", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends; requests that are under way are cut."""
        if self._loop is not None and self._over is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()
            self._loop.close()

    def _run(self, listening: socket.socket) -> None:
        assert self._loop is not None
        with listening:
            self._loop.run_until_complete(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        assert self._over is not None
        loop = asyncio.get_running_loop()
        # Not by a server of asyncio: one that is closed forgets the connections that it has just taken.
        loop.add_reader(listening, self._accept, listening)
        await self._over.wait()
        loop.remove_reader(listening)
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except OSError as problem:  # whoever came is gone, or no more files may be open
            _log.debug("nobody can be let in: %s", problem)
            return
        if len(self._talks) >= _AT_ONCE:
            connection.close()
            return
        connection.setblocking(False)
        talk = asyncio.ensure_future(self._talk(connection))
        self._talks.add(talk)

        def over(talk: asyncio.Task[None]) -> None:
            self._talks.discard(talk)
            connection.close()  # where the task never began

        talk.add_done_callback(over)

    async def _talk(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=_MOST_BYTES)
        try:
            await self._converse(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                answer, with_body = await self._answered(reader)
                writer.write(_head(answer))
                if with_body:
                    writer.write(answer.body)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            _log.debug("a client of the endpoints went away, or took too long")
            # What is still to be sent to such a one is not waited for.
            writer.transport.abort()

    async def _answered(self, reader: asyncio.StreamReader) -> tuple[_Answer, bool]:
        """The answer to a request, and whether its body is wanted."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {_MOST_BYTES} bytes"), True
        parts = head.partition(b"\r\n")[0].split(b" ")
        if len(parts) != 3 or not parts[1].startswith(b"/") or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            return _plain(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1"), True
        method, target = parts[0], parts[1].partition(b"?")[0].decode("latin-1")
        made = self._pages().get(target)
        if made is None:
            return _plain(HTTPStatus.NOT_FOUND, f"there are {', '.join(self._pages())}"), method != b"HEAD"
        if method not in (b"GET", b"HEAD"):
            return _Answer(HTTPStatus.METHOD_NOT_ALLOWED, _JSON, b'{"error":"GET and HEAD only"}', allow=True), True
        try:
            return made(), method == b"GET"
        except Exception:  # noqa: BLE001  # one who asks is answered, whatever went wrong
            _log.exception("%s could not be answered", target)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "it could not be answered; see the log"), method == b"GET"

    def _pages(self) -> dict[str, Callable[[], _Answer]]:
        monitor = self._monitor
        return {
            "/metrics": lambda: _Answer(HTTPStatus.OK, _METRICS, monitor.metrics().encode()),
            "/livez": lambda: _health("live", monitor.live()),
            "/readyz": lambda: _health("ready", monitor.ready()),
            "/status": lambda: _Answer(HTTPStatus.OK, _JSON, _encoded(monitor.document())),
        }


def _health(word: str, health: Health) -> _Answer:
    status = HTTPStatus.OK if health.well else HTTPStatus.SERVICE_UNAVAILABLE
    return _Answer(status, _JSON, _encoded({word: health.well, "reasons": health.reasons}))


def _plain(status: HTTPStatus, text: str) -> _Answer:
    return _Answer(status, _JSON, _encoded({"error": text}))


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str) + b"\n"


def _head(answer: _Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(["Allow: GET, HEAD"] if answer.allow else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
