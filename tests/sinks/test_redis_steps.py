"""Steps of Redis read models: when an answer is lost, a page is large, or a table changes meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from msgspec import UNSET, UnsetType, field

from refold import faults
from refold.errors import ConfigurationError, InvalidQuery, StoreUnavailable
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.projections.checkpoint import Move
from refold.projections.row_store import Standing
from refold.projections.sink import Query, building, previous
from refold.projections.sinks.redis import RedisRows
from refold.projections.sinks.redis_server import RedisServer as Connection
from tests.faults.proxy import CuttingProxy
from tests.projections.stores import Added, Stock
from tests.servers import RedisServer

pytestmark = pytest.mark.redis

STOCK = read_model_of(Stock)
LIVE, BUILT, KEPT = "stock", building("stock"), previous("stock")
BEGUN = Standing(fingerprint=STOCK.fingerprint, epoch=1)
PAGE = [Stock(item=f"{item}", count=1) for item in range(500)]


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """A corner of its own in the shared server."""
    return redis_server.url(f"p{uuid4().hex[:12]}")


@pytest.fixture
async def rows(url: str) -> AsyncIterator[RedisRows]:
    rows = RedisRows(Connection(url))
    yield rows
    await rows.close()


@pytest.fixture
def proxy(url: str) -> CuttingProxy:
    return CuttingProxy(url)


async def count_in(rows: RedisRows, table: str) -> int | None:
    """The count of item `a`: who filled the table is seen by it."""
    _, loaded, _ = await rows.read(STOCK, table, [("a",)], None)
    row = loaded.rows.get(("a",))
    return row.count if isinstance(row, Stock) else None


async def fill(rows: RedisRows) -> None:
    for number, table in enumerate((LIVE, KEPT, BUILT), 1):
        await rows.create(STOCK, table, {table: BEGUN})
        assert await rows.write(STOCK, table, [Stock(item="a", count=number)], [], Move(0, 1, "x", 1))


@pytest.mark.parametrize("lost", ["exchange", "switch", "create", "drop", "fence", "write"])
async def test_an_answer_is_lost(lost: str, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step was done, and is sent again: it is done once, and its answer says so."""
    rows = RedisRows(Connection(proxy.url))
    await fill(rows)
    real = Connection.step

    async def step(self: Connection, name: str, what: str, *arguments: Any) -> Any:
        if what == lost:
            proxy.swallow()
        return await real(self, name, what, *arguments)

    monkeypatch.setattr(Connection, "step", step)
    try:
        match lost:
            case "exchange":
                assert await rows.exchange(LIVE, KEPT)
                assert (await count_in(rows, LIVE), await count_in(rows, KEPT)) == (2, 1)
            case "switch":
                assert await rows.switch(STOCK, BUILT, LIVE, KEPT)
                assert (await count_in(rows, LIVE), await count_in(rows, KEPT)) == (3, 1)
                assert await rows.standing(BUILT) is None
            case "create":
                await rows.create(STOCK, LIVE, {LIVE: BEGUN})
                assert await rows.standing(LIVE) == BEGUN
                assert await count_in(rows, LIVE) is None
            case "drop":
                await rows.drop(KEPT)
                assert await rows.standing(KEPT) is None
            case "fence":
                fenced = await rows.fence(LIVE, 2)
                assert fenced is not None
                assert (fenced.epoch, fenced.position) == (2, 1)
            case "write":
                # The one that tells its caller to look where the checkpoint stands.
                assert not await rows.write(STOCK, LIVE, [Stock(item="a", count=9)], [], Move(1, 2, "y", 1))
                stands = await rows.standing(LIVE)
                assert stands is not None
                assert (stands.position, await count_in(rows, LIVE)) == (2, 9)
        assert proxy.cuts == 1
    finally:
        await rows.close()


async def test_absent_tables_are_neither_switched_nor_exchanged(rows: RedisRows) -> None:
    await rows.create(STOCK, LIVE, {LIVE: BEGUN})
    assert not await rows.switch(STOCK, BUILT, LIVE, KEPT)
    assert not await rows.exchange(LIVE, KEPT)
    assert await rows.standing(LIVE) == BEGUN


