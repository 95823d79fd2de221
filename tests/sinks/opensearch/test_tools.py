"""What people and their tools see in OpenSearch, and what is left there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from refold.errors import InvalidQuery, ProjectionStopped
from refold.projections.checkpoint import Move
from refold.projections.conditions import field
from refold.projections.row_store import Standing
from refold.projections.sink import building
from refold.projections.sinks.opensearch import OpenSearchRows
from refold.testing.sink_contract import EVERYTHING, ID, Everything
from tests.servers import OpenSearchServer
from tests.sinks.opensearch.common import ARTICLE, HEAD, NAME, Article, ids, put, torn

pytestmark = pytest.mark.opensearch


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
        # So long the server knows of what version a document was that was swept away.
        assert found["gc_deletes"] == "1h"
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


async def test_what_somebody_else_changed_is_written_all_the_same(
    rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str
) -> None:
    """Each change by another tool counts a document's version up, beyond the positions of the events to come."""
    await put(rows, Everything(id="1"), Everything(id="2"), Everything(id="3"), Everything(id="4"))
    alias = f"/{prefix}-{NAME}"
    for number in range(5):
        opensearch.ask("POST", f"{alias}/_update/1", {"doc": {"number": 90 + number}})
        opensearch.ask("POST", f"{alias}/_update/3", {"doc": {"number": 90 + number}})
    opensearch.ask("DELETE", f"{alias}/_doc/2")

    stands = await rows.standing(NAME)
    assert stands is not None
    # As `refold refold` writes: at the position at which the rows are.
    at = stands.position
    mended = [Everything(id="1", number=1), Everything(id="2", number=2)]
    assert await rows.write(EVERYTHING, NAME, mended, [("3",)], Move(at, at, ID, 1))
    assert await ids(rows, field("number") > 0) == ["1", "2"]
    assert await ids(rows) == ["1", "2", "4"]

    # And what comes next, though the version is beyond it.
    await put(rows, Everything(id="1", number=7))
    _, loaded, _ = await rows.read(EVERYTHING, NAME, [("1",)], None)
    assert loaded.rows[("1",)].number == 7  # type: ignore[attr-defined]


async def test_what_has_seen_more_stays(rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str) -> None:
    """Also when somebody else has changed it: an owner that comes late does not go behind it."""
    await put(rows, Everything(id="1", number=1))
    with torn():
        await rows.write(EVERYTHING, NAME, [Everything(id="1", number=9)], [], Move(1, 9, ID, 1))
    opensearch.ask("POST", f"/{prefix}-{NAME}/_update/1", {"doc": {"order": "theirs"}})
    assert await rows.write(EVERYTHING, NAME, [Everything(id="1", number=2)], [], Move(1, 2, ID, 1))
    _, loaded, _ = await rows.read(EVERYTHING, NAME, [("1",)], None)
    assert (loaded.rows[("1",)].number, loaded.seen) == (9, {("1",): 9})  # type: ignore[attr-defined]
