"""Appending: expected versions, atomicity, positions, and a result for each append of a batch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold.errors import Conflict, InvalidAppend, StoreUnavailable
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, EXISTS, NO_STREAM, AppendResult
from refold.store.event_store import EventStore
from refold.testing.contract.events import append_of, event, part

__all__ = ["Appending"]


async def log_of(store: EventStore) -> list[Any]:
    """The whole log."""
    events: list[Any] = []
    while True:
        page = await store.read_log(after=len(events), limit=1000)
        events += page.events
        if page.scanned_to >= page.head:
            return events


class Appending:
    """What an append does to the log."""

    async def test_positions_and_versions_begin_at_one(self, store: EventStore) -> None:
        result = await store.append(append_of(part("a-1", event(1), event(2))))
        assert (result.first, result.last, result.versions) == (1, 2, {"a-1": 2})
        second = await store.append(append_of(part("b-1", event(3))))
        assert (second.first, second.last, second.versions) == (3, 3, {"b-1": 1})
        assert await store.head() == (await store.head())
        assert (await store.head()).position == 3
        assert await store.stream_version("a-1") == 2
        assert await store.stream_version("nothing") == 0

    @pytest.mark.parametrize(
        ("before", "expected", "fits"),
        [
            (0, NO_STREAM, True),
            (2, NO_STREAM, False),
            (0, EXISTS, False),
            (2, EXISTS, True),
            (0, ANY, True),
            (2, ANY, True),
            (2, 2, True),
            (2, 1, False),
            (2, 3, False),
            (0, 1, False),
            (0, 10**9, False),
        ],
    )
    async def test_expected_versions(self, store: EventStore, before: int, expected: int, fits: bool) -> None:
        if before:
            await store.append(append_of(part("a-1", *(event(n) for n in range(before)))))
        append = append_of(part("a-1", event(9), expected=expected))
        if fits:
            assert (await store.append(append)).versions == {"a-1": before + 1}
            return
        with pytest.raises(Conflict) as conflict:
            await store.append(append)
        words = {NO_STREAM: "no stream", EXISTS: "exists"}.get(expected, expected)
        assert (conflict.value.stream, conflict.value.expected, conflict.value.actual) == ("a-1", words, before)
        assert (await store.head()).position == before

    async def test_several_streams_are_one_append(self, store: EventStore) -> None:
        await store.append(append_of(part("b-1", event(0))))
        result = await store.append(
            append_of(part("a-1", event(1), event(2), expected=0), part("b-1", event(3), expected=1))
        )
        assert (result.first, result.last, result.versions) == (2, 4, {"a-1": 2, "b-1": 2})
        log = await log_of(store)
        assert [(each.stream, each.version, each.append_index) for each in log[1:]] == [
            ("a-1", 1, 0),
            ("a-1", 2, 1),
            ("b-1", 2, 2),
        ]
        assert {each.append_id for each in log[1:]} == {result.id.bytes}

    async def test_one_stream_that_does_not_fit_refuses_all(self, store: EventStore) -> None:
        await store.append(append_of(part("b-1", event(0))))
        with pytest.raises(Conflict) as conflict:
            await store.append(append_of(part("a-1", event(1), expected=0), part("b-1", event(2), expected=5)))
        assert (conflict.value.stream, conflict.value.actual) == ("b-1", 1)
        assert await store.stream_version("a-1") == 0
        assert (await store.head()).position == 1

    async def test_of_those_that_wait_together_only_the_wrong_fail(self, store: EventStore) -> None:
        appends = [append_of(part(f"a-{n % 7}", event(n), expected=ANY if n % 3 else 50)) for n in range(60)]
        outcomes = await asyncio.gather(*(store.append(append) for append in appends), return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            assert isinstance(outcome, AppendResult if number % 3 else Conflict), (number, outcome)
        log = await log_of(store)
        assert [each.position for each in log] == list(range(1, 41))
        assert {each.append_id for each in log} == {append.id.bytes for n, append in enumerate(appends) if n % 3}

    async def test_a_chain_of_expected_versions_may_wait_together(self, store: EventStore) -> None:
        chain = [append_of(part("hot-1", event(n), expected=n)) for n in range(50)]
        results = await asyncio.gather(*(store.append(append) for append in chain))
        assert [result.versions["hot-1"] for result in results] == list(range(1, 51))
        assert [each.payload for each in await store.read_stream("hot-1")] == [event(n).payload for n in range(50)]

    async def test_a_broken_link_breaks_the_rest_of_its_chain_only(self, store: EventStore) -> None:
        chain = [append_of(part("hot-1", event(n), expected=n if n < 5 else n + 1)) for n in range(10)]
        others = [append_of(part(f"cold-{n}", event(n), expected=0)) for n in range(10)]
        outcomes = await asyncio.gather(*(store.append(each) for each in [*chain, *others]), return_exceptions=True)
        assert [isinstance(outcome, AppendResult) for outcome in outcomes] == [True] * 5 + [False] * 5 + [True] * 10
        for number, outcome in enumerate(outcomes[5:10], start=5):
            assert isinstance(outcome, Conflict)
            assert (outcome.expected, outcome.actual) == (number + 1, 5)

    @pytest.mark.parametrize("others", [0, 10])
    async def test_what_rests_on_an_append_needs_its_events(self, store: EventStore, others: int) -> None:
        """The versions fit, but where the append that failed would have put its event stands somebody else's."""
        failing = append_of(part("hot-1", event(1), expected=7))
        resting = append_of(part("hot-1", event(2), expected=1), rests_on=failing)
        on_top = append_of(part("hot-1", event(3), expected=2), rests_on=resting)
        cold = [append_of(part(f"cold-{n}", event(n), expected=0)) for n in range(others)]
        somebody = append_of(part("hot-1", event(4)))
        outcomes = await asyncio.gather(
            *(store.append(each) for each in [somebody, failing, resting, on_top, *cold]), return_exceptions=True
        )
        assert [isinstance(outcome, AppendResult) for outcome in outcomes] == [True, *[False] * 3, *[True] * others]
        assert all(isinstance(outcome, Conflict) for outcome in outcomes[1:4])
        with pytest.raises(Conflict):  # also when the failed one was answered long ago
            await store.append(resting)
        last = append_of(part("hot-1", event(5), expected=1), rests_on=somebody)
        assert (await store.append(last)).versions == {"hot-1": 2}

    @pytest.mark.parametrize("before", [0, 3])
    @pytest.mark.parametrize("stored", [True, False])
    async def test_a_chain_may_rest_on_an_earlier_commit(self, store: EventStore, before: int, stored: bool) -> None:
        ground = append_of(part("hot-1", event(0)))
        await store.append(ground if stored else append_of(part("hot-1", event(0))))
        for n in range(before):
            await store.append(append_of(part("hot-1", event(n))))
        chain = [append_of(part("hot-1", event(1), expected=1), rests_on=ground)]
        for n in range(2, 12):
            chain.append(append_of(part("hot-1", event(n), expected=n), rests_on=chain[-1]))
        outcomes = await asyncio.gather(*(store.append(each) for each in chain), return_exceptions=True)
        fits = stored and not before
        assert {type(outcome) for outcome in outcomes} == {AppendResult if fits else Conflict}
        assert await store.stream_version("hot-1") == (12 if fits else 1 + before)

    async def test_somebody_else_may_stand_where_a_chain_begins(self, store: EventStore) -> None:
        failed = append_of(part("hot-1", event(0), expected=0))
        outcomes = await asyncio.gather(
            *(store.append(append_of(part(f"cold-{n}", event(n)))) for n in range(5)),
            store.append(append_of(part("hot-1", event(1)))),
            store.append(append_of(part("hot-1", event(2), expected=1), rests_on=failed)),
            return_exceptions=True,
        )
        assert isinstance(outcomes[-1], Conflict)
        assert await store.stream_version("hot-1") == 1

    async def test_an_append_of_several_streams_rests_on_no_other(self, store: EventStore) -> None:
        ground = append_of(part("a-1"))
        for parts in ([part("a-1", expected=1), part("b-1", expected=0)], [part("a-1")], [part("a-1", expected=0)]):
            with pytest.raises(InvalidAppend, match="rests on another"):
                await store.append(append_of(*parts, rests_on=ground))

    async def test_racers_for_one_version_have_one_winner(self, store: EventStore) -> None:
        outcomes = await asyncio.gather(
            *(store.append(append_of(part("a-1", event(n), expected=0))) for n in range(16)), return_exceptions=True
        )
        assert sum(isinstance(outcome, AppendResult) for outcome in outcomes) == 1
        assert await store.stream_version("a-1") == 1

    async def test_modes_may_be_mixed_on_one_stream(self, store: EventStore) -> None:
        modes = [0, ANY, EXISTS, 3, ANY, EXISTS, 6]
        outcomes = await asyncio.gather(
            *(store.append(append_of(part("a-1", event(n), expected=mode))) for n, mode in enumerate(modes)),
            return_exceptions=True,
        )
        assert all(isinstance(outcome, AppendResult) for outcome in outcomes), outcomes
        assert [each.payload for each in await store.read_stream("a-1")] == [event(n).payload for n in range(7)]

    async def test_streams_of_several_appends_may_cross(self, store: EventStore) -> None:
        outcomes = await asyncio.gather(
            store.append(append_of(part("a-1", event(1), expected=0), part("b-1", event(2), expected=0))),
            store.append(append_of(part("b-1", event(3), expected=1), part("a-1", event(4), expected=1))),
            store.append(append_of(part("a-1", event(5), expected=2))),
            store.append(append_of(part("c-1", event(6), expected=0), part("a-1", event(7), expected=99))),
            return_exceptions=True,
        )
        assert [isinstance(outcome, AppendResult) for outcome in outcomes] == [True, True, True, False]
        assert await store.stream_version("a-1") == 3
        assert await store.stream_version("c-1") == 0

    async def test_positions_are_gapless_and_in_the_order_of_acknowledgement(self, store: EventStore) -> None:
        acknowledged: list[AppendResult] = []

        async def writer(number: int) -> None:
            for turn in range(20):
                before = max((result.last for result in acknowledged), default=0)
                result = await store.append(append_of(part(f"w-{number}", event(turn), event(turn))))
                assert result.first > before  # what was acknowledged before this began stands before it
                acknowledged.append(result)

        await asyncio.gather(*(writer(number) for number in range(10)))
        log = await log_of(store)
        assert [each.position for each in log] == list(range(1, 401))
        for result in acknowledged:
            assert [each.append_id for each in log[result.first - 1 : result.last]] == [result.id.bytes] * 2
        for number in range(10):
            assert [each.version for each in log if each.stream == f"w-{number}"] == list(range(1, 41))

    async def test_recorded_times_never_go_back(self, store: EventStore) -> None:
        for number in range(20):
            await store.append(append_of(part("a-1", event(number))))
        times = [each.recorded_at for each in await log_of(store)]
        assert times == sorted(times)
        assert (await store.head()).recorded_at == times[-1]

    @pytest.mark.parametrize(
        "payload",
        [
            b"{}",
            b'{ "b" : 1.50,\n "a": [1e3, -0, true, null] }',
            '{"text":"žluťoučký kůň 🐎 \\u00e9 \\" \\\\ \\/"}'.encode(),
            b'{"a":1,"a":2}',
            b'"' + b"x" * 1_000_000 + b'"',
        ],
        ids=["empty", "spaces and numbers", "unicode and escapes", "a key twice", "a megabyte"],
    )
    async def test_payload_and_metadata_are_kept_byte_for_byte(self, store: EventStore, payload: bytes) -> None:
        new = NewEvent(
            type="Kept",
            payload=payload,
            metadata=payload[:100_000] if payload[:1] == b"{" else b"{}",
            schema_version=7,
            occurred_at=-5,
            tags=("a:1", "b:ž"),
        )
        await store.append(append_of(part("a-1", new)))
        (kept,) = await store.read_stream("a-1")
        assert (kept.payload, kept.metadata, kept.type, kept.schema_version) == (payload, new.metadata, "Kept", 7)
        assert (kept.occurred_at, kept.tags) == (-5, ("a:1", "b:ž"))
        assert (await store.read_log(limit=1)).events == [kept]

    async def test_an_append_may_be_long(self, store: EventStore) -> None:
        result = await store.append(append_of(part("a-1", *(event(n) for n in range(2500)))))
        assert (result.first, result.last) == (1, 2500)
        assert [each.payload for each in await log_of(store)] == [event(n).payload for n in range(2500)]

    async def test_what_waits_is_committed_before_the_store_closes(self, store: EventStore) -> None:
        tasks = [asyncio.ensure_future(store.append(append_of(part(f"a-{n}")))) for n in range(50)]
        await asyncio.sleep(0)
        await store.close()
        results = await asyncio.gather(*tasks)
        assert sorted(result.last for result in results) == list(range(1, 51))
        with pytest.raises(StoreUnavailable):
            await store.open_reader()

    async def test_a_cancelled_caller_takes_nothing_from_the_others(self, store: EventStore) -> None:
        tasks = [asyncio.ensure_future(store.append(append_of(part(f"a-{n}")))) for n in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        kept = {outcome.last for outcome in outcomes if isinstance(outcome, AppendResult)}
        assert len(kept) == 20
        assert [each.position for each in await log_of(store)] == list(range(1, (await store.head()).position + 1))

    async def test_waiting_ends_when_the_log_grows(self, store: EventStore) -> None:
        await store.wait_beyond(0, 0.01)  # ends in any case; it may have been rung for nothing
        waiting = asyncio.ensure_future(store.wait_beyond(0, 30))
        await asyncio.sleep(0)
        await store.append(append_of(part("a-1")))
        assert await waiting
        assert await store.wait_beyond(0, 30)
