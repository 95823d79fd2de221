"""Every store passes the one contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from refold.store.event_store import EventStore
from refold.store.group_commit import Limits
from refold.store.postgres import open_postgres
from refold.store.sqlite import open_sqlite
from refold.testing.contract import EventStoreContract
from refold.testing.memory import MemoryStore

SMALL = Limits(waiting_appends=10)


class TestMemory(EventStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[EventStore]:
        store = MemoryStore(window=7)
        yield store
        await store.close()

    @pytest.fixture
    async def small_store(self) -> AsyncIterator[EventStore]:
        store = MemoryStore(limits=SMALL)
        yield store
        await store.close()


class TestSqliteFile(EventStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[EventStore]:
        store = await open_sqlite(f"sqlite:///{tmp_path}/log.db", window=7)
        yield store
        await store.close()

    @pytest.fixture
    async def small_store(self, tmp_path: Path) -> AsyncIterator[EventStore]:
        store = await open_sqlite(f"sqlite:///{tmp_path}/log.db", limits=SMALL)
        yield store
        await store.close()


class TestSqliteInMemory(EventStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[EventStore]:
        store = await open_sqlite("sqlite:///:memory:")
        yield store
        await store.close()

    @pytest.fixture
    async def small_store(self) -> AsyncIterator[EventStore]:
        store = await open_sqlite("sqlite:///:memory:", limits=SMALL)
        yield store
        await store.close()


class TestPostgres(EventStoreContract):
    @pytest.fixture
    async def store(self, fresh_database: str) -> AsyncIterator[EventStore]:
        store = await open_postgres(fresh_database)
        yield store
        await store.close()

    @pytest.fixture
    async def small_store(self, fresh_database: str) -> AsyncIterator[EventStore]:
        store = await open_postgres(fresh_database, limits=SMALL)
        yield store
        await store.close()
