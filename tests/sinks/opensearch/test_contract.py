"""Read models in OpenSearch fulfil the contract of sinks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from refold.projections.external import ExternalSink
from refold.projections.sinks.memory import MemorySink
from refold.projections.sinks.opensearch import open_opensearch
from refold.testing.memory import MemoryStore
from refold.testing.sink_contract import SinkContract
from tests.servers import OpenSearchServer

pytestmark = pytest.mark.opensearch


class TestContract(SinkContract):
    @pytest.fixture
    async def sink(self, opensearch: OpenSearchServer, prefix: str) -> AsyncIterator[ExternalSink]:
        log = MemoryStore()
        sink = ExternalSink(log, MemorySink(log), await open_opensearch(opensearch.url(prefix)))
        await sink.prepare()
        yield sink
        await sink.close()
