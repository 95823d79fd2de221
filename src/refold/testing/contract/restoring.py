"""Restoring: events of another log go on at the end of this one as they are, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from refold.errors import Conflict, Refused
from refold.messages.recorded import StoredEvent
from refold.store.append import NO_STREAM, Append, AppendResult, Matching
from refold.store.event_store import EventFilter, EventStore, Head, Snapshot
from refold.testing.contract.appending import log_of
from refold.testing.contract.events import append_of, event, part

__all__ = ["Restoring"]

_AT = 1_700_000_000_000_000
_LATE = 4_000_000_000_000_000


def _restored(position: int, stream: str, version: int, *, append: int, index: int = 0, **more: Any) -> StoredEvent:
    given = {
        "type": "Happened",
        "schema_version": 2,
        "payload": b'{"n": 1.10}',
        "metadata": b'{"actor":"alice"}',
        "recorded_at": _AT + append,
        "occurred_at": None,
        "tags": (),
        **more,
    }
    return StoredEvent(
        position=position,
        stream=stream,
        version=version,
        append_id=UUID(int=append).bytes,
        append_index=index,
        **given,
    )


def _three_appends() -> list[StoredEvent]:
    return [
        _restored(1, "a-1", 1, append=1, tags=("x:1", "y:2")),
        _restored(2, "a-1", 2, append=2, occurred_at=-5),
        _restored(3, "b-1", 1, append=2, index=1, tags=("x:1",)),
        _restored(4, "a-1", 3, append=3),
    ]


class Restoring:
    """What the store does with the events of another log."""

    async def test_restored_events_are_what_they_were(self, store: EventStore) -> None:
        events = _three_appends()
        await store.restore(events[:1])
        await store.restore(events[1:])
        assert await log_of(store) == events
        assert await store.head() == Head(4, _AT + 3)
        assert await store.read_stream("a-1") == [events[0], events[1], events[3]]
        assert await store.stream_version("b-1") == 1
        assert await store.position_at(_AT + 2) == 3

    async def test_restored_appends_are_known_by_their_ids(self, store: EventStore) -> None:
        await store.restore(_three_appends())
        second = UUID(int=2)
        assert await store.find_append(second.bytes) == AppendResult(second, 2, 3, {"a-1": 2, "b-1": 1}, _AT + 2)
        assert await store.read_append(second.bytes) == _three_appends()[1:3]
        repeated = await store.append(Append((part("c-1", event(1)),), second))
        assert (repeated.first, repeated.repeated) == (2, True)

    async def test_restored_tags_are_found(self, store: EventStore) -> None:
        await store.restore(_three_appends())
        where = EventFilter(matching=(Matching(tags=("x:1",)),))
        page = await store.read_log(where=where)
        assert [each.position for each in page.events] == [1, 3]

    async def test_the_log_goes_on_behind_them(self, store: EventStore) -> None:
        await store.restore(_three_appends())
        with pytest.raises(Conflict):
            await store.append(append_of(part("a-1", event(1), expected=NO_STREAM)))
        result = await store.append(append_of(part("a-1", event(1), expected=3)))
        assert (result.first, result.versions) == (5, {"a-1": 4})
        await store.restore([_restored(6, "b-1", 2, append=9, recorded_at=result.recorded_at)])
        assert (await store.head()).position == 6

    async def test_times_never_go_back_behind_restored_ones(self, store: EventStore) -> None:
        future = 4_000_000_000_000_000
        await store.restore([_restored(1, "a-1", 1, append=1, recorded_at=future)])
        result = await store.append(append_of(part("a-1", event(1))))
        assert result.recorded_at >= future

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda event: msgspec.structs.replace(event, position=event.position + 1),
            lambda event: msgspec.structs.replace(event, position=event.position - 1),
            lambda event: msgspec.structs.replace(event, version=event.version + 1),
            lambda event: msgspec.structs.replace(event, version=event.version - 1),
            lambda event: msgspec.structs.replace(event, payload=b'{"a":"\\u0000"}'),
            lambda event: msgspec.structs.replace(event, metadata=b"{}\0"),
            lambda event: msgspec.structs.replace(event, stream="c-1"),
            lambda event: msgspec.structs.replace(event, append_index=1),
            lambda event: msgspec.structs.replace(event, recorded_at=0),
            lambda event: msgspec.structs.replace(event, append_id=UUID(int=1).bytes),
        ],
    )
    async def test_what_does_not_fit_is_refused_whole(
        self, store: EventStore, wrong: Callable[[StoredEvent], StoredEvent]
    ) -> None:
        events = _three_appends()
        await store.restore(events[:3])
        last = [wrong(events[3]), _restored(5, "d-1", 1, append=7)]
        for batch in (last, last[::-1]):
            with pytest.raises(Refused):
                await store.restore(batch)
        assert await log_of(store) == events[:3]

    async def test_a_part_of_an_append_is_refused(self, store: EventStore) -> None:
        events = _three_appends()
        await store.restore(events[:1])
        with pytest.raises(Refused):
            await store.restore([msgspec.structs.replace(events[2], position=2)])
        assert await log_of(store) == events[:1]

    async def test_restoring_and_appending_share_the_log(self, store: EventStore) -> None:
        restored = 0

        async def restore() -> None:
            nonlocal restored
            at = (await store.head()).position + 1
            try:
                await store.restore([_restored(at, f"r-{at}", 1, append=10_000 + at, recorded_at=_LATE)])
            except Refused:  # somebody appended meanwhile
                return
            restored += 1

        async def append(number: int) -> None:
            await store.append(append_of(part(f"a-{number}", event(number))))

        for start in range(0, 60, 3):
            await asyncio.gather(restore(), *(append(number) for number in range(start, start + 3)))
        log = await log_of(store)
        assert [each.position for each in log] == list(range(1, 60 + restored + 1))
        assert [each.recorded_at for each in log] == sorted(each.recorded_at for each in log)

    async def test_snapshots_are_listed(self, store: EventStore) -> None:
        snapshots = [Snapshot(f"a-{n}", 1, n, bytes(16), "f", b"{}") for n in (3, 1, 2, 10)]
        for each in snapshots:
            await store.save_snapshot(each)
        in_order = sorted(snapshots, key=lambda each: each.stream)
        assert await store.snapshots() == in_order
        assert await store.snapshots(limit=2) == in_order[:2]
        assert await store.snapshots(after="a-10") == in_order[2:]
