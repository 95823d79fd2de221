"""The log live: nothing lost, nothing doubled, whoever is slow and whatever is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal

import httpx
import pytest

from refold.errors import StoreUnavailable
from refold.server import Bounds, Server, tail
from refold.store.append import Matching
from refold.store.event_store import EventFilter
from tests.server.conftest import calling
from tests.server.domain import DepositMoney, TakeNote, app

EVERYTHING = EventFilter()


async def deposit(server: Server, times: int) -> None:
    context = await server.context()
    await context.execute_many([DepositMoney(account_id=str(n), amount=Decimal(1)) for n in range(times)])


def ids(piece: bytes) -> list[int]:
    """The ids of the events in a piece (not those of a sign of life)."""
    return [int(frame.split(b"\n")[0][4:]) for frame in piece.split(b"\n\n") if b"\ndata: " in frame]


async def seen(pieces: AsyncGenerator[bytes, None], number: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(20):
        while len(found) < number:
            found += ids(await anext(pieces))
    return found


async def test_what_was_and_what_comes_each_once_in_order(server: Server) -> None:
    await deposit(server, 30)
    async with aclosing(server.tail.follow(10, EVERYTHING)) as pieces:
        before = await seen(pieces, 20)
        await deposit(server, 50)
        after = await seen(pieces, 50)

    assert before + after == list(range(11, 81))


async def test_many_who_come_at_the_same_moment_each_see_everything_once(server: Server) -> None:
    async def follow() -> list[int]:
        async with aclosing(server.tail.follow(10, EVERYTHING)) as pieces:
            return await seen(pieces, 400)

    await deposit(server, 10)
    context = await server.context()

    async def work(account: int) -> None:
        for _ in range(50):
            await context.execute(DepositMoney(account_id=str(account), amount=Decimal(1)))

    following = [asyncio.create_task(follow()) for _ in range(20)]
    await asyncio.gather(*(work(account) for account in range(8)))
    following += [asyncio.create_task(follow()) for _ in range(5)]  # who comes later begins at the same place

    assert await asyncio.gather(*following) == [list(range(11, 411))] * 25


async def test_who_is_far_behind_reads_the_store_and_catches_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_KEPT", 5)
    monkeypatch.setattr(tail, "_PAGE", 7)
    async with (
        aclosing(server.tail.follow(0, EVERYTHING)) as quick,
        aclosing(server.tail.follow(0, EVERYTHING)) as slow,
    ):
        await anext(slow)
        for _ in range(6):
            await deposit(server, 10)
            await seen(quick, 10)
        late = await seen(slow, 60)

    assert late == list(range(1, 61))


async def test_who_is_far_behind_when_the_store_goes_away_comes_back_for_the_rest(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line ends in order: it is no error of the server, and the client knows where to go on."""
    monkeypatch.setattr(tail, "_KEPT", 5)
    monkeypatch.setattr(tail, "_PAGE", 10)
    await deposit(server, 40)

    async def away(**asked: object) -> None:
        raise StoreUnavailable("the store is away")

    async with aclosing(server.tail.follow(0, EVERYTHING)) as pieces:
        first = await seen(pieces, 10)
        with monkeypatch.context() as gone:
            gone.setattr(server.tail._store, "read_log", away)
            rest = [piece async for piece in pieces]
    async with aclosing(server.tail.follow(first[-1], EVERYTHING)) as again:
        assert first + await seen(again, 30) == list(range(1, 41))
    assert b"".join(rest).count(b"id:") == 0


