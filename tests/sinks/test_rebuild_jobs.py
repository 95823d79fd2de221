"""A rebuild in several processes, where the rows live outside of the log's database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from refold.errors import ProjectionStopped
from refold.folds.read_model import ReadModelDefinition, read_model_of
from refold.projections.rebuild import RebuildProgress
from tests.projections.stores import Stock, assert_equals_fold, bulk, shop
from tests.servers import PostgresServer, RedisServer
from tests.sinks.common import fill

Told = Callable[[RebuildProgress], None] | None


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


@pytest.mark.postgres
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


@pytest.mark.redis
async def test_a_store_that_may_have_forgotten_what_they_wrote_is_not_believed(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """The position beside their rows is the same before and after, so nobody would miss them."""

    async def split(definition: ReadModelDefinition, epoch: int, progress: Told, until: int | None) -> int:
        own_redis.stop()
        own_redis.start()
        return 3

    async with shop.connect(
        f"sqlite:///{tmp_path}/log.db", sinks={"stock": own_redis.url()}, projections=False
    ) as context:
        await fill(context)
        with pytest.raises(
            ProjectionStopped, match=r"was restarted while several processes filled it.*rebuild it again"
        ):
            await context.projections.rebuild(read_model_of(Stock), split=split)
        await context.rebuild(Stock)
    async with shop.connect(f"sqlite:///{tmp_path}/log.db", sinks={"stock": own_redis.url()}, lease=1.0) as context:
        await assert_equals_fold(context, Stock)
