"""Rows in OpenSearch are never older, doubled, or back from the dead, whoever else writes."""

from __future__ import annotations

import asyncio

import pytest

from refold.projections.checkpoint import Move
from refold.projections.conditions import checked, field
from refold.projections.row_store import Standing
from refold.projections.sink import Query, building, previous
from refold.projections.sinks.opensearch import OpenSearchRows
from refold.projections.sinks.opensearch_bulk import Gone, write_documents
from refold.projections.sinks.opensearch_documents import documents_of
from refold.projections.sinks.opensearch_server import Server, place_of
from refold.testing.sink_contract import EVERYTHING, ID, Everything
from tests.servers import OpenSearchServer
from tests.sinks.opensearch.common import HEAD, NAME, put, torn

pytestmark = pytest.mark.opensearch


async def test_a_stale_owner_writes_nothing(rows: OpenSearchRows) -> None:
    await put(rows, Everything(id="1", number=1))
    assert await rows.fence(NAME, 7) == Standing(position=1, append_id=ID, fingerprint=EVERYTHING.fingerprint, epoch=7)
    assert not await rows.write(EVERYTHING, NAME, [Everything(id="1", number=2)], [], Move(1, 2, ID, 1))
    assert not await rows.write(EVERYTHING, NAME, [Everything(id="1", number=2)], [], Move(1, 2, ID, 8))
    stands, loaded, found = await rows.read(EVERYTHING, NAME, [("1",)], Query(None))
    assert stands is not None
    assert (stands.position, found, loaded.seen) == (1, [Everything(id="1", number=1)], {})
    fenced = await rows.fence(NAME, 3)
    assert fenced is not None
    assert fenced.epoch == 7


async def test_two_owners_race_for_one_step(rows: OpenSearchRows) -> None:
    """Of many who move from the same position, one does."""
    moves = [rows.write(EVERYTHING, NAME, [], [], Move(0, 5 + number, ID, 1)) for number in range(12)]
    assert sum(await asyncio.gather(*moves)) == 1


async def test_rows_ahead_of_the_checkpoint_say_so(rows: OpenSearchRows) -> None:
    """A page that was torn: what it wrote and deleted is known to have seen more, however it is read."""
    await put(rows, Everything(id="kept"), Everything(id="changed"), Everything(id="gone"))
    with torn():
        await rows.write(EVERYTHING, NAME, [Everything(id="changed", number=9)], [("gone",)], Move(1, 9, ID, 1))
    keys = [("kept",), ("changed",), ("gone",), ("never",)]
    loaded = await rows.load(EVERYTHING, NAME, keys)
    assert loaded.seen == {("changed",): 9, ("gone",): 9}
    assert loaded.rows.keys() == {("kept",), ("changed",)}
    for query in (None, Query(None), Query(checked(EVERYTHING, [field("number") == 9], {}))):
        stands, read, found = await rows.read(EVERYTHING, NAME, keys, query)
        assert stands is not None
        assert (stands.position, read) == (1, loaded)
        assert query is None or Everything(id="changed", number=9) in found
    _, read, found = await rows.read(EVERYTHING, NAME, [], Query(None))
    assert len(found) == 2
    assert read.seen == {("changed",): 9}


async def test_an_older_page_leaves_newer_rows_as_they_are(rows: OpenSearchRows) -> None:
    """Whoever was fenced out had already written what the next owner comes to later: both fold the same."""
    await put(rows, Everything(id="a"), Everything(id="b"))
    with torn():
        await rows.write(EVERYTHING, NAME, [Everything(id="a", number=9)], [("b",)], Move(1, 9, ID, 1))
    assert await put(rows, Everything(id="a", number=2), Everything(id="b", number=2)) == 2
    loaded = await rows.load(EVERYTHING, NAME, [("a",), ("b",)])
    assert loaded.rows == {("a",): Everything(id="a", number=9)}
    assert loaded.seen == {("a",): 9, ("b",): 9}