async def test_what_was_kept_is_not_believed_when_the_store_comes_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have lost its last moments: whoever follows then gets what is there, not what was."""
    monkeypatch.setattr(tail, "_PAUSE", 0.01)
    await deposit(server, 3)
    read_log, refused = server.tail._store.read_log, asyncio.Event()

    async def once_away(**asked: object) -> object:
        if not refused.is_set():
            refused.set()
            raise StoreUnavailable("the store is away")
        return await read_log(**asked)  # type: ignore[arg-type]  # as it was called

    async with (
        aclosing(server.tail.follow(3, EVERYTHING)) as quick,
        aclosing(server.tail.follow(3, EVERYTHING)) as slow,
    ):
        await anext(slow)
        for times in (1, 4):  # by the second of these the tail is surely read
            await deposit(server, times)
            await seen(quick, times)
        assert len(server.tail._frames) >= 4
        monkeypatch.setattr(server.tail._store, "read_log", once_away)
        await deposit(server, 1)
        await asyncio.wait_for(refused.wait(), 20)
        await seen(quick, 1)
        assert len(server.tail._frames) <= 1
        assert await seen(slow, 6) == [4, 5, 6, 7, 8, 9]


async def test_what_is_kept_is_bounded_also_where_events_are_large(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_KEPT_BYTES", 5_000)
    context = await server.context()
    async with (
        aclosing(server.tail.follow(0, EVERYTHING)) as quick,
        aclosing(server.tail.follow(0, EVERYTHING)) as slow,
    ):
        await anext(slow)
        for _ in range(4):
            await context.execute_many([TakeNote(note_id=str(n), text="x" * 100) for n in range(20)])
            await seen(quick, 20)
            assert sum(len(frame) for _, frame in server.tail._frames) == server.tail._size <= 10_000
        late = await seen(slow, 80)

    assert late == list(range(1, 81))


async def test_only_what_is_asked_for_and_the_way_goes_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "HEARTBEAT_SECONDS", 0.05)
    where = EventFilter(matching=(Matching(("NoteTaken",)),), categories=("note",))
    context = await server.context()
    async with aclosing(server.tail.follow(0, where)) as pieces:
        await anext(pieces)
        await deposit(server, 5)
        await context.execute(TakeNote(note_id="1", text="hello"))
        note = await seen(pieces, 1)
        await deposit(server, 5)
        async with asyncio.timeout(20):
            while (beat := await anext(pieces)) != b": still here\nid: 11\n\n":
                assert ids(beat) == []

    assert note == [6]


async def test_a_line_lives_also_while_the_log_moves_by_what_is_not_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "HEARTBEAT_SECONDS", 0.2)
    where = EventFilter(matching=(Matching(("NoteTaken",)),))

    async def work() -> None:
        while True:
            await deposit(server, 1)
            await asyncio.sleep(0.03)

    working = asyncio.create_task(work())
    async with aclosing(server.tail.follow(0, where)) as pieces, asyncio.timeout(20):
        await anext(pieces)
        beats = [await anext(pieces) for _ in range(3)]
    working.cancel()

    behind = [int(beat.removeprefix(b": still here\nid: ")) for beat in beats]
    assert behind == sorted(behind)
    assert behind[0] > 0


async def test_a_client_goes_on_after_its_last_event(server: Server, api: httpx.AsyncClient) -> None:
    await deposit(server, 10)

    async def first(number: int, headers: dict[str, str], **query: int) -> list[int]:
        pieces = server.tail.follow(int(headers.get("Last-Event-ID", query.get("after", 0))), EVERYTHING)
        async with aclosing(pieces):
            return await seen(pieces, number)

    assert await first(4, {}, after=2) == list(range(3, 11))
    assert await first(1, {"Last-Event-ID": "9"}, after=2) == [10]
    for wrong in ("x", "-1", "1e3"):
        answer = await api.get("/events/live", headers={"Last-Event-ID": wrong})
        assert answer.status_code == 422
    ahead = await api.get("/events/live", params={"after": 11})
    assert (ahead.status_code, ahead.json()["code"]) == (412, "ahead")


async def test_so_many_streams_and_no_more() -> None:
    async with Server(app, "sqlite:///:memory:", bounds=Bounds(own_streams=1)) as server, calling(server) as api:
        with server.streams.one_of((await api.get("/me")).json()["name"]):
            refused = [
                await api.get(path) for path in ("/events/live", "/events/export.csv", "/operations/export.jsonl")
            ]
        # Each is let go at its end.
        exported = [await api.get("/events/export.csv") for _ in range(3)]

    assert [(each.status_code, each.json()["code"]) for each in refused] == [(429, "too-many")] * 3
    assert [each.status_code for each in exported] == [200] * 3


async def test_the_end_lets_everybody_go(server: Server) -> None:
    async def follow() -> int:
        return len([piece async for piece in server.tail.follow(0, EVERYTHING)])

    following = [asyncio.create_task(follow()) for _ in range(20)]
    await asyncio.sleep(0)
    server.drain()

    async with asyncio.timeout(20):
        await asyncio.gather(*following)
