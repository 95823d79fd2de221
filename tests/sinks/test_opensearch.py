"""Read models in OpenSearch: the contract of sinks, and what this row store promises of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from refold import faults
from refold.errors import ConfigurationError, InvalidQuery, ProjectionStopped, StoreCorrupt, StoreFull, StoreUnavailable
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.conditions import Any_, Condition, checked, field, orders_of
from refold.projections.external import ExternalSink
from refold.projections.row_store import Standing
from refold.projections.sink import Query, building, previous
from refold.projections.sinks.memory import MemorySink
from refold.projections.sinks.opensearch import OpenSearchRows, open_opensearch
from refold.projections.sinks.opensearch_bulk import write_documents
from refold.projections.sinks.opensearch_documents import documents_of
from refold.projections.sinks.opensearch_server import Server, place_of
from refold.testing.memory import MemoryStore
from refold.testing.sink_contract import EVERYTHING, ID, Everything, SinkContract
from tests.servers import OpenSearchServer

pytestmark = pytest.mark.opensearch

NAME = EVERYTHING.name
HEAD = Standing(fingerprint=EVERYTHING.fingerprint, epoch=1)


@pytest.fixture
def prefix(opensearch: OpenSearchServer) -> Iterator[str]:
    name = f"t{uuid4().hex[:12]}"
    yield name
    opensearch.ask("DELETE", f"/{name}-*")


@pytest.fixture
async def rows(opensearch: OpenSearchServer, prefix: str) -> AsyncIterator[OpenSearchRows]:
    """Rows with the table of `Everything`, owned in epoch 1."""
    found = OpenSearchRows(Server(place_of(opensearch.url(prefix))))
    await found.create(EVERYTHING, NAME, {NAME: HEAD})
    yield found
    await found.close()


class TestContract(SinkContract):
    @pytest.fixture
    async def sink(self, opensearch: OpenSearchServer, prefix: str) -> AsyncIterator[ExternalSink]:
        log = MemoryStore()
        sink = ExternalSink(log, MemorySink(log), await open_opensearch(opensearch.url(prefix)))
        await sink.prepare()
        yield sink
        await sink.close()


async def put(rows: OpenSearchRows, *given: Everything, deleted: Any = (), epoch: int = 1, table: str = NAME) -> int:
    """Writes the next position."""
    stands = await rows.standing(table)
    assert stands is not None
    at = stands.position + 1
    assert await rows.write(EVERYTHING, table, given, deleted, Move(at - 1, at, ID, epoch))
    return at


async def ids(rows: OpenSearchRows, *conditions: Condition, limit: int | None = None, order: Any = ()) -> list[str]:
    where = checked(EVERYTHING, conditions, {})
    _, _, found = await rows.read(EVERYTHING, NAME, [], Query(where, orders_of(EVERYTHING, order), limit))
    if limit is None:
        assert await rows.count(EVERYTHING, NAME, where) == len(found)
    return [row.id for row in found]  # type: ignore[attr-defined]  # rows of this model


@contextmanager
def torn() -> Iterator[None]:
    """The process dies, as far as the server sees, between the rows and the checkpoint."""

    def tear(point: str) -> None:
        if point == "external.rows_before_checkpoint":
            raise StoreUnavailable("torn")

    faults.install(tear)
    try:
        with pytest.raises(StoreUnavailable, match="torn"):
            yield
    finally:
        faults.install(None)


# --- exactness ---------------------------------------------------------------------------------------------------


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


# --- what is asked for -------------------------------------------------------------------------------------------


async def test_every_key_is_a_document_of_its_own(rows: OpenSearchRows) -> None:
    """Also the empty one, those that look like ours, and those that are longer than an id may be."""
    keys = ["", "#", "refold:checkpoint", "_id", ".", "a/b c?&%", "日本", "x" * 511, "x" * 512, "x" * 5000, "é" * 300]
    await put(rows, *(Everything(id=key, number=number) for number, key in enumerate(keys)))
    assert (await rows.load(EVERYTHING, NAME, [(key,) for key in keys])).rows == {
        (key,): Everything(id=key, number=number) for number, key in enumerate(keys)
    }
    assert sorted(await ids(rows)) == sorted(keys)
    await put(rows, deleted=[(key,) for key in keys[1:]])
    assert await ids(rows) == [""]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        (field("order") == "a" * 5_000, "1"),
        (field("order") == "a" * 40_000, "2"),
        (field("order").starts_with("a" * 4_500), "12"),
        (field("order").starts_with("aa"), "12"),
        (field("order").contains("ab"), "3"),
        (field("order").contains("b" * 300), "3"),
        (~field("order").contains("b" * 300), "0124"),
        (field("order") != "a", "1234"),
        (field("order") > "a", "1234"),
        (~(field("order") > "a"), "0"),
        (field("order").in_(["a", "a" * 5_000]), "01"),
        (field("order").contains("\\*?"), "4"),
    ],
)
async def test_long_texts_fulfil_conditions_as_short_ones_do(
    rows: OpenSearchRows, condition: Condition, wanted: str
) -> None:
    """Though Lucene compares no text so long."""
    texts = ["a", "a" * 5_000, "a" * 40_000, "a" + "b" * 9_000, "c\\*?c"]
    await put(rows, *(Everything(id=f"{number}", order=text) for number, text in enumerate(texts)))
    assert "".join(await ids(rows, condition)) == wanted
    assert "".join(await ids(rows, condition, limit=len(wanted))) == wanted


async def test_numbers_that_are_written_in_several_ways(rows: OpenSearchRows) -> None:
    amounts = [
        "-1E+30",
        "-10.01",
        "-10",
        "-9.99",
        "0E-9",
        "-0",
        "1E-30",
        "0.10",
        "0.1",
        "9",
        "10.000000000000000000001",
    ]
    for number, amount in enumerate(amounts):
        await put(rows, Everything(id=f"{number:02}", amount=Decimal(amount), ratio=-0.0 if number else 0.0))
    assert await ids(rows, order="amount") == [f"{number:02}" for number in range(len(amounts))]
    assert await ids(rows, field("amount") == Decimal("0.100")) == ["07", "08"]
    assert await ids(rows, field("amount") > 10) == ["10"]
    for condition in (field("ratio") == 0, field("ratio") >= 0, field("ratio") <= 0, field("ratio").in_([0.0])):
        assert len(await ids(rows, condition)) == len(amounts)
    for condition in (field("ratio") < 0, field("ratio") > 0, field("ratio") != 0):
        assert await ids(rows, condition) == []


async def test_conditions_of_thousands_of_parts(rows: OpenSearchRows) -> None:
    """More than the server takes in one query, and nested deeper."""
    await put(rows, *(Everything(id=f"{number}", number=number) for number in range(4)))
    many = Any_(tuple(field("number") == number for number in range(2, 3_000)))
    assert await ids(rows, many) == ["2", "3"]
    deep = field("number") == 2
    for number in range(60):
        deep = ~(deep | (field("number") == 100 + number))
    assert await ids(rows, deep) == ["2"]


async def test_more_rows_than_one_answer_has(rows: OpenSearchRows) -> None:
    await put(rows, *(Everything(id=f"{number:05}", number=number % 7) for number in range(12_000)))
    wanted = [f"{number:05}" for number in range(12_000)]
    assert await ids(rows) == wanted
    assert await ids(rows, order="-id", limit=11_000) == wanted[:999:-1]
    query = Query(None, orders_of(EVERYTHING, ()), 5, 11_500)
    _, _, found = await rows.read(EVERYTHING, NAME, [("00001",)], query)
    assert [row.id for row in found] == wanted[11_500:11_505]  # type: ignore[attr-defined]


class _Written(Event, name="OpenSearchTestWritten"):
    pass


class Strict(ReadModel, key="id", name="strict", forbid_unknown_fields=True):
    """Takes no field that it does not know."""

    id: str
    amount: Decimal = Decimal(0)

    @evolve
    def written(self, event: _Written) -> None:
        """Never called."""


async def test_a_row_that_takes_no_unknown_fields(rows: OpenSearchRows) -> None:
    strict = read_model_of(Strict)
    await rows.create(strict, "strict", {"strict": Standing(fingerprint=strict.fingerprint, epoch=1)})
    row = Strict(id="1", amount=Decimal("1.50"))
    assert await rows.write(strict, "strict", [row], [], Move(0, 1, ID, 1))
    assert (await rows.load(strict, "strict", [("1",)])).rows == {("1",): row}


async def test_a_document_that_somebody_else_has_written(
    rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str
) -> None:
    opensearch.ask("PUT", f"/{prefix}-{NAME}/_doc/1", {"id": "1", "number": "many"})
    with pytest.raises(StoreCorrupt, match="was changed by somebody else; run `refold rebuild contract_everything`"):
        await rows.load(EVERYTHING, NAME, [("1",)])


# --- for people and their tools ----------------------------------------------------------------------------------


class Article(ReadModel, key="slug", name="article"):
    """Text to be searched."""

    slug: str
    title: str = ""
    body: str = ""
    tags: list[str] = []
    views: int = 0

    @evolve
    def written(self, event: _Written) -> None:
        """Never called."""


ARTICLE = read_model_of(Article)


async def test_full_text_search(rows: OpenSearchRows) -> None:
    """All words, whatever their case; the best first; what was just written, and nothing that was deleted."""
    stands = Standing(fingerprint=ARTICLE.fingerprint, epoch=1)
    await rows.create(ARTICLE, "article", {"article": stands})
    given = [
        Article(slug="1", title="The quick fox", body="jumps over the lazy dog", tags=["animals"]),
        Article(slug="2", title="A lazy afternoon", body="nobody is quick, nobody jumps", tags=["rest"]),
        Article(slug="3", title="Accounts", body="quick " * 3_000),
        Article(slug="4", title="Quick", body="gone"),
    ]
    assert await rows.write(ARTICLE, "article", given, [], Move(0, 1, ID, 1))
    assert await rows.write(ARTICLE, "article", [], [("4",)], Move(1, 2, ID, 1))

    async def found(text: str, limit: int = 10, fields: Any = None) -> str:
        return "".join(sorted(row.slug for row in await rows.search(ARTICLE, text, limit, fields)))  # type: ignore[attr-defined]

    assert await found("QUICK") == "123"
    assert await found("lazy jumps") == "12"
    assert await found('"lazy dog"') == "1"
    assert await found("quick -lazy") == "3"
    assert await found("acc* | rest") == "23"
    assert await found("lazy", fields=["title"]) == "2"
    assert await found("animals") == "1"
    assert await found("nothing") == await found("") == await found("quick", 0) == ""
    assert await found('"unclosed (quick') == ""
    assert len(await found("quick", 2)) == 2
    with pytest.raises(InvalidQuery, match=r"Article has no field of text 'views'; it has title, body, tags"):
        await found("quick", fields=["views"])
    with pytest.raises(InvalidQuery, match="limit=-1"):
        await found("quick", -1)
    with pytest.raises(ProjectionStopped, match="another definition"):
        await rows.search(msgspec.structs.replace(ARTICLE, fingerprint="other"), "quick", 10)
    with pytest.raises(ProjectionStopped, match="no table yet"):
        await rows.search(msgspec.structs.replace(ARTICLE, name="nowhere"), "quick", 10)


async def test_what_tools_see(rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str) -> None:
    """A document by its key, words, exact texts, and sums."""
    await put(
        rows, Everything(id="1", order="Old House", amount=Decimal("9.50")), Everything(id="2", amount=Decimal("1.25"))
    )
    alias = f"/{prefix}-{NAME}"
    document = opensearch.ask("GET", f"{alias}/_doc/1")["_source"]
    assert (document["id"], document["amount"], document["_refold"]["position"]) == ("1", "9.50", 1)
    opensearch.ask("POST", f"{alias}/_refresh")
    for query in ({"match": {"order": "house"}}, {"term": {"order.keyword": "Old House"}}):
        assert opensearch.ask("POST", f"{alias}/_count", {"query": query})["count"] == 1
    total = opensearch.ask("POST", f"{alias}/_search", {"size": 0, "aggs": {"total": {"sum": {"field": "amount"}}}})
    assert total["aggregations"]["total"]["value"] == 10.75


async def test_what_is_built_is_written_fast_and_read_safely(
    rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str
) -> None:
    """No refresh, no copies and no waiting for the disk while nobody reads it; the usual, once somebody does."""

    def settings(table: str) -> tuple[Any, ...]:
        found = next(iter(opensearch.ask("GET", f"/{prefix}-{table}/_settings").values()))["settings"]["index"]
        return found.get("refresh_interval"), found.get("auto_expand_replicas"), found["translog"]["durability"]

    table = building(NAME)
    await rows.create(EVERYTHING, table, {table: HEAD})
    assert settings(table) == ("-1", None, "async")
    assert settings(NAME) == (None, "0-1", "request")
    await put(rows, Everything(id="1"), table=table)
    assert await rows.switch(EVERYTHING, table, NAME, None)
    assert settings(NAME) == (None, "0-1", "request")
    assert await ids(rows) == ["1"]
    left = opensearch.ask("GET", f"/{prefix}-{NAME}*")
    assert len(left) == 1


async def test_what_a_killed_process_has_begun_is_cleared(
    rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that no table's alias leads to, when it is old; never one that is in use, or somebody else's."""
    await put(rows, Everything(id="1"))
    for name in ("aa", "bb"):
        meta = {"_meta": {"refold": {"checkpoints": [""]}}} if name == "aa" else {}
        opensearch.ask("PUT", f"/{prefix}-{NAME}--{name}", {"mappings": meta})
    table = building(NAME)
    await rows.create(EVERYTHING, table, {table: HEAD})
    assert f"{prefix}-{NAME}--aa" in opensearch.ask("GET", f"/{prefix}-*")
    monkeypatch.setattr("refold.projections.sinks.opensearch_generations._LEFT_BEHIND", -1)
    await rows.create(EVERYTHING, table, {table: HEAD})
    left = opensearch.ask("GET", f"/{prefix}-*")
    assert f"{prefix}-{NAME}--aa" not in left
    assert f"{prefix}-{NAME}--bb" in left
    assert await ids(rows) == ["1"]


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alias", [False, True])
async def test_what_is_not_ours_is_left_alone(opensearch: OpenSearchServer, prefix: str, alias: bool) -> None:
    name = f"{prefix}-{NAME}"
    opensearch.ask("PUT", f"/{prefix}-theirs" if alias else f"/{name}", {"aliases": {name: {}} if alias else {}})
    opensearch.ask("PUT", f"/{name}/_doc/1?refresh=true", {"mine": 1})
    rows = await open_opensearch(opensearch.url(prefix))
    assert await rows.standing(NAME) is None
    with pytest.raises(ConfigurationError, match=f"an index or alias '{name}' that is not ours, and was left as it is"):
        await rows.create(EVERYTHING, NAME, {NAME: HEAD})
    await rows.drop(NAME)
    table = building(NAME)
    await rows.create(EVERYTHING, table, {table: HEAD})
    with pytest.raises(ConfigurationError, match="not ours"):
        await rows.switch(EVERYTHING, table, NAME, None)
    assert opensearch.ask("GET", f"/{name}/_doc/1")["_source"] == {"mine": 1}
    await rows.close()


