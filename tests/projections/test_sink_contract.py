"""Every sink passes the one contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from refold.projections.sink import Sink
from refold.projections.sinks.memory import MemorySink
from refold.projections.sinks.postgres import PostgresSink
from refold.projections.sinks.sqlite import SqliteSink
from refold.store.postgres import open_postgres
from refold.store.sqlite import open_sqlite
from refold.testing.memory import MemoryStore
from refold.testing.sink_contract import SinkContract


class TestMemory(SinkContract):
    @pytest.fixture
    async def sink(self) -> AsyncIterator[Sink]:
        store = MemoryStore()
        yield MemorySink(store)
        await store.close()


class TestSqliteFile(SinkContract):
    @pytest.fixture
    async def sink(self, tmp_path: Path) -> AsyncIterator[Sink]:
        store = await open_sqlite(f"sqlite:///{tmp_path}/log.db")
        sink = SqliteSink(store)
        await sink.prepare()
        yield sink
        await store.close()


class TestSqliteInMemory(SinkContract):
    @pytest.fixture
    async def sink(self) -> AsyncIterator[Sink]:
        store = await open_sqlite("sqlite:///:memory:")
        sink = SqliteSink(store)
        await sink.prepare()
        yield sink
        await store.close()


class TestPostgres(SinkContract):
    @pytest.fixture
    async def sink(self, fresh_database: str) -> AsyncIterator[Sink]:
        store = await open_postgres(fresh_database)
        sink = PostgresSink(store)
        await sink.prepare()
        yield sink
        await store.close()
