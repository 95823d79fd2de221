"""Snapshots are kept and given back; whether to believe one is the caller's decision."""

from __future__ import annotations

from refold.store.event_store import EventStore, Snapshot

__all__ = ["Snapshots"]


def _snapshot(version: int, fingerprint: str = "f") -> Snapshot:
    return Snapshot("a-1", version, version * 10, bytes(range(16)), fingerprint, b'{"state":\x00\xff}')


class Snapshots:
    """What the store does with snapshots."""

    async def test_kept_and_given_back(self, store: EventStore) -> None:
        assert await store.load_snapshot("a-1") is None
        await store.save_snapshot(_snapshot(3))
        assert await store.load_snapshot("a-1") == _snapshot(3)
        assert await store.load_snapshot("a-2") is None

    async def test_a_newer_one_stays(self, store: EventStore) -> None:
        await store.save_snapshot(_snapshot(3))
        await store.save_snapshot(_snapshot(5))
        await store.save_snapshot(_snapshot(4))
        assert await store.load_snapshot("a-1") == _snapshot(5)

    async def test_one_of_another_definition_is_replaced(self, store: EventStore) -> None:
        await store.save_snapshot(_snapshot(5))
        await store.save_snapshot(_snapshot(4, "g"))
        assert await store.load_snapshot("a-1") == _snapshot(4, "g")

    async def test_dropped(self, store: EventStore) -> None:
        await store.save_snapshot(_snapshot(5))
        await store.drop_snapshot("a-1")
        await store.drop_snapshot("a-1")
        assert await store.load_snapshot("a-1") is None
