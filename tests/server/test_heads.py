"""What comes before anybody is recognised: heads that are too long, or never come to their end."""

from __future__ import annotations

import asyncio
import signal

import pytest

from refold.server import Server, heads
from refold.server.serving import serve
from tests.server.domain import app

HEAD = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"


async def told(pieces: list[bytes], port: int) -> bytes:
    """What is answered until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b"closed"
    finally:
        writer.close()


@pytest.mark.slow
async def test_heads_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_SECONDS", 0.5)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(
            Server(app, "sqlite:///:memory:"),
            "127.0.0.1:0",
            ready=lambda url: port.set_result(int(url.rpartition(":")[2])),
        )
    )
    try:
        at = await port
        many = [HEAD, *(b"X-%d: y\r\n" % number * 100 for number in range(2_000))]
        long = [HEAD + b"X: ", *([b"x" * 10_000] * 1_000)]
        for pieces in (many, long):
            assert (await told(pieces, at))[:12] in (b"HTTP/1.1 400", b"closed")
        for never in ([], [HEAD], [HEAD + b"X"]):
            assert (await told(never, at)).startswith(b"HTTP/1.1 400")
        several = (HEAD + b"\r\n") * 2 + HEAD + b"Connection: close\r\n\r\n"
        assert (await told([several], at)).count(b"HTTP/1.1 200") == 3

        reader, writer = await asyncio.open_connection("127.0.0.1", at)
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b'reasons":[]}')
        await asyncio.sleep(0.8)  # between two requests the bound is uvicorn's own
        writer.write(HEAD + b"Connection: close\r\n\r\n")
        assert b"HTTP/1.1 200" in await reader.read()
        writer.close()
    finally:
        signal.raise_signal(signal.SIGTERM)
        await serving
