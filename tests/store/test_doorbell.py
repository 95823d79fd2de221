"""The doorbell wakes those who wait for what has come, and nobody waits past their time."""

from __future__ import annotations

import asyncio

import pytest

from refold.store.doorbell import Doorbell


async def waiting(bell: Doorbell, position: int, seconds: float = 30) -> asyncio.Task[bool]:
    task = asyncio.create_task(bell.wait_beyond(position, seconds))
    await asyncio.sleep(0)
    return task


async def test_a_ring_wakes_those_who_wait_for_less() -> None:
    bell = Doorbell()
    near, far = await waiting(bell, 4), await waiting(bell, 5)
    bell.ring(5)
    assert await near
    assert not far.done()
    bell.ring(6)
    assert await far
    assert bell.position == 6


async def test_what_was_rung_before_is_not_waited_for() -> None:
    bell = Doorbell()
    bell.ring(5)
    assert await bell.wait_beyond(4, 0)
    assert not await bell.wait_beyond(5, 0)


async def test_an_older_ring_wakes_nobody() -> None:
    bell = Doorbell()
    bell.ring(5)
    task = await waiting(bell, 5)
    bell.ring(3)
    bell.ring(5)
    await asyncio.sleep(0)
    assert not task.done()
    assert bell.position == 5
    task.cancel()


async def test_ringing_anyway_wakes_everybody() -> None:
    bell = Doorbell()
    tasks = [await waiting(bell, position) for position in (0, 7, 10**9)]
    bell.ring_anyway()
    assert await asyncio.gather(*tasks) == [True, True, True]
    assert bell.position == 0


async def test_waiting_ends_with_its_time() -> None:
    bell = Doorbell()
    began = asyncio.get_running_loop().time()
    assert not await bell.wait_beyond(0, 0.02)
    assert asyncio.get_running_loop().time() - began >= 0.02
    assert not bell._waiting


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    bell = Doorbell()
    task = await waiting(bell, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not bell._waiting
    bell.ring(1)


async def test_a_ring_and_the_end_of_the_time_at_once_are_a_ring() -> None:
    bell = Doorbell()
    task = await waiting(bell, 0, 0)
    bell.ring(1)
    assert await task
