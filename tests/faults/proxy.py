"""A proxy in a thread of its own, in front of Postgres, that can cut the line, or swallow an answer and cut it then."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import urlsplit, urlunsplit


class CuttingProxy:
    """Forwards a port of its own to the server of a URL. `cut` and `swallow` may be called from any thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowing = False
        self._open = asyncio.Event()
        self._open.set()
        self.cuts = 0
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()
        login = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@"
        self.url = urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{self._port}"))

    def cut(self) -> None:
        """Cuts all connections now."""
        done = threading.Event()

        def now() -> None:
            self._cut()
            done.set()

        self._loop.call_soon_threadsafe(now)
        done.wait()

    def swallow(self) -> None:
        """Cuts all connections when the server answers next, and does not deliver the answer: it has done what was
        asked.
        """
        self._swallowing = True

    def halt(self) -> None:
        """From now on nothing gets through in either direction, and nobody is told: a line that hangs."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def go_on(self) -> None:
        """Lets through what has gathered, and all that follows."""
        self._loop.call_soon_threadsafe(self._open.set)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    def _cut(self) -> None:
        self.cuts += 1
        self._swallowing = False
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._server)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, server_writer}
        await asyncio.gather(
            self._forward(reader, server_writer, answers=False), self._forward(server_reader, writer, answers=True)
        )
        self._writers -= {writer, server_writer}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while data := await reader.read(65536):
                if answers and self._swallowing:
                    self._cut()
                    return
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except (ConnectionError, OSError):
            pass
        finally:
            writer.close()
