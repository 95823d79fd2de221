"""Real database servers for tests, benchmarks and developers: no Docker, no root, loopback only, on free ports."""

from tests.servers.installations import Installation, Unavailable, find_pgbouncer, find_postgres
from tests.servers.opensearch import OpenSearchServer, find_opensearch
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer

__all__ = [
    "Installation",
    "OpenSearchServer",
    "PgBouncer",
    "PostgresServer",
    "Unavailable",
    "find_opensearch",
    "find_pgbouncer",
    "find_postgres",
]