@pytest.mark.parametrize("what", ["exchange", "switch"])
async def test_another_table_comes_between(what: str, rows: RedisRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be put in place is not what stands there now: nothing is changed."""
    await fill(rows)
    real = Connection.step

    async def step(self: Connection, name: str, asked: str, *arguments: Any) -> Any:
        if asked == what:
            monkeypatch.setattr(Connection, "step", real)
            for table in (KEPT, BUILT):
                await rows.create(STOCK, table, {table: BEGUN})
        return await real(self, name, asked, *arguments)

    monkeypatch.setattr(Connection, "step", step)
    done = rows.exchange(LIVE, KEPT) if what == "exchange" else rows.switch(STOCK, BUILT, LIVE, KEPT)
    assert not await done
    assert [await count_in(rows, table) for table in (LIVE, KEPT, BUILT)] == [1, None, None]


async def test_the_table_is_replaced_while_it_is_read_piece_by_piece(
    rows: RedisRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is read is cleared away, and another stands at the same position."""
    monkeypatch.setattr("refold.projections.sinks.redis._ALL_AT_ONCE", 10)
    await rows.create(STOCK, LIVE, {LIVE: BEGUN})
    assert await rows.write(STOCK, LIVE, PAGE, [], Move(0, 1, "x", 1))
    real, looks = Connection.rows, 0

    async def read(self: Connection, name: str, generation: str, at_once: int) -> list[list[bytes]]:
        nonlocal looks
        looks += 1
        if looks == 1:
            await rows.create(STOCK, BUILT, {BUILT: BEGUN})
            assert await rows.write(STOCK, BUILT, PAGE, [], Move(0, 1, "x", 1))
            assert await rows.switch(STOCK, BUILT, LIVE, None)
        return await real(self, name, generation, at_once)

    monkeypatch.setattr(Connection, "rows", read)
    stands, _, found = await rows.read(STOCK, LIVE, [], Query(None))
    assert stands is not None
    assert (stands.position, len(found), looks) == (1, len(PAGE), 2)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("refold.projections.sinks.redis._BYTES_AT_ONCE", 4_000)
    yield
    faults.install(None)


def staged(url: str) -> list[int]:
    """The seconds that each page which waits for its other parts is still kept."""
    server, _, prefix = url.partition("?prefix=")
    with redis.Redis.from_url(server) as client:
        return [client.ttl(key) for key in client.scan_iter(f"{{{prefix}:stock}}:page:*")]


@pytest.mark.usefixtures("small_parts")
async def test_a_page_in_parts_is_one_step(rows: RedisRows, url: str) -> None:
    """Nobody sees a part of it before, and none is left behind."""
    await rows.create(STOCK, LIVE, {LIVE: BEGUN})
    assert await rows.write(STOCK, LIVE, [Stock(item="gone")], [], Move(0, 1, "x", 1))
    seen: list[tuple[int, int]] = []
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            stands, _, found = await rows.read(STOCK, LIVE, [], Query(None))
            assert stands is not None
            seen.append((stands.position, len(found)))

    watching = asyncio.create_task(watch())
    assert await rows.write(STOCK, LIVE, PAGE, [("gone",)], Move(1, 2, "y", 1))
    done.set()
    await watching
    assert set(seen) <= {(1, 1), (2, len(PAGE))}
    loaded = await rows.load(STOCK, LIVE, [(row.item,) for row in PAGE])
    assert list(loaded.rows.values()) == PAGE
    assert await rows.count(STOCK, LIVE, None) == len(PAGE)
    assert staged(url) == []


@pytest.mark.usefixtures("small_parts")
async def test_a_page_in_parts_of_a_stale_owner(rows: RedisRows, url: str) -> None:
    await rows.create(STOCK, LIVE, {LIVE: BEGUN})
    await rows.fence(LIVE, 2)
    assert not await rows.write(STOCK, LIVE, PAGE, [], Move(0, 1, "x", 1))
    assert await rows.count(STOCK, LIVE, None) == 0
    assert staged(url) == []


@pytest.mark.usefixtures("small_parts")
async def test_a_writer_that_dies_between_two_parts(rows: RedisRows, url: str) -> None:
    """Nothing can be read of its page, which goes by itself; the next one writes it whole."""

    class Died(Exception):
        pass

    def die(point: str) -> None:
        if point == "redis.part_staged":
            raise Died

    await rows.create(STOCK, LIVE, {LIVE: BEGUN})
    faults.install(die)
    with pytest.raises(Died):
        await rows.write(STOCK, LIVE, PAGE, [], Move(0, 1, "x", 1))
    faults.install(None)
    assert await rows.standing(LIVE) == BEGUN
    assert await rows.count(STOCK, LIVE, None) == 0
    (left,) = staged(url)
    assert 0 < left <= 600
    assert await rows.write(STOCK, LIVE, PAGE, [], Move(0, 1, "x", 1))
    assert await rows.count(STOCK, LIVE, None) == len(PAGE)


@pytest.mark.usefixtures("small_parts")
async def test_a_part_is_gone_before_the_last(rows: RedisRows, url: str) -> None:
    """Of a page that is not whole, nothing is written; it is tried again."""
    server, _, prefix = url.partition("?prefix=")

    def lose(point: str) -> None:
        if point == "redis.before_write":
            with redis.Redis.from_url(server) as client:
                for key in client.scan_iter(f"{{{prefix}:stock}}:page:*"):
                    client.hdel(key, "1")

    await rows.create(STOCK, LIVE, {LIVE: BEGUN})
    faults.install(lose)
    with pytest.raises(StoreUnavailable, match="a part of the page is gone"):
        await rows.write(STOCK, LIVE, PAGE, [], Move(0, 1, "x", 1))
    faults.install(None)
    assert await rows.standing(LIVE) == BEGUN
    assert await rows.count(STOCK, LIVE, None) == 0


@pytest.mark.slow
async def test_a_page_larger_than_redis_takes_at_once(own_redis: RedisServer) -> None:
    """With the server's own limits: 512 MiB for one value."""
    rows = RedisRows(Connection(own_redis.url()))
    definition = read_model_of(Wide)
    await rows.create(definition, "wide", {"wide": Standing(fingerprint=definition.fingerprint, epoch=1)})
    text = "x" * (60 * 2**20)
    page = [Wide(item=f"{item}", text=text) for item in range(10)]
    assert await rows.write(definition, "wide", page, [], Move(0, 1, "x", 1))
    assert await rows.count(definition, "wide", None) == 10
    loaded = await rows.load(definition, "wide", [("9",)])
    assert loaded.rows == {("9",): page[9]}
    await rows.close()


class Wide(ReadModel, key="item"):
    item: str
    text: str = ""
    by_number: dict[int, str] = field(default_factory=dict)
    maybe: int | UnsetType = 0

    @evolve
    def added(self, event: Added) -> None:
        self.by_number[event.count] = "x"


async def test_keys_of_dictionaries_that_are_no_text(rows: RedisRows) -> None:
    definition = read_model_of(Wide)
    await rows.create(definition, "wide", {"wide": Standing(fingerprint=definition.fingerprint, epoch=1)})
    row = Wide(item="a", by_number={1: "x", -20: "y"})
    assert await rows.write(definition, "wide", [row], [], Move(0, 1, "x", 1))
    assert (await rows.load(definition, "wide", [("a",)])).rows == {("a",): row}


async def test_a_field_without_a_value_is_refused(rows: RedisRows) -> None:
    """It would keep the one it had."""
    definition = read_model_of(Wide)
    await rows.create(definition, "wide", {"wide": Standing(fingerprint=definition.fingerprint, epoch=1)})
    with pytest.raises(InvalidQuery, match=r"Wide\.maybe is UNSET in the row \('a',\).*keep None"):
        await rows.write(definition, "wide", [Wide(item="a", maybe=UNSET)], [], Move(0, 1, "x", 1))


async def test_a_node_of_a_cluster_without_the_slot() -> None:
    """It says what is wrong; the node that has the slot takes the read model whole."""
    more = "cluster-enabled yes\n"
    with RedisServer.create(more=more) as first, RedisServer.create(more=more) as second:
        await asyncio.to_thread(_join, first, second)
        prefixes = [f"p{number}" for number in range(20)]
        outcomes = {await _taken_by_one(prefix, first, second) for prefix in prefixes}
        assert outcomes == {first.port, second.port}


async def _taken_by_one(prefix: str, *servers: RedisServer) -> int:
    """The port of the server that took it; all others refused."""
    took = []
    for server in servers:
        rows = RedisRows(Connection(server.url(prefix)))
        problem = await _problem_of(rows)
        if problem:
            assert "one node of a cluster and has not the slot" in problem
        else:
            took.append(server.port)
        await rows.close()
    (port,) = took
    return port


async def _problem_of(rows: RedisRows) -> str:
    try:
        await fill(rows)
        assert await rows.switch(STOCK, BUILT, LIVE, KEPT)
    except ConfigurationError as problem:
        return str(problem)
    return ""


def _join(first: RedisServer, second: RedisServer) -> None:
    with (
        redis.Redis.from_url(first.url().partition("?")[0]) as one,
        redis.Redis.from_url(second.url().partition("?")[0]) as other,
    ):
        one.execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
        other.execute_command("CLUSTER ADDSLOTSRANGE", 8192, 16383)
        one.execute_command("CLUSTER MEET", "127.0.0.1", second.port)
        deadline = time.monotonic() + 30
        while any(each.execute_command("CLUSTER INFO")["cluster_state"] != "ok" for each in (one, other)):
            assert time.monotonic() < deadline, "the nodes do not come together"
