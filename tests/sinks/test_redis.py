"""Read models in a real Redis: the contract of sinks, and what becomes of rows when processes and servers die."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from refold.errors import ConfigurationError, LogRegression, StaleRead, StoreFull, StoreUnavailable
from refold.projections.checkpoint import Move
from refold.projections.external import ExternalSink
from refold.projections.parking.records import Park, ParkedKey, Request
from refold.projections.row_store import Standing
from refold.projections.sink import Query, Sink, building, previous
from refold.projections.sinks.memory import MemorySink
from refold.projections.sinks.redis import open_redis
from refold.testing.memory import MemoryStore
from refold.testing.sink_contract import SinkContract
from tests.projections.stores import Added, Stock, assert_equals_fold, shop, until
from tests.server.process import ServerProcess
from tests.servers import RedisServer
from tests.sinks.common import (
    LEASE,
    ROOT,
    STOCK,
    assert_readers_never_see_old_rows,
    assert_survives,
    assert_too_large_is_named,
    connected,
    error_of,
    fill,
    made,
    opened,
    points,
    reads,
)

pytestmark = pytest.mark.redis


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """A corner of its own in the shared server."""
    return redis_server.url(f"p{uuid4().hex[:12]}")


class TestRedis(SinkContract):
    @pytest.fixture
    async def sink(self, url: str) -> AsyncIterator[Sink]:
        store, rows = MemoryStore(), await open_redis(url)
        yield ExternalSink(store, MemorySink(store), rows)
        await rows.close()
        await store.close()


# A page in parts: see test_redis_steps.
@pytest.mark.parametrize("point", points("redis.", but={"external.rows_before_checkpoint", "redis.part_staged"}))
async def test_killed(point: str, tmp_path: Path, url: str) -> None:
    await assert_survives(point, tmp_path, url)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_the_server_goes_and_comes_back(how: str, tmp_path: Path, own_redis: RedisServer) -> None:
    """Commands go on; the projection says that it waits, and goes on by itself."""
    async with connected(tmp_path, own_redis.url()) as context:
        await fill(context)
        await assert_equals_fold(context)
        await asyncio.to_thread(own_redis.stop if how == "stop" else own_redis.kill)
        last = await fill(context)
        with pytest.raises((StaleRead, StoreUnavailable)):
            await context.get(Stock, "1", after=last, timeout=0.3)
        error = await until(lambda: error_of(context), "the reason to be shown")
        assert "redis at 127.0.0.1" in error
        assert own_redis.password not in error
        await asyncio.to_thread(own_redis.start)
        await until(lambda: reads(context), "reads to be answered again")
        await assert_equals_fold(context)


async def test_it_lost_its_last_writes(tmp_path: Path, own_redis: RedisServer) -> None:
    """A copy of earlier is in its place, as after a failover: it goes back, and the rows are right again."""
    async with connected(tmp_path, own_redis.url()) as context:
        await fill(context)
        await assert_equals_fold(context)
        await asyncio.to_thread(own_redis.stop)
        kept = own_redis.folder / "appendonlydir"
        await asyncio.to_thread(shutil.copytree, kept, tmp_path / "earlier")
        await asyncio.to_thread(own_redis.start)
        await fill(context)
        await until(lambda: reads(context), "reads to be answered again")
        await assert_equals_fold(context)
        await asyncio.to_thread(own_redis.kill)
        for file in kept.iterdir():
            await asyncio.to_thread(shutil.copyfile, tmp_path / "earlier" / file.name, file)
        await asyncio.to_thread(own_redis.start)
        await until(lambda: reads(context), "reads to be answered again")
        await fill(context, 3)
        await assert_equals_fold(context)


async def test_emptied_behind_our_back(tmp_path: Path, own_redis: RedisServer) -> None:
    async with connected(tmp_path, own_redis.url()) as context:
        await fill(context)
        await assert_equals_fold(context)
        assert own_redis.ask("FLUSHALL") == "+OK"
        await fill(context, 3)
        await until(lambda: reads(context), "the table to be made anew")
        await assert_equals_fold(context)


async def test_a_stale_owner_writes_nothing(url: str) -> None:
    """One that stood still while another took over."""
    async with opened(url) as rows:
        await made(rows)
        assert await rows.write(STOCK, "stock", [Stock(item="a", count=1)], [], Move(0, 1, "x", 1))
        assert (await rows.fence("stock", 2)) == Standing(
            position=1, append_id="x", fingerprint=STOCK.fingerprint, epoch=2
        )
        assert not await rows.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(1, 2, "y", 1))
        assert await rows.write(STOCK, "stock", [Stock(item="a", count=2)], [], Move(1, 2, "y", 2))
        assert (await rows.load(STOCK, "stock", [("a",)])).rows == {("a",): Stock(item="a", count=2)}
        # Not even into a table that took the place of its own_redis.
        await rows.create(STOCK, building("stock"), {building("stock"): Standing(fingerprint="x", epoch=7)})
        assert await rows.switch(STOCK, building("stock"), "stock", previous("stock"))
        assert not await rows.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(2, 3, "z", 2))


async def test_what_no_table_needs_any_more_is_cleared_away(url: str, redis_server: RedisServer) -> None:
    """After builds, switches and drops, nothing but the live rows is there."""
    async with opened(url) as rows:
        for number in range(4):
            built = building("stock")
            await rows.create(STOCK, built, {built: Standing(fingerprint=STOCK.fingerprint, epoch=1)})
            many = [Stock(item=f"{item}", count=number) for item in range(2_500)]
            assert await rows.write(STOCK, built, many, [], Move(0, 1, "x", 1))
            assert await rows.switch(STOCK, built, "stock", None)
        prefix = url.rpartition("=")[2]
        count = await asyncio.to_thread(_keys, redis_server, prefix)
        assert count == 2_500 + 5  # rows; tables, generations, shards, keys, checkpoint
        await rows.drop("stock")
        assert await asyncio.to_thread(_keys, redis_server, prefix) == 0


def _keys(server: RedisServer, prefix: str) -> int:
    script = f"return #redis.call('keys', '{{{prefix}:*')"
    return int(server.ask(f'EVAL "{script}" 0').removeprefix(":"))


async def test_readers_never_see_old_rows_after_a_newer_standing(url: str) -> None:
    async with opened(url) as rows:
        await assert_readers_never_see_old_rows(rows, 150)


async def test_more_rows_than_one_script_reads(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read piece by piece, and again when something was written meanwhile."""
    monkeypatch.setattr("refold.projections.sinks.redis._ALL_AT_ONCE", 10)
    async with opened(url) as rows:
        await made(rows)
        done = False

        async def write() -> None:
            nonlocal done
            for position in range(1, 30):
                page = [Stock(item=f"{item}", count=position) for item in range(60)]
                assert await rows.write(STOCK, "stock", page, [], Move(position - 1, position, "x", 1))
                await asyncio.sleep(0.01)
            done = True

        async def read() -> None:
            while not done:
                stands, _, found = await rows.read(STOCK, "stock", [], Query(None))
                assert stands is not None
                assert {each.count for each in found} <= {stands.position}  # type: ignore[attr-defined]

        await asyncio.gather(write(), read())
        _, _, found = await rows.read(STOCK, "stock", [], Query(None))
        assert len(found) == 60
        assert await rows.count(STOCK, "stock", None) == 60


