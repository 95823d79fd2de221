"""Fixtures: names of a test's own on the shared server."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.servers import Neo4jServer


@pytest.fixture
def prefix() -> str:
    return f"t{uuid4().hex[:10]}"


@pytest.fixture
def url(neo4j_server: Neo4jServer, prefix: str) -> str:
    """A corner of its own in the shared server."""
    return neo4j_server.url(prefix)
