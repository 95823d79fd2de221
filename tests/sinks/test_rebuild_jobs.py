"""A rebuild in several processes, where the rows live outside of the log's database."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.projections.stores import Stock, assert_equals_fold, bulk, shop
from tests.servers import PostgresServer
from tests.sinks.common import fill

pytestmark = pytest.mark.postgres


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        "parquet",
        pytest.param("opensearch", marks=pytest.mark.opensearch),
        pytest.param("neo4j", marks=pytest.mark.neo4j),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own in each store."""
    if request.param == "parquet":
        return f"parquet://{tmp_path}/rows"
    servers = {"redis": "redis_server", "opensearch": "opensearch", "neo4j": "neo4j_server"}
    server = request.getfixturevalue(servers[request.param])
    return str(server.url(f"t{uuid4().hex[:12]}"))


async def test_the_same_rows(place: str, postgres18: PostgresServer) -> None:
    url = postgres18.create_database(f"jobs_{uuid4().hex}")
    async with shop.connect(url, sinks={"stock": place}, projections=False) as context:
        await bulk(context, 1_500, size=15, name="Added", payload=b'{"count":1}')
        await fill(context)
        await context.rebuild(Stock, jobs=2)
        last = await fill(context)
        await context.rebuild(Stock, jobs=2)
    async with shop.connect(url, sinks={"stock": place}, lease=1.0) as context:
        await context.get(Stock, "1", after=last, timeout=30)
        await assert_equals_fold(context, Stock)