async def test_a_row_is_a_hash_that_people_can_read(tmp_path: Path, url: str, redis_server: RedisServer) -> None:
    async with connected(tmp_path, url) as context:
        last = await context.append("stock-42", [Added(count=3)])
        assert await context.get(Stock, "42", after=last, timeout=20) == Stock(item="42", count=3, last=1)
    tables = f"{{{url.rpartition('=')[2]}:stock}}"
    generation = await asyncio.to_thread(_bulk, redis_server, f"HGET {tables} stock")
    row = f"{tables}:{generation}:row:42"
    assert await asyncio.to_thread(_bulk, redis_server, f"HGET {row} count") == "3"
    assert await asyncio.to_thread(_bulk, redis_server, f"HGET {row} item") == "42"


def _bulk(server: RedisServer, command: str) -> str:
    import socket

    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as line:
        line.sendall(f"AUTH {server.password}\r\n{command}\r\n".encode())
        stream = line.makefile("rb")
        stream.readline()
        stream.readline()
        return stream.readline().decode().strip()


async def test_a_server_that_throws_rows_away_is_refused(own_redis: RedisServer) -> None:
    assert own_redis.ask("CONFIG SET maxmemory 100mb") == "+OK"
    assert own_redis.ask("CONFIG SET maxmemory-policy allkeys-lru") == "+OK"
    async with opened(own_redis.url()) as rows:
        with pytest.raises(ConfigurationError, match=r"throws keys away .*set maxmemory-policy noeviction"):
            await rows.prepare()
        assert own_redis.ask("CONFIG SET maxmemory-policy noeviction") == "+OK"
        await rows.prepare()


