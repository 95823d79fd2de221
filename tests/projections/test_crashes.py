"""A crash of Postgres takes back what was not flushed: only what is found out, and folded again."""

from __future__ import annotations

import pytest

from refold.folds.read_model import read_model_of
from refold.projections.checkpoint import Move
from refold.projections.sink import building
from tests.projections.stores import Added, Stock, shop, until
from tests.servers import PostgresServer

pytestmark = pytest.mark.postgres
STOCK = read_model_of(Stock)
TABLE = building("stock")


@pytest.fixture
def url(own_postgres: PostgresServer) -> str:
    """A server that writes to the disk only what somebody waits for."""
    own_postgres.configure({"wal_writer_delay": "10s", "autovacuum": "off"})
    own_postgres.restart()
    return own_postgres.create_database("crashed")


async def test_what_the_processes_of_a_rebuild_write_is_kept(url: str, own_postgres: PostgresServer) -> None:
    """It moves no checkpoint, so nobody would miss it."""
    async with shop.connect(url, projections=False) as context:
        built = await context.projections.sink.begin(STOCK, "builder", 60)
        assert built is not None
        for item in "ab":
            rows = [Stock(item=item, count=1)]
            assert await context.projections.sink.write(STOCK, TABLE, rows, [], Move(0, 0, "", built.epoch))
        own_postgres.stop("immediate")
        own_postgres.start()
        loaded = await context.projections.sink.load(STOCK, TABLE, [("a",), ("b",), ("c",)])
        assert set(loaded.rows) == {("a",), ("b",)}


async def test_the_move_behind_them_is_kept(url: str, own_postgres: PostgresServer) -> None:
    """At 0 with all of their rows, the events would be folded into them a second time."""
    async with shop.connect(url, projections=False) as context:
        built = await context.projections.sink.begin(STOCK, "builder", 60)
        assert built is not None
        assert await context.projections.sink.write(STOCK, TABLE, [], [], Move(0, 7, "", built.epoch))
        own_postgres.stop("immediate")
        own_postgres.start()
        checkpoint = await context.projections.sink.checkpoint(TABLE)
        assert checkpoint is not None
        assert checkpoint.position == 7


async def test_what_a_crash_took_back_is_folded_again_though_nothing_more_comes(
    url: str, own_postgres: PostgresServer
) -> None:
    """Also where nothing was asked of the server meanwhile, so that nobody has noticed."""
    async with shop.connect(url, lease=4.0) as context:
        await context.get(Stock, "a", after=await context.append("stock-a", [Added(count=1)]), timeout=20)
        last = await context.append("stock-a", [Added(count=1)])
        await context.get(Stock, "a", after=last, timeout=20)
        # No statement, and no turn of the loop, until it is over.
        own_postgres.stop("immediate")
        own_postgres.start()

        async def folded() -> bool:
            row = await context.get(Stock, "a")
            return row is not None and row.count == 2

        await until(folded, "the row to be as it was")


async def test_a_page_is_kept_or_lost_with_its_checkpoint(url: str, own_postgres: PostgresServer) -> None:
    async with shop.connect(url, projections=False) as context:
        built = await context.projections.sink.begin(STOCK, "builder", 60)
        assert built is not None
        for before in (0, 7):
            rows = [Stock(item="a", count=before)]
            move = Move(before, before + 7, "", built.epoch)
            assert await context.projections.sink.write(STOCK, TABLE, rows, [], move)
        own_postgres.stop("immediate")
        own_postgres.start()
        checkpoint = await context.projections.sink.checkpoint(TABLE)
        loaded = await context.projections.sink.load(STOCK, TABLE, [("a",)])
        assert checkpoint is not None
        assert (checkpoint.position, loaded.rows["a",].count) in [(7, 0), (14, 7)]  # type: ignore[attr-defined]  # rows of stock
