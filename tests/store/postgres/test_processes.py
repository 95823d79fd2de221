"""Several processes append to one log: positions stay gapless, everybody gets the truth."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from refold.store.postgres import open_postgres
from refold.store.postgres.store import PostgresStore
from tests.store.postgres.events import append, assert_sound, whole_log

_ROOT = Path(__file__).parents[3]
_WRITER = """
import asyncio, json, random, sys
from refold.errors import Conflict
from refold.store.append import ANY
from refold.store.postgres import open_postgres
from tests.store.postgres.events import append, event

async def main():
    url, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    store = await open_postgres(url)
    loop = asyncio.get_running_loop()
    acknowledged, conflicts = {}, 0
    print("ready", flush=True)
    end = loop.time() + seconds

    async def caller(number):
        nonlocal conflicts
        chance = random.Random(f"{name}-{number}")
        while loop.time() < end:
            stream = chance.choice(["hot", f"warm-{chance.randrange(5)}", f"{name}-{number}"])
            expected = ANY if chance.random() < 0.3 else await store.stream_version(stream)
            events = [event(n, tags=["t"] * chance.randrange(2)) for n in range(chance.choice([1, 1, 3]))]
            each = append(stream, expected, *events)
            try:
                result = await store.append(each)
            except Conflict:
                conflicts += 1
            else:
                acknowledged[each.id.hex] = [result.first, result.last]

    await asyncio.gather(*(caller(number) for number in range(12)))
    await store.close()
    print(json.dumps({"acknowledged": acknowledged, "conflicts": conflicts}))

asyncio.run(main())
"""


def start_writer(url: str, name: str, seconds: float) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, url, name, str(seconds)], stdout=subprocess.PIPE, text=True, cwd=_ROOT
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


@pytest.mark.slow
async def test_processes_that_append_at_once_share_one_gapless_log(fresh_database: str):
    opened = await open_postgres(fresh_database)
    writers = await asyncio.gather(
        *(asyncio.to_thread(start_writer, fresh_database, f"process-{number}", 3) for number in range(4))
    )
    acknowledged: dict[str, list[int]] = {}
    conflicts = 0
    for writer in writers:
        said, _ = await asyncio.to_thread(writer.communicate, timeout=60)
        assert writer.returncode == 0
        report = json.loads(said)
        acknowledged.update(report["acknowledged"])
        conflicts += report["conflicts"]
    log = await whole_log(opened)
    await opened.close()
    assert_sound(log)
    stored: dict[str, list[int]] = {}
    for each in log:
        stored.setdefault(each.append_id.hex(), []).append(each.position)
    assert {key: [positions[0], positions[-1]] for key, positions in stored.items()} == acknowledged
    assert conflicts > 0


@pytest.mark.slow
async def test_a_writer_that_is_killed_or_stopped_holds_nobody_up(store: PostgresStore, fresh_database: str):
    stopped, killed = await asyncio.gather(
        *(asyncio.to_thread(start_writer, fresh_database, name, 60) for name in ("stopped", "killed"))
    )
    try:
        await store.wait_beyond(200, 20)
        os.kill(stopped.pid, signal.SIGSTOP)
        killed.kill()
        await asyncio.to_thread(killed.communicate)
        async with asyncio.timeout(20):
            results = [await store.append(append("mine", number)) for number in range(50)]
    finally:
        stopped.kill()
        await asyncio.to_thread(stopped.communicate)
    log = await whole_log(store)
    assert_sound(log)
    assert [each.position for each in log if each.stream == "mine"] == [result.first for result in results]