async def test_a_full_server(tmp_path: Path, own_redis: RedisServer) -> None:
    """The projection waits, with the reason, and goes on when there is room again."""
    async with connected(tmp_path, own_redis.url()) as context:
        await fill(context)
        await assert_equals_fold(context)
        assert own_redis.ask("CONFIG SET maxmemory 1") == "+OK"
        last = await fill(context, 3)

        local = context.projections.local("stock")
        assert local is not None
        await until(lambda: asyncio.sleep(0, "is full" in local.error), "the projection to be refused")
        with pytest.raises((StaleRead, StoreFull), match="is full"):
            await context.get(Stock, "1", after=last, timeout=2)
        # The server answers, so whoever looks from elsewhere would not find out.
        assert "it waits for the store" in await error_of(context)
        assert "is full" in await error_of(context)
        assert own_redis.ask("CONFIG SET maxmemory 0") == "+OK"
        await assert_equals_fold(context)
        assert await error_of(context) == ""


async def test_wrong_logins_and_places(tmp_path: Path, own_redis: RedisServer) -> None:
    """One line each, without the password."""
    for url, said in (
        (own_redis.url(password="wrong"), "refuses the login"),
        (f"redis://127.0.0.1:{own_redis.port}/0", "login"),
        ("redis://127.0.0.1:1/0", "cannot be reached"),
    ):
        async with opened(url) as rows:
            with pytest.raises((ConfigurationError, StoreUnavailable), match=said) as problem:
                await rows.prepare()
        assert "\n" not in str(problem.value)
        assert "wrong" not in str(problem.value)
    async with opened(own_redis.url().replace("/0", "/99")) as rows:
        with pytest.raises(ConfigurationError, match="has no database of that number"):
            await rows.prepare()
            await rows.standing("stock")
    for url, said in (
        ("redis://h/abc", r"names database 'abc', which is no number; use redis://"),
        ("redis://h/-1", "names database '-1', which is no number"),
        ("redis:///0", "no host"),
        ("redis://h/0?prefx=a", "has an option 'prefx'"),
        ("redis://h/0?prefix=a{b", "must be letters, digits"),
        ("redis://h:x/0", "cannot be read"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            await open_redis(url)
    # The application starts with a wrong password, and says so in its status.
    async with connected(tmp_path, own_redis.url(password="wrong")) as context:
        await fill(context, 2)

        async def said_in_status() -> bool:
            return "refuses the login" in await error_of(context)

        await until(said_in_status, "the reason to be shown")


def project(folder: Path, url: str) -> None:
    """The settings of the shop, with its stock in that Redis."""
    (folder / "refold.toml").write_text(
        f"""
        app = "tests.projections.stores:shop"
        url = "sqlite:///{folder}/log.db"
        [sinks]
        stock = "{url}"
        """
    )


def refold_in(folder: Path, *arguments: str) -> tuple[int, str]:
    """The command line's exit code, and all that it says."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("refold")), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_refused_login_is_an_exit_code(tmp_path: Path, own_redis: RedisServer) -> None:
    """`worker --once` and `status` end with 1 and the reason, though the log is empty and nothing is behind."""
    project(tmp_path, own_redis.url(password="wrong"))
    refold = partial(refold_in, tmp_path)
    code, said = refold("worker", "--once")
    assert (code, "read model stock stands still: redis at" in said, "refuses the login" in said) == (1, True, True), (
        said
    )
    code, said = refold("status")
    assert (code, "refused" in said, "refuses the login" in said) == (1, True, True), said
    assert own_redis.ask("CONFIG SET requirepass wrong") == "+OK"
    assert refold("worker", "--once")[0] == 0
    assert refold("status")[0] == 0


@pytest.mark.parametrize(
    ("state", "reason"), [("refused", "refuses the login"), ("away", "cannot be reached")], ids=["refused", "away"]
)
async def test_status_knows_before_any_process_has_begun_the_read_model(
    state: str, reason: str, tmp_path: Path, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with 1 and says why, in a line and without the password, though no checkpoint names the store."""
    url = own_redis.url(password="wrong")
    project(tmp_path, url)
    refold = partial(refold_in, tmp_path)
    assert refold("migrate")[0] == 0
    if state == "away":
        await asyncio.to_thread(own_redis.stop)
    code, said = refold("status")
    assert code == 1, said
    assert "wrong" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("stock: ")]
    assert reason in line
    code, said = refold("status", "--json")
    stock, total = json.loads(said)["projections"]
    assert (code, json.loads(said)["ok"], stock["state"], reason in stock["error"]) == (1, False, state, True), said
    assert (total["state"], total["error"]) == ("no worker", "")
    monkeypatch.setenv("REFOLD_SINK_STOCK", url)
    log = f"sqlite:///{tmp_path}/log.db"
    with ServerProcess(log, tmp_path, "--no-projections", app="tests.projections.stores:shop") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as api:
            shown = (await api.get("/operations/overview")).json()["status"]
            assert (shown["ok"], shown["projections"][0]["state"]) == (False, state)
    await asyncio.to_thread(own_redis.start)
    assert own_redis.ask("CONFIG SET requirepass wrong") == "+OK"
    assert refold("status")[0] == 0


async def test_it_goes_on_by_itself_when_it_is_let_in(tmp_path: Path, own_redis: RedisServer) -> None:
    """However long it was refused: nobody has to start anything again."""
    async with connected(tmp_path, own_redis.url(password="later")) as context:
        await fill(context, 2)
        local = context.projections.local("stock")
        assert local is not None
        await until(lambda: asyncio.sleep(0, "refuses the login" in local.error), "the refusal to be seen")
        looked = asyncio.get_running_loop().time()
        await until(
            lambda: asyncio.sleep(0, asyncio.get_running_loop().time() - looked > 6), "five attempts to be over"
        )
        assert own_redis.ask("CONFIG SET requirepass later") == "+OK"
        await until(lambda: reads(context), "it to be let in")
        await assert_equals_fold(context)


async def test_something_that_is_not_ours(redis_server: RedisServer, url: str) -> None:
    """It is left as it is."""
    tables = f"{{{url.rpartition('=')[2]}:stock}}"
    assert redis_server.ask(f"SET {tables} mine") == "+OK"
    async with opened(url) as rows:
        with pytest.raises(ConfigurationError, match="not ours"):
            await rows.create(STOCK, "stock", {"stock": Standing(fingerprint="x")})
    assert await asyncio.to_thread(_bulk, redis_server, f"GET {tables}") == "mine"


async def test_a_row_too_large(tmp_path: Path, url: str) -> None:
    await assert_too_large_is_named(tmp_path, url, "bytes, and Redis is to keep")


async def test_a_fresh_read_of_rows_from_another_log(url: str) -> None:
    """The log was restored from a backup and has grown past the rows since: what it never had is not told as fresh."""
    before, after = MemoryStore(), MemoryStore()
    async with shop.connect(before, sinks={"stock": url}, lease=LEASE) as context:
        last = await context.append("stock-lost", [Added(count=1)])
        assert await context.get(Stock, "lost", after=last, timeout=20)
    async with shop.connect(after, sinks={"stock": url}, lease=LEASE, projections=False) as context:
        await context.append("stock-other", [Added(count=1), Added(count=2)])
        await context.projections.sink.register(STOCK, "stock")
        with pytest.raises(LogRegression, match="folded from another history"):
            await context.get(Stock, "lost", fresh=True)
        with pytest.raises(LogRegression, match="folded from another history"):
            await context.find(Stock, fresh=True)
    await before.close()
    await after.close()


async def test_one_that_cannot_go_on_is_not_driven_by_what_is_asked(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """An operator asks something for a parked row of a read model whose rows are of another log: it stops once."""
    before, after = MemoryStore(), MemoryStore()
    async with shop.connect(before, sinks={"stock": url}, lease=LEASE) as context:
        last = await context.append("stock-lost", [Added(count=1)])
        assert await context.get(Stock, "lost", after=last, timeout=20)
    async with shop.connect(after, sinks={"stock": url}, lease=LEASE) as context:
        waits = ParkedKey(name="stock", key='["a"]', position=1, stream="stock-a", type="Added", error="", attempts=5)
        asked = Request("stock", '["a"]', "skip", "1", "carol", "a test")
        await context.projections.sink.records.apply([Park(waits), asked])
        await context.append("stock-other", [Added(count=1), Added(count=2)])
        await asyncio.sleep(3)
        assert "folded from another history" in await error_of(context)
    assert caplog.text.count("read model stock stopped") == 1
    await before.close()
    await after.close()
