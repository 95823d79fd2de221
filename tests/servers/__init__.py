"""Real database servers for tests, benchmarks and developers: no Docker, no root, loopback only, on free ports."""

from tests.servers.chromium import find_chromium
from tests.servers.installations import Installation, Unavailable, find_pgbouncer, find_postgres
from tests.servers.neo4j import Neo4jServer, find_neo4j
from tests.servers.opensearch import OpenSearchServer, find_opensearch
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.prometheus import Prometheus, find_prometheus, promtool
from tests.servers.redis import RedisServer, find_redis

__all__ = [
    "Installation",
    "Neo4jServer",
    "OpenSearchServer",
    "PgBouncer",
    "PostgresServer",
    "Prometheus",
    "RedisServer",
    "Unavailable",
    "find_chromium",
    "find_neo4j",
    "find_opensearch",
    "find_pgbouncer",
    "find_postgres",
    "find_prometheus",
    "find_redis",
    "promtool",
]
