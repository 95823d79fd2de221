"""Metrics say what happened, and nothing that is not known."""

from __future__ import annotations

import asyncio
import builtins
import sys
from pathlib import Path

import pytest

from refold.app import App
from refold.errors import Conflict, MissingExtra, Overloaded, StoreUnavailable
from refold.folds.read_model import read_model_of
from refold.operations.monitor import Monitor
from refold.store.append import NO_STREAM
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits
from refold.testing.memory import MemoryStore
from tests.operations.asking import names_in, value
from tests.projections.stores import Added, Stock, bulk, shop, until


async def test_appends_are_counted_by_what_became_of_them(store: EventStore) -> None:
    async with shop.connect(store) as context, Monitor(context) as monitor:
        await asyncio.gather(*(context.append(f"stock-{n}", [Added(count=1), Added(count=2)]) for n in range(5)))
        for _ in range(2):
            await context.append("stock-x", [Added(count=1)], append_id="the same")
        with pytest.raises(Conflict):
            await context.append("stock-x", [Added(count=1)], expected=NO_STREAM)
        async with context.transaction() as unit:
            unit.append("stock-y", [Added(count=1)])
        with pytest.raises(Conflict):
            async with context.transaction() as unit:
                unit.append("stock-y", [Added(count=1)], expected=NO_STREAM)
        text = monitor.metrics()
        outcomes = {
            name: value(text, "refold_appends_total", outcome=name) for name in ("stored", "repeated", "conflict")
        }
        assert outcomes == {"stored": 7, "repeated": 1, "conflict": 2}
        assert value(text, "refold_events_appended_total") == 12
        assert value(text, "refold_append_queue_depth") == 0
        # Those of transactions share no commit; the repetition and the conflict each had one.
        assert value(text, "refold_commit_batch_appends_sum") == 8
        assert value(text, "refold_commit_batch_appends_bucket", le="+Inf") == value(
            text, "refold_commit_batch_appends_count"
        )
        batches = value(text, "refold_commit_batch_appends_count")
        assert batches is not None
        assert 4 <= batches < 8


async def test_the_queue_and_what_it_refuses_are_counted() -> None:
    async with shop.connect(MemoryStore(limits=Limits(waiting_appends=3))) as context, Monitor(context) as monitor:
        coming = [asyncio.ensure_future(context.append(f"stock-{n}", [Added(count=1)])) for n in range(4)]
        await asyncio.sleep(0)
        assert value(monitor.metrics(), "refold_append_queue_depth") == 3
        results = await asyncio.gather(*coming, return_exceptions=True)
        assert isinstance(results[3], Overloaded)
        text = monitor.metrics()
        assert value(text, "refold_append_queue_depth") == 0
        assert value(text, "refold_appends_total", outcome="overloaded") == 1
        assert value(text, "refold_appends_total", outcome="stored") == 3


async def test_projections_are_measured(store: EventStore) -> None:
    async with shop.connect(store) as context, Monitor(context, every=0.5) as monitor:
        await bulk(context, 1_500, name="Added", payload=b'{"count":1}')
        await bulk(context, 500)

        async def current() -> str:
            now = monitor.metrics()
            positions = [value(now, "refold_projection_position", projection=name) for name in ("stock", "total")]
            # On a busy machine a look may be given up, and for so long it is not ready.
            return now if positions == [2_000] * 2 and value(now, "refold_ready") == 1 else ""

        text = await until(current, "the monitor to have seen it")
        assert value(text, "refold_head_position") == 2_000
        for name in ("stock", "total"):
            assert value(text, "refold_projection_lag_events", projection=name) == 0
            assert value(text, "refold_projection_lag_seconds", projection=name) == 0
            assert value(text, "refold_projection_events_folded_total", projection=name) == 1_500
            assert value(text, "refold_projection_failures_total", projection=name) == 0
            assert value(text, "refold_projection_owner", projection=name) == 1
            assert value(text, "refold_projection_owned", projection=name) == 1
            assert value(text, "refold_projection_stalled", projection=name) == 0
            assert value(text, "refold_projection_state", projection=name, state="running") == 1
            assert value(text, "refold_projection_state", projection=name, state="stopped") == 0
        moved = value(text, "refold_projection_last_progress_timestamp_seconds", projection="stock")
        recorded = value(text, "refold_head_recorded_timestamp_seconds")
        assert moved is not None
        assert recorded is not None
        assert -5 < moved - recorded < 60


