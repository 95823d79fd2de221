"""What a rebuild would change, where the rows live outside of the log's database."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from refold.projections.sink import building
from tests.projections.test_rebuild_diff import After, Before, after, before, by_key, fill


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        "parquet",
        pytest.param("opensearch", marks=pytest.mark.opensearch),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own in each store."""
    if request.param == "parquet":
        return f"parquet://{tmp_path}/rows"
    server = request.getfixturevalue("redis_server" if request.param == "redis" else "opensearch")
    return str(server.url(f"t{uuid4().hex[:12]}"))


async def test_which_rows_change(place: str, tmp_path: Path) -> None:
    """A definition whose class is gone had a field that is gone too: it is read around."""
    log, sinks = f"sqlite:///{tmp_path}/log.db", {"stock": place}
    async with before.connect(log, sinks=sinks, lease=1.0) as old:
        last = await fill(old)
        assert await old.get(Before, "only-larger", after=last, timeout=30) is not None
    async with after.connect(log, sinks=sinks, projections=False) as context:
        diff = await context.compare_rebuild(After)
        rows = by_key(diff)
        assert diff.counts == {"added": 1, "removed": 0, "changed": 2, "extended": 1}
        assert (diff.same, diff.gone_fields) == (1, ["label"])
        assert (rows["more"].old, rows["more"].new) == ({"count": 503}, {"count": 103, "largest": 500})
        assert rows["gone"].why is not None
        assert await context.projections.sink.checkpoint(building("stock")) is None
        exact = by_key(await context.compare_rebuild(After, was=Before))
        assert {key: row.why and row.why.position for key, row in exact.items()} == {
            "more": 3,
            "gone": 6,
            "noisy": 7,
            "only-larger": 9,
        }
        await context.rebuild(After)
        assert (await context.compare_rebuild(After)).differing == 0
