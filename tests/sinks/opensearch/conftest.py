"""Fixtures: names of a test's own on the shared server, and rows that are owned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from refold.projections.sinks.opensearch import OpenSearchRows
from refold.projections.sinks.opensearch_server import Server, place_of
from refold.testing.sink_contract import EVERYTHING
from tests.servers import OpenSearchServer
from tests.sinks.opensearch.common import HEAD, NAME


@pytest.fixture
def prefix(opensearch: OpenSearchServer) -> Iterator[str]:
    name = f"t{uuid4().hex[:12]}"
    yield name
    opensearch.ask("DELETE", f"/{name}-*")


@pytest.fixture
async def rows(opensearch: OpenSearchServer, prefix: str) -> AsyncIterator[OpenSearchRows]:
    """Rows with the table of `Everything`, owned in epoch 1."""
    found = OpenSearchRows(Server(place_of(opensearch.url(prefix))))
    await found.create(EVERYTHING, NAME, {NAME: HEAD})
    yield found
    await found.close()
