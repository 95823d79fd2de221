"""Nothing stands still in silence: what hangs, stops, or cannot reach its store is called, in a bounded time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from refold.app import App
from refold.errors import ConfigurationError
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.operations.endpoints import Endpoints
from refold.operations.health import Health
from refold.operations.monitor import Monitor
from refold.operations.status import status_of
from refold.projections.feed import Batch
from refold.projections.handwritten import ProjectionPage
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.operations.asking import ask, text_of, value
from tests.projections.stores import Added, Poison, Stock, Total, shop, until
from tests.servers import PostgresServer
from tests.servers.processes import wait_until

PATIENCE = 0.6
GATE = threading.Event()


class Held(ReadModel, key="item"):
    """Its fold comes back when the gate is opened."""

    item: str
    count: int = 0

    @evolve
    def added(self, event: Added) -> None:
        assert GATE.wait(60)
        self.count += event.count


holding = App("holding", read_models=[Held], events=[Added])


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    GATE.clear()
    yield GATE
    GATE.set()


def test_a_fold_that_hangs_is_called_though_the_event_loop_stands_still(
    tmp_path: Path, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with (
        holding.connect_sync(url, patience=PATIENCE) as context,
        context.entered(Monitor) as monitor,
        Endpoints(monitor, "0") as endpoints,
        ThreadPoolExecutor(1) as thread,
    ):
        # Where this process gets no turn for a moment, its loop is rightly said to have stood still.
        for path, well in (("/livez", {"live": True, "reasons": []}), ("/readyz", {"ready": True, "reasons": []})):
            wait_until(lambda: ask(endpoints.url, path) == (200, well), f"{path} to be well", timeout=10)  # noqa: B023
        appending = thread.submit(context.append, "held-a", [Added(count=1)])
        wait_until(lambda: ask(endpoints.url, "/livez")[0] == 503, "the standing loop to be called", timeout=10)
        wait_until(lambda: _stalled(endpoints.url, "held"), "the projection to be called", timeout=10)
        code, ready = ask(endpoints.url, "/readyz")
        assert code == 503
        assert any("the event loop has stood still" in reason for reason in ready["reasons"])
        assert any("read model held is stalled" in reason and "endless loop" in reason for reason in ready["reasons"])
        code, document = ask(endpoints.url, "/status")
        assert code == 200
        assert [(each["name"], each["state"]) for each in document["status"]["projections"]] == [("held", "stalled")]
        gate.set()
        appending.result(10)
        wait_until(lambda: ask(endpoints.url, "/readyz")[0] == 200, "all to be well again", timeout=10)
        assert value(text_of(endpoints.url), "refold_projection_stalled", projection="held") == 0
    said = [record.getMessage() for record in caplog.records if "stalled" in record.getMessage()]
    assert [record.split(":")[0] for record in said] == [
        "read model held is stalled",
        "read model held is no longer stalled",
    ]


def _stalled(url: str, name: str) -> bool:
    return value(text_of(url), "refold_projection_stalled", projection=name) == 1


async def test_a_store_of_rows_that_does_not_come_back_is_called(caplog: pytest.LogCaptureFixture) -> None:
    released = asyncio.Event()
    async with shop.connect(MemoryStore(), patience=PATIENCE) as context, Monitor(context) as monitor:
        write = context.projections.sink.write

        async def hanging(definition: Any, *rest: Any) -> bool:
            if definition.cls is Stock:
                await released.wait()
            return await write(definition, *rest)

        context.projections.sink.write = hanging  # type: ignore[method-assign,assignment]  # it hangs, for one
        await context.append("stock-a", [Added(count=1)])

        async def stalled() -> list[str]:
            return [each.name for each in context.projections.stalled()]

        assert await until(stalled, "the projection to be called") == ["stock"]
        assert monitor.live().well
        (reason,) = monitor.ready().reasons
        assert reason.startswith("read model stock is stalled: what it does after position 0 has not come back for ")
        assert context.projections.running()["stock"].status == "running"
        text = monitor.metrics()
        assert value(text, "refold_projection_state", projection="stock", state="stalled") == 1
        assert value(text, "refold_projection_state", projection="stock", state="running") == 0
        assert value(text, "refold_projection_stalled", projection="total") == 0
        released.set()

        async def well() -> bool:
            return monitor.ready().well

        await until(well, "it to go on")
    levels = [record.levelno for record in caplog.records if "stalled" in record.getMessage()]
    assert levels == [logging.ERROR, logging.WARNING]


async def test_a_hand_written_projection_that_hangs_is_called_too() -> None:
    released = asyncio.Event()
    mailing = App("mailing", events=[Added])

    @mailing.projection("mailer", transaction=False)
    async def mail(page: ProjectionPage) -> None:
        await released.wait()

    async with mailing.connect("sqlite:///:memory:", patience=PATIENCE) as context, Monitor(context) as monitor:
        await context.append("stock-a", [Added(count=1)])

        async def stalled() -> list[str]:
            return [each.name for each in context.projections.stalled()]

        assert await until(stalled, "the projection to be called") == ["mailer"]
        assert not monitor.ready().well
        released.set()
        await context.projections.reached("mailer", 1, 10)

        async def well() -> bool:
            return monitor.ready().well

        await until(well, "it to go on")
        assert value(monitor.metrics(), "refold_projection_events_folded_total", projection="mailer") == 1


async def test_one_that_only_looks_busy_is_called_when_the_log_grows() -> None:
    async with shop.connect(MemoryStore(), patience=PATIENCE) as context:
        await context.append("stock-a", [Added(count=1)])
        for model in (Stock, Total):
            await context.find(model, after=1)
        feed = context.projections._feed
        assert feed is not None

        async def blind(after: int) -> Batch:
            await asyncio.sleep(0.01)
            return Batch(after, after, after, None, [])

        feed.read = blind  # type: ignore[method-assign]  # it turns and turns, and never sees anything new
        await asyncio.sleep(1.5 * PATIENCE)
        assert context.projections.stalled() == []  # there is nothing to do
        await context.append("stock-a", [Added(count=1)])

        async def both_stalled() -> bool:
            return [each.name for each in context.projections.stalled()] == ["stock", "total"]

        await until(both_stalled, "the projections to be called")
        why = context.projections.stalled()[0].why
        assert why.startswith("the log has grown to 2, and it has not moved for ")


@pytest.mark.usefixtures("short_pauses")
async def test_one_that_stopped_is_not_ready(store: EventStore) -> None:
    async with shop.connect(store) as context, Monitor(context, every=0.5) as monitor:

        async def well() -> bool:
            return monitor.ready().well

        # A look may take as long as the time between two: on a busy machine some of them are given up.
        await until(well, "the store to have answered in time")
        await context.append("stock-a", [Poison()])

        async def told() -> Any:
            text, reasons = monitor.metrics(), monitor.ready().reasons
            stopped = value(text, "refold_projection_state", projection="total", state="stopped") == 1
            return (text, reasons) if stopped and len(reasons) == 1 else None

        text, (reason,) = await until(told, "it to stop, and nothing else to be wrong")
        assert reason.startswith("read model total has stopped (stopped): ")
        assert "it is poison" in reason
        assert monitor.live().well
        assert value(text, "refold_projection_failures_total", projection="total") == 5
        assert value(text, "refold_projection_failures_total", projection="stock") == 0
        assert value(text, "refold_ready") == 0
        # It says so by itself: it is not stalled too.
        assert context.projections.stalled() == []


async def test_one_that_nobody_moves_is_stalled_for_all_who_look(store: EventStore) -> None:
    async with shop.connect(store, projections=False) as context:
        sink = context.projections.sink

        async def state(patience: float = 0.3) -> tuple[str, str]:
            status = await status_of(context.store, sink, context.app, patience=patience)
            return next((each.state, each.error) for each in status.projections if each.name == "stock")

        claimed = await sink.claim("stock", "somebody:1", 30.0)
        assert claimed is not None
        await context.append("stock-a", [Added(count=1)])
        assert (await state(60))[0] == "running"

        async def stalled() -> str:
            found, error = await state()
            return error if found == "stalled" else ""

        error = await until(stalled, "it to be called")
        assert "its owner somebody:1 holds it" in error
        assert await sink.renew("stock", claimed.epoch, 0.01)
        await asyncio.sleep(0.05)
        assert "its owner somebody:1 neither holds it any more nor gave it back" in (await state())[1]
        status = await status_of(context.store, sink, context.app, patience=0.3)
        assert not status.ok
        await sink.release("stock", claimed.epoch)
        assert await state() == ("no worker", "")


@contextmanager
def killed(server: PostgresServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Its processes stand still: connections stay open, and nobody answers."""
    assert server.pid is not None
    family = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("gone", [killed, frozen])
