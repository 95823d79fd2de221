"""A process that imports an export and meets its fate at a named point.

    python -m tests.faults.restoring URL EXPORT FOLDER POINT ACTION

The second batch that passes POINT is hit. ACTION is kill, raise, cut or none.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from refold import faults
from refold.app.stores import open_store
from refold.messages.recorded import NewEvent, StoredEvent
from refold.operations.transfer import export_to_file, import_file
from refold.store.append import ANY, Append, StreamAppend
from refold.store.group_commit import Limits
from refold.testing.memory import MemoryStore
from tests.faults.checking import log_of
from tests.faults.proxy import CuttingProxy
from tests.faults.workload import Fate

APPENDS = 6_000
"""Enough for several batches of an import."""


async def write_export(path: Path) -> list[StoredEvent]:
    """Exports a log of many appends; gives its events."""
    store = MemoryStore()
    for number in range(APPENDS):
        event = NewEvent(type="MoneyDeposited", payload=b'{"amount":"1"}', tags=(f"caller:{number % 7}",))
        parts = [StreamAppend(f"account-{number % 5}", ANY, (event,) * (1 + number % 3))]
        await store.append(Append((*parts, StreamAppend("account-shared", ANY, (event,)))))
    await export_to_file(store, path)
    return await log_of(store)


async def read_back(url: str) -> list[StoredEvent]:
    """The log of a store."""
    store = await open_store(url, limits=Limits(), listen_url=None, read_only=False)
    try:
        return await log_of(store)
    finally:
        await store.close()


async def main(url: str, export: Path, folder: Path, point: str, action: str) -> None:
    proxy = CuttingProxy(url) if action == "cut" else None
    given = url if proxy is None else proxy.url
    store = await open_store(given, limits=Limits(), listen_url=None, read_only=False)
    faults.install(Fate(folder / "restoring.points", point, 2, action, proxy))
    try:
        await import_file(store, export)
    finally:
        faults.install(None)
        await store.close()


if __name__ == "__main__":
    url, export, folder, point, action = sys.argv[1:]
    asyncio.run(main(url, Path(export), Path(folder), point, action))