async def test_lag_is_measured_in_events_and_in_seconds(store: EventStore) -> None:
    async with shop.connect(store, projections=False) as context:
        await context.append("stock-a", [Added(count=1)] * 3)
        await asyncio.sleep(0.2)
        async with Monitor(context) as monitor:
            text = monitor.metrics()
    assert value(text, "refold_projection_lag_events", projection="stock") == 3
    lag = value(text, "refold_projection_lag_seconds", projection="stock")
    assert lag is not None
    assert 0.2 <= lag < 30
    assert value(text, "refold_projection_owned", projection="stock") == 0
    # This process does not mean to move it.
    assert value(text, "refold_projection_owner", projection="stock") is None


async def test_the_progress_of_a_rebuild_is_measured_apart(store: EventStore) -> None:
    async with shop.connect(store, projections=False) as context:
        await context.append("stock-a", [Added(count=1)] * 4)
        await context.projections.sink.begin(read_model_of(Stock), "a builder", 30)
        async with Monitor(context) as monitor:
            text = monitor.metrics()
    assert value(text, "refold_rebuild_position", projection="stock") == 0
    assert value(text, "refold_rebuild_progress_ratio", projection="stock") == 0
    assert text.count('refold_projection_position{projection="stock"') == 1


async def test_what_is_not_known_any_more_is_not_told() -> None:
    store = MemoryStore()
    async with shop.connect(store) as context, Monitor(context, every=0.05) as monitor:
        await context.append("stock-a", [Added(count=1)])

        async def up() -> bool:
            return value(monitor.metrics(), "refold_store_up") == 1

        await until(up, "the store to have answered in time")

        async def away() -> None:
            raise StoreUnavailable("the store is away")

        store.head = away  # type: ignore[method-assign,assignment]  # the store goes away

        async def silent() -> bool:
            return value(monitor.metrics(), "refold_projection_lag_events", projection="stock") is None

        await until(silent, "the old lag to be left out")
        text = monitor.metrics()
        assert value(text, "refold_store_up") == 0
        assert value(text, "refold_ready") == 0
        assert value(text, "refold_head_position") is None
        age = value(text, "refold_status_age_seconds")
        assert age is not None
        assert age > 1
        # What this process knows by itself is still told.
        assert value(text, "refold_appends_total", outcome="stored") == 1


async def test_two_contexts_do_not_share_their_metrics() -> None:
    async with (
        shop.connect(MemoryStore()) as one,
        shop.connect(MemoryStore()) as two,
        Monitor(one) as first,
        Monitor(two) as second,
    ):
        await one.append("stock-a", [Added(count=1)])
        assert value(first.metrics(), "refold_events_appended_total") == 1
        assert value(second.metrics(), "refold_events_appended_total") == 0


def test_an_application_without_async_has_them_too(tmp_path: Path) -> None:
    with shop.connect_sync(f"sqlite:///{tmp_path}/log.db") as context, context.entered(Monitor) as monitor:
        context.append("stock-a", [Added(count=1)])
        assert value(monitor.metrics(), "refold_events_appended_total") == 1
        assert monitor.ready().well


async def test_labels_have_no_secrets(postgres_url_with_password: str) -> None:
    password = postgres_url_with_password.split("@")[0].rpartition(":")[2]
    async with shop.connect(postgres_url_with_password) as context, Monitor(context) as monitor:
        await context.append("stock-a", [Added(count=1)])
        assert password not in monitor.metrics()
        assert password not in str(monitor.document())


@pytest.fixture
def postgres_url_with_password(fresh_database: str) -> str:
    assert ":" in fresh_database.split("@")[0].removeprefix("postgresql://")
    return fresh_database


async def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    async with App("nothing").connect(MemoryStore()) as context, Monitor(context) as monitor:
        with pytest.raises(MissingExtra, match=r"pip install 'refold\[metrics\]'"):
            monitor.metrics()
        assert monitor.ready().well


async def test_all_names_are_there_from_the_beginning() -> None:
    async with App("nothing").connect(MemoryStore()) as context, Monitor(context) as monitor:
        names = names_in(monitor.metrics())
    assert {"refold_projection_lag_events", "refold_appends_total", "refold_commit_batch_appends_bucket"} <= names
