"""The live log to many clients, of which one does not read: what the others get, and how late."""

import asyncio
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contenders.refold.bank import app, deposited
from benchmarks.contenders.refold.http_calls import server_process
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Appends `rate` events a second for `seconds`; each of `clients` must get every one."""
    number = int(arguments["rate"] * arguments["seconds"])
    appended: dict[int, float] = {}
    late: list[float] = []
    async with app.connect(arguments["url"], projections=False) as bank:
        head = (await bank.store.head()).position
        with server_process(arguments["url"], projections=False) as url:
            lazy = await _listen(url, head)
            lazy[0]._transport.pause_reading()  # type: ignore[attr-defined]  # it is not read at all
            followers = [
                asyncio.create_task(_follow(url, head, number, appended, late)) for _ in range(arguments["clients"])
            ]
            await asyncio.sleep(2)
            begun = perf_counter()
            for each in range(number):
                if (wait := begun + each / arguments["rate"] - perf_counter()) > 0:
                    await asyncio.sleep(wait)
                result = await bank.append(f"account-{each % 50}", [deposited(1, each)])  # type: ignore[arg-type]
                appended[result.last] = perf_counter()
            counts = await asyncio.gather(*followers)
            seconds = perf_counter() - begun
            lazy[1].close()
    late.sort()
    return {"rate": sum(counts) / seconds, "late": late[int(len(late) * 0.99)] * 1000, "whole": min(counts) / number}


async def _listen(url: str, after: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET /events/live?after={after} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return reader, writer


async def _follow(url: str, after: int, number: int, appended: dict[int, float], late: list[float]) -> int:
    reader, writer = await _listen(url, after)
    expected = after + 1
    async for line in reader:
        if line.startswith(b"id: "):
            assert int(line[4:]) == expected, (line, expected)
        elif line.startswith(b"data: "):
            if expected % 50 == 0 and expected in appended:
                late.append(perf_counter() - appended[expected])
            expected += 1
            if expected > after + number:
                break
    writer.close()
    return expected - after - 1


if __name__ == "__main__":
    serve(measure)
