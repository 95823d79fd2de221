"""A rebuild rests while others append, and never so that it does not come to its end."""

from __future__ import annotations

import pytest

from refold.projections.giving_way import GiveWay


class Clock:
    """Time that passes by work and by rests only."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.rests.append(round(seconds, 6))
        self.now += seconds

    async def page(self, give_way: GiveWay, folded: int, head: int, seconds: float = 0.01) -> None:
        """A page is read and folded in so many seconds."""
        self.now += seconds
        await give_way.rest(folded, head)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("refold.projections.giving_way.asyncio.sleep", clock.sleep)
    monkeypatch.setattr("refold.projections.giving_way.time.monotonic", clock.monotonic)
    return clock


async def test_nobody_appends(clock: Clock) -> None:
    """It begins with a small page, as it does not know yet, and then takes large ones."""
    give_way = GiveWay()
    assert give_way.page == 500
    await clock.page(give_way, 500, head=100_000)
    assert give_way.page == 500
    for _ in range(50):
        await clock.page(give_way, 5_000, head=100_000)
        assert (give_way.page, give_way.active) == (5_000, False)
    assert clock.rests == []


async def test_others_append(clock: Clock) -> None:
    """Three times as long a rest as it worked, after each small page, at once."""
    give_way = GiveWay()
    await clock.page(give_way, 500, head=100_000)
    await clock.page(give_way, 500, head=100_001)
    assert (give_way.page, give_way.active, clock.rests) == (200, True, [0.03])
    await clock.page(give_way, 200, head=100_003, seconds=0.002)
    assert (give_way.active, clock.rests) == (True, [0.03, 0.006])
    await clock.page(give_way, 200, head=100_003, seconds=2.0)
    assert clock.rests[2] == 1.0


async def test_a_page_during_which_nobody_appended_says_nothing(clock: Clock) -> None:
    """Small pages are shorter than what lies between two appends: only a whole quarter of a second tells."""
    give_way = GiveWay()
    await clock.page(give_way, 500, head=100_000)
    await clock.page(give_way, 500, head=100_001)
    for number in range(200):
        await clock.page(give_way, 200, head=100_001 + number // 20, seconds=0.002)
        assert give_way.active
    await clock.page(give_way, 200, head=100_011, seconds=0.002)
    began = clock.now
    while give_way.active:
        await clock.page(give_way, 200, head=100_011, seconds=0.002)
    assert 0.25 <= clock.now - began <= 0.51
    assert give_way.page == 5_000


async def test_the_log_grows_faster_than_it_could_rest(clock: Clock) -> None:
    give_way = GiveWay()
    await clock.page(give_way, 500, head=100_000)
    for number in range(1, 100):
        await clock.page(give_way, 5_000, head=100_000 + 2_000 * number)
        assert (give_way.active, give_way.page) == (False, 5_000)
    assert clock.rests == []


async def test_with_rests_it_still_comes_to_its_end(clock: Clock) -> None:
    """It goes on giving way while it folds more than twice what is appended, and no longer."""
    give_way = GiveWay()
    await clock.page(give_way, 5_000, head=100_000)
    await clock.page(give_way, 5_000, head=100_400)
    head, active = 100_400, [give_way.active]
    for _ in range(300):
        head += 80
        await clock.page(give_way, 200, head=head)
        active.append(give_way.active)
    assert all(active)
    while active[-1] and head < 200_000:
        head += 120
        await clock.page(give_way, 200, head=head)
        active.append(give_way.active)
    assert not active[-1]
