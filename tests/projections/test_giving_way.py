"""A rebuild rests while others append, and never so that it does not come to its end."""

from __future__ import annotations

import pytest

from refold.projections.giving_way import GiveWay


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rests that are taken; each page takes a quarter of a second of work."""
    taken: list[float] = []
    now = 0.0

    async def sleep(seconds: float) -> None:
        taken.append(seconds)

    def monotonic() -> float:
        nonlocal now
        now += 0.25
        return now

    monkeypatch.setattr("refold.projections.giving_way.asyncio.sleep", sleep)
    monkeypatch.setattr("refold.projections.giving_way.time.monotonic", monotonic)
    return taken


async def test_nobody_appends(rests: list[float]) -> None:
    give_way = GiveWay()
    for _ in range(3):
        await give_way.rest(5_000, head=100_000)
    assert (rests, give_way.page) == ([], 5_000)


async def test_others_append(rests: list[float]) -> None:
    """Three times as long a rest as it worked, after each small page; and none as soon as they are done."""
    give_way = GiveWay()
    await give_way.rest(5_000, head=100_000)
    await give_way.rest(5_000, head=100_001)
    assert give_way.page == 1_000
    await give_way.rest(1_000, head=100_002)
    assert rests == [0.75, 0.75]
    await give_way.rest(1_000, head=100_002)
    assert (len(rests), give_way.page) == (2, 5_000)


async def test_the_log_grows_faster_than_it_could_rest(rests: list[float]) -> None:
    give_way = GiveWay()
    await give_way.rest(5_000, head=100_000)
    await give_way.rest(5_000, head=102_000)
    assert (rests, give_way.page) == ([], 5_000)