async def test_a_deleted_row_does_not_come_back(
    rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str
) -> None:
    """Neither while it is marked as deleted, nor after the mark was swept away."""
    server = Server(place_of(opensearch.url(prefix)))
    sweeping = OpenSearchRows(server, seconds_deleted=0)
    await put(rows, *(Everything(id=f"{number}") for number in range(30)))
    await put(rows, deleted=[(f"{number}",) for number in range(20)])
    place = next(iter(opensearch.ask("GET", f"/{prefix}-{NAME}"))) + "--rows"
    late = documents_of(EVERYTHING).rows([Everything(id="3", number=7)], 1)
    marked = {"query": {"term": {"_refold.kind": "deleted"}}}
    for wanted in (20, 0):
        await write_documents(server, place, late, 1)
        opensearch.ask("POST", f"/{prefix}-{NAME}/_refresh")
        assert opensearch.ask("POST", f"/{prefix}-{NAME}/_count", marked)["count"] == wanted
        assert await rows.count(EVERYTHING, NAME, None) == 10
        await put(sweeping)
    await sweeping.close()


async def test_a_dropped_generation_is_not_made_anew(
    rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str
) -> None:
    """By what a stale builder sends to it."""
    stands = await rows.standing(NAME)
    assert stands is not None
    place = next(iter(opensearch.ask("GET", f"/{prefix}-{NAME}"))) + "--rows"
    await rows.drop(NAME)
    server = Server(place_of(opensearch.url(prefix)))
    with pytest.raises(Gone):
        await write_documents(server, place, documents_of(EVERYTHING).rows([Everything(id="1")], 1), 1)
    await server.close()
    assert not await rows.write(EVERYTHING, NAME, [Everything(id="1")], [], Move(0, 1, ID, 1))
    assert opensearch.ask("GET", f"/{prefix}-*") == {}


async def test_every_checkpoint_of_a_sharded_table(rows: OpenSearchRows) -> None:
    """Each moves alone; a reader is told the lowest; they go with their table."""
    table = building(NAME)
    shards = {f"{table}:{number}": HEAD for number in range(3)}
    await rows.create(EVERYTHING, table, {table: HEAD, **shards})
    for number, name in enumerate([table, *shards]):
        row = Everything(id=f"{number}")
        assert await rows.write(EVERYTHING, table, [row], [], Move(0, 5 + number, ID, 1, name))
    assert not await rows.write(EVERYTHING, table, [], [], Move(0, 9, ID, 1, f"{table}:1"))
    for query in (None, Query(None)):
        stands, loaded, _ = await rows.read(EVERYTHING, table, [("0",), ("3",)], query)
        assert stands is not None
        assert stands.position == 5
        assert loaded.seen[("3",)] == 8
    assert await rows.switch(EVERYTHING, table, NAME, previous(NAME))
    moved = await rows.standing(f"{NAME}:2")
    assert moved is not None
    assert moved.position == 8
    assert await rows.standing(f"{table}:2") is None


async def test_tables_are_switched_while_readers_read(rows: OpenSearchRows) -> None:
    """Never an old row after a newer standing, and never rows of two versions."""
    await put(rows, *(Everything(id=f"{number}", number=1) for number in range(5)))
    done = asyncio.Event()
    looks = 0

    async def look(query: Query | None) -> None:
        nonlocal looks
        keys = [(f"{number}",) for number in range(5)]
        while not done.is_set():
            known = await rows.standing(NAME)
            assert known is not None
            stands, loaded, found = await rows.read(EVERYTHING, NAME, keys, query)
            assert stands is not None
            assert stands.position >= known.position
            read = [*loaded.rows.values(), *found]
            assert len(read) == (5 if query is None else 10)
            assert {row.number for row in read} == {stands.position}  # type: ignore[attr-defined]
            looks += 1

    looking = [asyncio.create_task(look(query)) for query in (None, Query(None), None)]
    for position in range(2, 14):
        table = building(NAME)
        await rows.create(EVERYTHING, table, {table: HEAD})
        given = [Everything(id=f"{number}", number=position) for number in range(5)]
        assert await rows.write(EVERYTHING, table, given, [], Move(0, position, ID, 1))
        assert await rows.switch(EVERYTHING, table, NAME, previous(NAME))
    done.set()
    outcomes = await asyncio.gather(*looking, return_exceptions=True)
    assert looks >= 12
    assert outcomes == [None] * 3
