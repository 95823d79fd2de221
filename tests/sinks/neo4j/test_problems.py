"""What goes wrong with Neo4j, and what is said about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from refold.errors import ConfigurationError, StoreUnavailable
from refold.projections.checkpoint import Move
from refold.projections.sink import building, previous
from refold.projections.sinks.neo4j import open_neo4j
from tests.projections.stores import Stock, assert_equals_fold, until
from tests.servers import Neo4jServer
from tests.servers.ports import free_port
from tests.sinks.common import (
    STOCK,
    assert_too_large_is_named,
    connected,
    error_of,
    fill,
    made,
    opened,
    reads,
)
from tests.sinks.neo4j.common import paying

pytestmark = pytest.mark.neo4j


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bolt:///neo4j", "no host"),
        ("bolt://u:secret@host:port/neo4j", "cannot be read"),
        ("bolt://u:secret@host/a/b", "more than that"),
        ("bolt://u:secret@host/neo4j#x", "more than that"),
        ("bolt+x://u:secret@host", r"begins with 'bolt\+x:'"),
        ("neo4j+s://u:secret@host/?prefx=a", "has an option 'prefx'"),
        ("neo4j://u:secret@host/?prefix=a_b", "prefix 'a_b' .* must be letters and digits"),
        ("neo4j://u:secret@host/?prefix=1a", "must be letters and digits, a letter first"),
    ],
)
async def test_a_wrong_url(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        await open_neo4j(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def _refused(url: str, error: type[Exception], said: str) -> None:
    async with opened(url) as rows:
        assert "secret" not in rows.name
        with pytest.raises(error, match=said) as raised:
            await rows.prepare()
            await rows.standing("stock")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_wrong_logins_and_places(neo4j_server: Neo4jServer, url: str) -> None:
    """One line each, without the password."""
    await _refused(url.replace(neo4j_server.password, "secret"), ConfigurationError, "refuses the login")
    await _refused(f"bolt://127.0.0.1:{neo4j_server.port}", ConfigurationError, "refuses the login")
    await _refused(url.replace("/neo4j?", "/nowhere?"), ConfigurationError, "has no such database")
    await _refused(f"bolt://neo4j:secret@127.0.0.1:{free_port()}", StoreUnavailable, "cannot be reached")
    await _refused(url.replace("bolt:", "bolt+s:"), StoreUnavailable, "cannot be reached")
    await _refused(f"neo4j://neo4j:secret@127.0.0.1:{free_port()}", StoreUnavailable, "cannot be reached")


async def test_a_cluster_is_asked_where_to_write(url: str) -> None:
    """By `neo4j://`, which asks the server who takes writes."""
    async with opened(url.replace("bolt:", "neo4j:")) as rows:
        await rows.prepare()
        await made(rows)
        assert await rows.write(STOCK, "stock", [Stock(item="a")], [], Move(0, 1, "x", 1))
        assert await rows.count(STOCK, "stock", None) == 1


async def test_something_else_answers() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await _refused(f"bolt://u:secret@127.0.0.1:{port}", StoreUnavailable, "cannot be reached")


async def test_it_goes_on_by_itself_when_it_is_let_in(tmp_path: Path, url: str, neo4j_server: Neo4jServer) -> None:
    """However long it was refused: nobody has to start anything again."""
    neo4j_server.ask("DROP USER anna IF EXISTS")
    async with connected(tmp_path, url.replace(f"neo4j:{neo4j_server.password}@", "anna:open%20sesame@")) as context:
        await fill(context, 2)

        async def refused() -> bool:
            return "refuses the login" in await error_of(context)

        await until(refused, "the refusal to be shown")
        neo4j_server.ask("CREATE USER anna SET PASSWORD 'open sesame' CHANGE NOT REQUIRED")
        await until(lambda: reads(context), "it to be let in", 60)
        await assert_equals_fold(context)
    neo4j_server.ask("DROP USER anna")


async def test_labels_that_are_not_ours(url: str, neo4j_server: Neo4jServer) -> None:
    """They are left as they are; when they are gone, it goes on."""
    neo4j_server.ask("CREATE (:ShopStock_1 {item: 'mine'}), (:ShopAccount {id: 'mine'})")
    async with opened(url) as rows:
        with pytest.raises(ConfigurationError, match=r"has nodes with label 'ShopStock_1' that are not Refold's"):
            await made(rows)
        with pytest.raises(ConfigurationError, match=r"has nodes with label 'ShopAccount' .*another \?prefix="):
            await paying(rows)
        assert len(neo4j_server.ask("MATCH (n:ShopStock_1|ShopAccount {item: 'mine'}) RETURN n")) == 1
        neo4j_server.ask("MATCH (n) DETACH DELETE n")
        neo4j_server.ask("CREATE (:A)-[:SHOP_PAYMENT_1]->(:B)")
        with pytest.raises(ConfigurationError, match="has relationships of type 'SHOP_PAYMENT_1' that are not"):
            await paying(rows)
        neo4j_server.ask("MATCH (n) DETACH DELETE n")
        await made(rows)
        await paying(rows)


async def test_two_places_in_one_database(url: str, neo4j_server: Neo4jServer) -> None:
    """Each has its own; names that would be the same are refused."""
    async with opened(url) as rows, opened(neo4j_server.url()) as others:
        for store, count in ((rows, 1), (others, 2)):
            await made(store)
            assert await store.write(STOCK, "stock", [Stock(item="a", count=count)], [], Move(0, 1, "x", 1))
        await others.drop("stock")
        assert (await rows.load(STOCK, "stock", [("a",)])).rows == {("a",): Stock(item="a", count=1)}


async def test_a_constraint_that_is_not_ours(url: str, neo4j_server: Neo4jServer) -> None:
    neo4j_server.ask("DROP CONSTRAINT refold_ShopStock_1 IF EXISTS")
    neo4j_server.ask("CREATE CONSTRAINT refold_ShopStock_1 FOR (n:Mine) REQUIRE n.name IS UNIQUE")
    try:
        async with opened(url) as rows:
            with pytest.raises(ConfigurationError, match="a constraint or index 'refold_ShopStock_1' that is not"):
                await made(rows)
            assert await rows.standing("stock") is None
    finally:
        neo4j_server.ask("DROP CONSTRAINT refold_ShopStock_1")
    async with opened(url) as rows:
        await made(rows)


async def test_what_is_not_there(url: str) -> None:
    async with opened(url) as rows:
        await rows.drop("stock")
        assert await rows.standing("stock") is None
        assert await rows.fence("stock", 3) is None
        assert await rows.count(STOCK, "stock", None) == 0
        assert not await rows.write(STOCK, "stock", [], [], Move(0, 1, "x", 1))
        assert not await rows.switch(STOCK, building("stock"), "stock", previous("stock"))
        assert not await rows.exchange("stock", previous("stock"))


async def test_a_row_too_large(tmp_path: Path, url: str) -> None:
    await assert_too_large_is_named(tmp_path, url, "bytes, and Neo4j is to keep")


async def test_a_server_that_is_too_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.projections.sinks.neo4j_server._OLDEST", (9, 1))
    async with opened(url) as rows:
        with pytest.raises(ConfigurationError, match=r"is Neo4j 5\.26\.0, .* needs 9\.1 at least; update it"):
            await rows.prepare()
