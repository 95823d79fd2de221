"""What is refused before anything is stored, and what happens when too much waits."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from refold.errors import InvalidAppend, Overloaded, PayloadTooLarge
from refold.messages.recorded import NewEvent
from refold.store.append import Append, AppendCondition, AppendResult, Matching, StreamAppend
from refold.store.event_store import EventStore
from refold.testing.contract.events import append_of, event, matching, part

__all__ = ["BoundedQueue", "Refusals"]


class Refusals:
    """Bad input gets one clear error, and nothing is stored."""

    @pytest.mark.parametrize("stream", ["", "a\x00b", "tab\t-1", "line\n", "x" * 251, "\ud800-1", "\x7f"])
    async def test_stream_ids(self, store: EventStore, stream: str) -> None:
        with pytest.raises(InvalidAppend, match="stream id"):
            await store.append(append_of(part(stream)))
        assert (await store.head()).position == 0

    @pytest.mark.parametrize("expected", [-3, -(2**70), 2**53 + 1, 2**70, True, 1.5, "1", None])
    async def test_expected_versions_that_are_none(self, store: EventStore, expected: Any) -> None:
        with pytest.raises(InvalidAppend, match="expected version"):
            await store.append(append_of(part("a-1", expected=expected)))
        assert (await store.head()).position == 0

    async def test_an_absurd_expected_version_is_a_conflict(self, store: EventStore) -> None:
        from refold.errors import Conflict

        with pytest.raises(Conflict):
            await store.append(append_of(part("a-1", expected=2**53)))

    @pytest.mark.parametrize("text", [b'{"a":"\\u0000"}', b'{"a":"\\\\\\u0000"}', b'{"a":"\x00"}'])
    async def test_nul_characters(self, store: EventStore, text: bytes) -> None:
        for new in (NewEvent(type="X", payload=text), NewEvent(type="X", payload=b"{}", metadata=text)):
            with pytest.raises(InvalidAppend, match=r"NUL|not JSON"):
                await store.append(append_of(part("a-1", new)))
        assert (await store.head()).position == 0
        # An escaped backslash and five characters are text like any other.
        await store.append(append_of(part("a-1", NewEvent(type="X", payload=b'{"a":"\\\\u0000"}'))))

    async def test_a_megabyte_comes_back_byte_for_byte(self, store: EventStore) -> None:
        payload = b'{"text": "' + b"x" * 1_048_576 + b'"}'
        await store.append(append_of(part("a-1", NewEvent(type="X", payload=payload))))
        assert (await store.read_stream("a-1"))[0].payload == payload

    async def test_appends_of_nothing(self, store: EventStore) -> None:
        with pytest.raises(InvalidAppend, match="at least one stream"):
            await store.append(Append((), uuid4()))
        with pytest.raises(InvalidAppend, match="no events"):
            await store.append(Append((StreamAppend("a-1", 0, ()),), uuid4()))

    async def test_a_stream_twice(self, store: EventStore) -> None:
        with pytest.raises(InvalidAppend, match="stands twice"):
            await store.append(append_of(part("a-1"), part("a-1")))

    @pytest.mark.parametrize(
        "new",
        [
            event(type=""),
            event(type="x\n"),
            event(tags=("",)),
            event(tags=("a\x00",)),
            event(tags=("x" * 300,)),
        ],
    )
    async def test_types_and_tags(self, store: EventStore, new: NewEvent) -> None:
        with pytest.raises(InvalidAppend):
            await store.append(append_of(part("a-1", new)))
        assert (await store.head()).position == 0

    @pytest.mark.parametrize(
        "condition",
        [AppendCondition((), 0), matching("x", after=-1), AppendCondition((Matching((), ("",)),), 0)],
    )
    async def test_conditions(self, store: EventStore, condition: AppendCondition) -> None:
        with pytest.raises(InvalidAppend):
            await store.append(append_of(part("a-1"), condition=condition))

    @pytest.mark.parametrize("size", [8 * 1_048_576, 100 * 1_048_576], ids=["just over 8 MB", "100 MB"])
    async def test_payloads_past_the_limit(self, store: EventStore, size: int) -> None:
        large = NewEvent(type="Large", payload=b'"' + b"x" * size + b'"')
        outcomes = await asyncio.gather(
            store.append(append_of(part("a-1", large))), store.append(append_of(part("b-1"))), return_exceptions=True
        )
        assert isinstance(outcomes[0], PayloadTooLarge)
        assert isinstance(outcomes[1], AppendResult)

    async def test_what_one_caller_does_wrong_harms_no_neighbour(self, store: EventStore) -> None:
        # Not JSON, not even text: what a store cannot keep must fail its own append only.
        bad = NewEvent(type="Bad", payload=b"\xff\xfe\x00")
        appends = [append_of(part(f"a-{n}", bad if n == 7 else event(n))) for n in range(20)]
        outcomes = await asyncio.gather(*(store.append(append) for append in appends), return_exceptions=True)
        failed = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, AppendResult)]
        assert failed == [7]
        assert (await store.head()).position == 19


class BoundedQueue:
    """Past its bound the queue refuses at once. Give `small_store` a fixture: the store with
    `Limits(waiting_appends=10)`.
    """

    async def test_the_eleventh_is_refused_at_once(self, small_store: EventStore) -> None:
        outcomes = await asyncio.gather(
            *(small_store.append(append_of(part(f"a-{n}"))) for n in range(30)), return_exceptions=True
        )
        stored = [outcome for outcome in outcomes if isinstance(outcome, AppendResult)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        assert (len(stored), len(refused)) == (10, 20)
        assert (await small_store.head()).position == 10
        await small_store.append(append_of(part("later-1")))
