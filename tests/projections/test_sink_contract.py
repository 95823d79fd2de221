"""Every sink passes the one contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from refold.projections.external import ExternalSink
from refold.projections.sink import LogSink, Sink
from refold.projections.sinks.memory import MemorySink
from refold.projections.sinks.postgres import PostgresSink
from refold.projections.sinks.sqlite import SqliteSink
from refold.store.postgres import open_postgres
from refold.store.sqlite import open_sqlite
from refold.testing.memory import MemoryStore
from refold.testing.records_contract import RecordsContract
from refold.testing.sink_contract import LogSinkContract, SinkContract
from tests.projections.as_documents import as_documents
from tests.projections.memory_rows import MemoryRows
from tests.servers import PostgresServer


class TestMemory(LogSinkContract, RecordsContract):
    @pytest.fixture
    async def sink(self) -> AsyncIterator[LogSink]:
        store = MemoryStore()
        yield MemorySink(store)
        await store.close()


class TestSqliteFile(LogSinkContract, RecordsContract):
    @pytest.fixture
    async def sink(self, tmp_path: Path) -> AsyncIterator[LogSink]:
        store = await open_sqlite(f"sqlite:///{tmp_path}/log.db")
        sink = SqliteSink(store)
        await sink.prepare()
        yield sink
        await store.close()


class TestSqliteInMemory(LogSinkContract, RecordsContract):
    @pytest.fixture
    async def sink(self) -> AsyncIterator[LogSink]:
        store = await open_sqlite("sqlite:///:memory:")
        sink = SqliteSink(store)
        await sink.prepare()
        yield sink
        await store.close()


class TestPostgres(LogSinkContract, RecordsContract):
    @pytest.fixture
    async def sink(self, fresh_database: str) -> AsyncIterator[LogSink]:
        store = await open_postgres(fresh_database)
        sink = PostgresSink(store)
        await sink.prepare()
        yield sink
        await store.close()


class TestSqliteDocuments(LogSinkContract):
    @pytest.fixture
    async def sink(self, tmp_path: Path) -> AsyncIterator[LogSink]:
        store = await open_sqlite(f"sqlite:///{tmp_path}/log.db")
        sink = as_documents(SqliteSink(store))
        await sink.prepare()
        yield sink
        await store.close()


@pytest.mark.postgres
class TestPostgresDocuments(LogSinkContract):
    """On one version: how documents are kept is the same in each."""

    @pytest.fixture
    async def sink(self, postgres18: PostgresServer) -> AsyncIterator[LogSink]:
        name = f"documents_{uuid4().hex}"
        store = await open_postgres(postgres18.create_database(name))
        sink = as_documents(PostgresSink(store))
        await sink.prepare()
        yield sink
        await store.close()
        postgres18.drop_database(name)


class TestExternal(SinkContract):
    @pytest.fixture(params=[False, True], ids=["in one step", "rows before checkpoint"])
    async def sink(self, request: pytest.FixtureRequest) -> AsyncIterator[Sink]:
        store = MemoryStore()
        yield ExternalSink(store, MemorySink(store), MemoryRows(versioned=request.param))
        await store.close()