async def test_a_full_disk(rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str) -> None:
    """The server blocks the index; nothing moves, and it goes on afterwards."""
    block = "index.blocks.read_only_allow_delete"
    opensearch.ask("PUT", f"/{prefix}-{NAME}/_settings", {block: True})
    for given in ([Everything(id="1")], []):
        with pytest.raises(StoreFull, match="has no disk space left"):
            await rows.write(EVERYTHING, NAME, given, [], Move(0, 1, ID, 1))
    opensearch.ask("PUT", f"/{prefix}-{NAME}/_settings", {block: None})
    await put(rows, Everything(id="1"))
    assert await ids(rows) == ["1"]


class Other(ReadModel, key="id", name="contract_everything"):
    """Another kind of column by the same name."""

    id: str
    number: str = ""

    @evolve
    def written(self, event: _Written) -> None:
        """Never called."""


async def test_a_row_that_the_index_cannot_have(rows: OpenSearchRows) -> None:
    """The text names it, and the checkpoint stays."""
    bad = [Other(id="good", number="1"), Other(id="bad", number="no number")]
    with pytest.raises(InvalidQuery, match="cannot keep the row 'bad': mapper_parsing_exception"):
        await rows.write(read_model_of(Other), NAME, bad, [], Move(0, 1, ID, 1))
    assert await rows.standing(NAME) == HEAD


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
async def test_a_number_of_more_than_64_bits(rows: OpenSearchRows, number: int) -> None:
    with pytest.raises(InvalidQuery, match=r"Everything.maybe of the key \('1',\) is .* no whole number of 64 bits"):
        await rows.write(EVERYTHING, NAME, [Everything(id="1", maybe=number)], [], Move(0, 1, ID, 1))
    assert await ids(rows) == []