async def test_a_server_that_is_gone_is_said_to_be_so_in_a_bounded_time(
    own_postgres: PostgresServer, gone: Callable[[PostgresServer], Any]
) -> None:
    url = own_postgres.create_database("gone")
    async with shop.connect(url, patience=30) as context, Monitor(context, every=0.5) as monitor:
        with Endpoints(monitor, "0") as endpoints:

            async def missed() -> bool:
                code, ready = await asyncio.to_thread(ask, endpoints.url, "/readyz")
                # Until a look is given up, what was seen may be too old only.
                return code == 503 and ready["reasons"][0].startswith("the store does not answer: ")

            async def accepted() -> bool:
                return (await asyncio.to_thread(ask, endpoints.url, "/readyz"))[0] == 200

            await until(accepted, "the store to have answered in time")
            with gone(own_postgres):
                await until(missed, "the store to be missed")
                password = own_postgres.password
                assert password not in str(await asyncio.to_thread(ask, endpoints.url, "/status"))
                assert (await asyncio.to_thread(ask, endpoints.url, "/livez"))[0] == 200
                assert value(await asyncio.to_thread(text_of, endpoints.url), "refold_store_up") == 0
            await until(accepted, "the store to be back", timeout=30)


async def test_how_often_it_looks_is_checked() -> None:
    async with shop.connect(MemoryStore()) as context:
        with pytest.raises(ConfigurationError, match="above 0"):
            Monitor(context, every=0)


def test_health_is_well_without_reasons() -> None:
    assert Health().well
    assert not Health(("something",)).well
