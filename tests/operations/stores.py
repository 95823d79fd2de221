"""Logs for tests: what is appended to a store, and all of what is in one."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from uuid import UUID

from refold.messages.recorded import NewEvent, StoredEvent, to_microseconds
from refold.store.append import ANY, Append, StreamAppend
from refold.store.event_store import EventStore

PAYLOADS = (b'{"amount":"100.00"}', b'{"amount": 1.10, "note":"two  spaces"}', '{"name":"Żółć 🏦"}'.encode(), b"[]")


async def everything_in(store: EventStore) -> list[StoredEvent]:
    events: list[StoredEvent] = []
    while True:
        page = await store.read_log(after=len(events), limit=5_000)
        events += page.events
        if page.scanned_to == page.head:
            return events


async def fill(store: EventStore, appends: int, *, seed: int = 1, accounts: int = 50) -> None:
    """Appends of one to three streams, with tags, occurred times, payloads of all kinds; the same for the same seed."""
    chance = random.Random(seed)
    coming = []
    for number in range(appends):
        streams = chance.sample(range(accounts), chance.choice((1, 1, 1, 2, 3)))
        parts = tuple(
            StreamAppend(f"account-{stream}", ANY, tuple(_event(chance) for _ in range(chance.randint(1, 3))))
            for stream in streams
        )
        coming.append(store.append(Append(parts, UUID(int=chance.getrandbits(128) | number))))
    await asyncio.gather(*coming)


def _event(chance: random.Random) -> NewEvent:
    occurred = to_microseconds(datetime(1994, 1, chance.randint(1, 28), 12, 30, 0, chance.randint(0, 999_999), UTC))
    return NewEvent(
        type=chance.choice(("MoneyDeposited", "MoneyWithdrawn")),
        payload=chance.choice(PAYLOADS),
        metadata=b'{"actor":"alice","data":{"n": 1}}',
        schema_version=chance.choice((1, 2)),
        occurred_at=chance.choice((None, occurred)),
        tags=tuple(f"customer:{chance.randint(1, 5)}" for _ in range(chance.choice((0, 0, 1)))),
    )