@pytest.mark.slow
async def test_pages_and_rows_that_are_too_large() -> None:
    """A page is sent in smaller parts; a row that is too large by itself is named."""
    with OpenSearchServer.create(settings={"http.max_content_length": "300kb"}) as server:
        rows = OpenSearchRows(Server(place_of(server.url())))
        await rows.create(EVERYTHING, NAME, {NAME: HEAD})
        given = [Everything(id=f"{number:03}", order="x " * 4_000) for number in range(300)]
        await put(rows, *given)
        assert await rows.count(EVERYTHING, NAME, None) == 300
        with pytest.raises(InvalidQuery, match=r"takes no document as large as that of 'huge' \([\d,]+ bytes\)"):
            await put(rows, Everything(id="small"), Everything(id="huge", order="x" * 400_000))
        stands = await rows.standing(NAME)
        assert stands is not None
        assert stands.position == 1
        await rows.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("opensearch:///shop", "names no host"),
        ("opensearch://u:secret@host:port/", "cannot be read"),
        ("opensearch://u:secret@host/Shop", "prefix 'Shop'"),
        ("opensearch://u:secret@host/a/b", "prefix 'a/b'"),
        ("opensearch://u:secret@host/a--b", "prefix 'a--b'"),
        ("opensearch://u:secret@host/?shards=3", "option 'shards'; there are ca, replicas"),
        ("opensearch://u:secret@host/?replicas=many", "replicas='many'"),
        ("opensearch://u:secret@host/#x", "names no host"),
    ],
)
async def test_a_wrong_url(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        await open_opensearch(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def _refused(url: str, error: type[Exception], said: str) -> None:
    rows = await open_opensearch(url)
    assert "secret" not in rows.name
    with pytest.raises(error, match=said) as raised:
        await rows.prepare()
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    await rows.close()


async def test_unreachable(unused_tcp_port: int) -> None:
    await _refused(f"opensearch://u:secret@127.0.0.1:{unused_tcp_port}", StoreUnavailable, "cannot be reached")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<p>hi</p>", "does not answer as OpenSearch does"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "does not say which version it is"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "does not say which version it is"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{"version":{"number":"6.8.23"}}',
            "is elasticsearch 6.8.23, which is too old",
        ),
    ],
)
async def test_something_else_answers(answer: bytes, said: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = len(answer.partition(b"\r\n\r\n")[2])
        writer.write(answer.replace(b"Content-Length: 30", b"Content-Length: %d" % length))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await _refused(f"opensearch://u:secret@127.0.0.1:{port}", ConfigurationError, said)


async def test_a_login(opensearch: OpenSearchServer, prefix: str) -> None:
    """A proxy before the server asks for one, as its security plugin would."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Basic YW5uYTpvcGVuIHNlc2FtZQ==" not in head:
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        else:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", opensearch.port)
            upstream.write(head.replace(b"keep-alive", b"close"))
            writer.write(await upstream_reader.read())
            upstream.close()
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        rows = await open_opensearch(f"opensearch://anna:open%20sesame@127.0.0.1:{port}/{prefix}")
        await rows.prepare()
        await rows.close()
        await _refused(f"opensearch://anna:secret@127.0.0.1:{port}", ConfigurationError, "refuses the login")


async def test_a_field_that_no_document_can_have(rows: OpenSearchRows) -> None:
    class Odd(ReadModel, key="id", name="odd", rename={"some": "_source"}):
        id: str
        some: int = 0

        @evolve
        def written(self, event: _Written) -> None:
            """Never called."""

    odd = read_model_of(Odd)
    with pytest.raises(ConfigurationError, match=r"Odd\.some is called '_source' in JSON"):
        await rows.create(odd, "odd", {"odd": HEAD})
