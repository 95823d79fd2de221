"""Two releases beside each other on rows in another store, where a switch is several steps."""

from __future__ import annotations

import asyncio
import logging
from uuid import uuid4

import pytest

from refold import faults
from refold.folds.read_model import read_model_of
from refold.projections.definitions import retired
from refold.testing.memory import MemoryStore
from tests.projections.stores import Added, Total, shop
from tests.projections.test_releases import Renamed
from tests.projections.test_releases import second as later
from tests.servers import RedisServer

pytestmark = pytest.mark.redis
LEASE = 0.5


class Killed(BaseException):
    """As if the process ended there."""


async def test_the_old_release_does_not_take_its_rows_back(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it miss a moment, when the process of the new one ends as soon as its rows are in their place."""

    def die(point: str) -> None:
        if point == "external.switched":
            raise Killed

    store, sinks = MemoryStore(), {"total": redis_server.url(f"p{uuid4().hex[:12]}")}
    async with shop.connect(store, sinks=sinks, lease=LEASE) as old:
        assert await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]), timeout=20)
        with caplog.at_level(logging.INFO, logger="refold"):
            async with later.connect(store, sinks=sinks, lease=LEASE, projections=False) as new:
                faults.install(die)
                try:
                    with pytest.raises(Killed):
                        await new.rebuild(Renamed)
                finally:
                    faults.install(None)
            known = await old.projections.sink.definitions("total")
            assert retired(known, read_model_of(Total).fingerprint)
            row = await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]), timeout=20)
            assert row == Total(name="all", count=2)
            await asyncio.sleep(4 * LEASE)
        states = {each.name: each.fingerprint for each in await old.projections.checkpoints()}
        assert states["total"] == read_model_of(Renamed).fingerprint
        assert states["total__previous"] == read_model_of(Total).fingerprint
        assert "its definition changed" not in caplog.text
    await store.close()
