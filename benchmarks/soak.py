"""A soak of one server: `python -m benchmarks.soak [SECONDS]`. Commands and reads of all kinds at 200 a second, 50 live
streams, on Postgres; says how memory, files and latency went, and ends with 1 when memory grew or an event was missed.
"""

import asyncio
import random
import sys
import uuid
from collections import Counter
from decimal import Decimal
from time import perf_counter

import msgspec
import psutil

from benchmarks.contenders.refold.bank import app, deposited
from benchmarks.contenders.refold.http_calls import Connection, connections, server_process
from benchmarks.contenders.refold.seed import write
from benchmarks.databases import SERVER
from refold.operations.worker import catch_up
from tests.servers import PostgresServer

RATE = 200
STREAMS = 50
ACCOUNTS = 2_000
MOST_GROWTH = 1.05
"""From half of the time to its end. Before that, caches fill up to their bounds."""
CLIENTS = 32


async def soak(url: str, seconds: float) -> int:
    """Runs it; gives the exit code."""
    async with app.connect(url) as worker:
        await catch_up(worker)
        with server_process(url, projections=False) as where:
            server = _server_behind(where)
            head = (await worker.store.head()).position
            last = asyncio.get_running_loop().create_future()
            followers = [asyncio.create_task(_follow(where, head, last)) for _ in range(STREAMS)]
            async with connections(where, CLIENTS) as opened:
                statuses, latencies, memory = await _calls(opened, server, seconds)
            await worker.append("account-end", [deposited(Decimal(1), 1)])
            end = (await worker.store.head()).position
            last.set_result(end)
            # Each ends by itself at the last position; who has missed one never gets there.
            await asyncio.wait_for(asyncio.gather(*followers), 60)
            files = server.num_fds()
    latencies.sort()
    growth = memory[-1] / memory[len(memory) // 2]
    print(f"{len(latencies):,} calls in {seconds:.0f} s: {dict(statuses)}")
    print(
        f"p50 {latencies[len(latencies) // 2] * 1000:.1f} ms, p99 {latencies[int(len(latencies) * 0.99)] * 1000:.1f} ms"
    )
    print(f"{STREAMS} streams, each with all of {end - head:,} events")
    eighths = ", ".join(f"{memory[len(memory) * part // 8]:.0f}" for part in range(8))
    print(f"memory over time {eighths}, {memory[-1]:.0f} MB: {growth:.2f} × in the second half; {files} open files")
    return 0 if growth <= MOST_GROWTH and set(statuses) == {"done"} else 1


async def _calls(
    opened: list[Connection], server: psutil.Process, seconds: float
) -> tuple[Counter[str], list[float], list[float]]:
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for each in opened:
        free.put_nowait(each)
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    memory: list[float] = []
    chance = random.Random(1)

    async def one(due: float) -> None:
        connection = await free.get()
        try:
            await _some_call(connection, chance)
            statuses["done"] += 1
        except RuntimeError as problem:
            statuses[str(problem)[:120]] += 1
        free.put_nowait(connection)
        latencies.append(perf_counter() - due)

    begun = perf_counter()
    tasks = set()
    for number in range(int(seconds * RATE)):
        due = begun + number / RATE
        if (wait := due - perf_counter()) > 0:
            await asyncio.sleep(wait)
        if number % RATE == 0:
            memory.append(server.memory_info().rss / 1e6)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return statuses, latencies, memory


async def _some_call(connection: Connection, chance: random.Random) -> None:
    account = str(chance.randrange(ACCOUNTS))
    kind = chance.random()
    if kind < 0.5:
        body = msgspec.json.encode({"account_id": account, "amount": "1", "reference": "soak"})
        key = f"Idempotency-Key: {uuid.uuid4()}\r\n"
        receipt = msgspec.json.decode(await connection.call("POST", "/commands/DepositMoney", body, key))
        if kind < 0.15:
            after = f"Refold-After: {receipt['token']}\r\n"
            await connection.call("GET", f"/read-models/account_balance/rows/{account}", headers=after)
    elif kind < 0.7:
        await connection.call("GET", f"/read-models/account_balance/rows?balance.ge={chance.randrange(50)}&limit=20")
    elif kind < 0.8:
        await connection.call("GET", f"/aggregates/account/{account}")
    elif kind < 0.9:
        await connection.call("GET", f"/streams/account-{account}?limit=20&backward=true")
    elif kind < 0.97:
        await connection.call("GET", "/events?limit=50&backward=true")
    else:
        await connection.call("GET", "/operations/status")


async def _follow(where: str, after: int, last: asyncio.Future[int]) -> None:
    """Reads until the last position; every event must be the one that follows the last."""
    host, port = where.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /events/live?after={after} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    position, seen = after, after
    async for line in reader:
        if line.startswith(b"id: "):
            position = int(line[4:])
        elif line.startswith(b"data: "):
            assert position == seen + 1, f"{position} came after {seen}"
            seen = position
            if last.done() and seen >= last.result():
                break
    writer.close()


def _server_behind(where: str) -> psutil.Process:
    port = int(where.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        if any(each.laddr.port == port and each.status == "LISTEN" for each in child.net_connections("tcp")):
            return child
    raise RuntimeError("the server's process is not there")


def main() -> int:
    """Makes the log, and soaks."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    with PostgresServer.create(SERVER) as postgres:
        url = postgres.create_database("soak")
        asyncio.run(write({"url": url, "accounts": ACCOUNTS, "events": ACCOUNTS * 10}))
        return asyncio.run(soak(url, seconds))


if __name__ == "__main__":
    sys.exit(main())
