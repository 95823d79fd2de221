"""Fixtures: a place of a test's own on the shared server."""

from __future__ import annotations

import pytest

from tests.servers import Neo4jServer


@pytest.fixture
def url(neo4j_server: Neo4jServer) -> str:
    """The shared server, emptied; started again, if a test has stopped it. Its constraints stay, and what it knows of
    the statements: both take it long.
    """
    neo4j_server.start()
    neo4j_server.ask("MATCH (n) DETACH DELETE n")
    return neo4j_server.url("shop")
