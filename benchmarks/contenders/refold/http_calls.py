"""A client that costs little, so that the server is what is measured: requests as bytes on kept connections."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Self
from urllib.parse import urlsplit


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def to(cls, url: str) -> Self:
        """A connection to the server."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, parts.hostname or "", parts.port or 0)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # TCP's transports are such

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = self._buffer[:end].lower()
        start = head.find(b"content-length:") + 15
        length = int(head[start : head.find(b"\r", start) if b"\r" in head[start:] else None])
        if len(self._buffer) >= end + 4 + length:
            answer, self._answer = self._answer, None
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            answer.set_result((int(head[9:12]), body))

    def connection_lost(self, problem: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server has closed the connection"))

    async def call(self, method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
        """The body of the answer; raises when it is not 200."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}{headers}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        status, content = await self._answer
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {content[:300]!r}")
        return content

    def close(self) -> None:
        """Closes it."""
        if self._transport is not None:
            self._transport.close()


@contextmanager
def server_process(url: str, *, projections: bool, app: str = "bank") -> Iterator[str]:
    """A server on that database, in a process of its own; where it serves. `app` is the module that has the app."""
    module = "benchmarks.contenders.refold.http_server"
    command = [sys.executable, "-m", module, url, "projections" if projections else "none", app]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(30)


@asynccontextmanager
async def connections(url: str, number: int) -> AsyncIterator[list[Connection]]:
    """So many connections to a server."""
    opened = [await Connection.to(url) for _ in range(number)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()
