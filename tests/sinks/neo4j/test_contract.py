"""Read models in Neo4j fulfil the contract of sinks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from refold.projections.external import ExternalSink
from refold.projections.sink import Sink
from refold.projections.sinks.memory import MemorySink
from refold.projections.sinks.neo4j import open_neo4j
from refold.testing.memory import MemoryStore
from refold.testing.sink_contract import SinkContract

pytestmark = pytest.mark.neo4j


class TestContract(SinkContract):
    @pytest.fixture
    async def sink(self, url: str) -> AsyncIterator[Sink]:
        log = MemoryStore()
        sink = ExternalSink(log, MemorySink(log), await open_neo4j(url))
        await sink.prepare()
        yield sink
        await sink.close()
