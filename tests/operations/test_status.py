"""Where everything stands."""

from __future__ import annotations

import asyncio

from refold.folds.read_model import read_model_of
from refold.operations.status import status_of
from refold.store.event_store import EventStore
from tests.projections.stores import Added, Stock, shop


async def test_a_rebuild_that_was_killed_is_not_said_to_go_on(store: EventStore) -> None:
    async with shop.connect(store, projections=False) as context:
        await context.append("stock-a", [Added(count=1)])
        sink = context.projections.sink

        async def building() -> tuple[str, str]:
            status = await status_of(context.store, sink, context.app)
            assert status.ok
            return next((each.state, each.error) for each in status.projections if each.name == "stock__building")

        begun = await sink.begin(read_model_of(Stock), "a builder", 60)
        assert begun is not None
        assert await building() == ("rebuilding", "")
        assert await sink.renew(begun.name, begun.epoch, 0.01)
        await asyncio.sleep(0.05)
        state, error = await building()
        assert state == "abandoned"
        assert "refold rebuild stock" in error
        await context.rebuild(Stock)
        assert [each.name for each in (await status_of(context.store, sink, context.app)).projections] == [
            "stock",
            "stock__previous",
            "total",
        ]
