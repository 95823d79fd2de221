"""The contract of what a sink in the log's database keeps of failing projections: derive a class from it, with a `sink`
fixture as the sink contract has it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.parking.records import (
    Attempt,
    Begin,
    Change,
    Dropped,
    Forget,
    Logged,
    Operation,
    Park,
    ParkedKey,
    Pause,
    Renamed,
    Request,
    Resume,
    Skip,
    Unpark,
)
from refold.projections.sink import LogSink, building, previous

__all__ = ["RecordsContract"]


class _Kept(Event, name="RecordsContractKept"):
    pass


class _Row(ReadModel, key="id", name="records_contract"):
    id: str
    count: int = 0

    @evolve
    def kept(self, event: _Kept) -> None:
        self.count += 1


_ROWS = read_model_of(_Row)
_NAME = _ROWS.name


_PARKED = ParkedKey(
    name=_NAME,
    key='["a"]',
    position=7,
    stream="row-a",
    type="Kept",
    error='it\'s "bad"',
    attempts=5,
    owner="me",
    fingerprint="f",
)


def _parked(key: str = "a", **fields: Any) -> ParkedKey:
    return msgspec.structs.replace(_PARKED, key=f'["{key}"]', **fields)


def _said(operation: str) -> Logged:
    return Logged(Operation(actor="ann", operation=operation, target="t", details={"n": 1}))


class RecordsContract:
    """What every place for these records must do."""

    async def test_a_parked_key_is_given_back(self, sink: LogSink) -> None:
        """All that is said of a parked key is kept, and replaced when it is parked again."""
        assert await sink.records.parked() == []
        assert await sink.records.apply([Park(_parked()), Park(_parked("b", name="other", position=3))])
        first, second = await sink.records.parked()
        assert (first.name, second.name) == ("other", _NAME)
        assert second.since > 10**15
        assert msgspec.structs.replace(second, since=0) == _parked()
        assert await sink.records.parked(_NAME) == [second]
        # Parked again: what is said of it is replaced, and since when it waits stays.
        assert await sink.records.apply([Park(msgspec.structs.replace(second, attempts=6))])
        (again,) = await sink.records.parked(_NAME)
        assert (again.attempts, again.since) == (6, second.since)

    async def test_one_request_at_a_time(self, sink: LogSink) -> None:
        """A second wish does not hold while the first is not done, nor does one for a key that is not parked."""
        await sink.records.apply([Park(_parked())])
        assert _NAME not in (await sink.records.orders()).requested
        asked = Request(_NAME, '["a"]', "retry", "1", "ann", "why not")
        assert await sink.records.apply([asked])
        assert not await sink.records.apply([msgspec.structs.replace(asked, request_id="2")])
        assert not await sink.records.apply([msgspec.structs.replace(asked, key='["b"]')])
        assert (await sink.records.orders()).requested == {_NAME}
        assert "other" not in (await sink.records.orders()).requested
        (parked,) = await sink.records.parked()
        assert (parked.request, parked.request_id, parked.requested_by, parked.reason) == (
            "retry",
            "1",
            "ann",
            "why not",
        )
        assert not await sink.records.apply([Unpark(_NAME, '["a"]', "2")])
        assert await sink.records.apply([Unpark(_NAME, '["a"]', "1")])
        assert not await sink.records.apply([Unpark(_NAME, '["a"]', "1")])

    async def test_changes_are_all_or_nothing(self, sink: LogSink) -> None:
        """When one change does not hold, none was made."""
        changes: list[Change] = [Park(_parked()), _said("one"), Begin(Pause(name="x", actor="ann")), Resume("absent")]
        assert not await sink.records.apply(changes)
        assert await sink.records.parked() == []
        assert await sink.records.operations() == []
        assert await sink.records.pauses() == []
        assert await sink.records.apply(changes[:3])

    async def test_a_move_and_its_changes_are_one_step(self, sink: LogSink) -> None:
        """Rows, checkpoint and changes are written together, or not at all."""
        await sink.register(_ROWS, _NAME)
        owned = await sink.claim(_NAME, "me", 10.0)
        assert owned is not None
        move = Move(0, 5, "a" * 32, owned.epoch, changes=(Park(_parked()), _said("parked")))
        assert await sink.write(_ROWS, _NAME, [_Row(id="b", count=1)], [], move)
        assert len(await sink.records.parked()) == 1
        # A move that does not hold changes nothing.
        other = _said("lost")
        for stale in (
            Move(0, 6, "a" * 32, owned.epoch, changes=(other,)),
            Move(5, 6, "a" * 32, owned.epoch + 1, changes=(other,)),
            Move(5, 6, "a" * 32, owned.epoch, changes=(other, Unpark(_NAME, '["b"]', ""))),
        ):
            assert not await sink.write(_ROWS, _NAME, [_Row(id="b", count=9)], [], stale)
        assert [each.operation for each in await sink.records.operations()] == ["parked"]
        assert (await sink.load(_ROWS, _NAME, [("b",)])).rows[("b",)] == _Row(id="b", count=1)
        checkpoint = await sink.checkpoint(_NAME)
        assert checkpoint is not None
        assert checkpoint.position == 5
        # It may stand where it is, and a row be mended.
        stay = Move(5, 5, "a" * 32, owned.epoch, changes=(Unpark(_NAME, '["a"]', ""),))
        assert await sink.write(_ROWS, _NAME, [_Row(id="a", count=3)], [], stay)
        assert await sink.records.parked() == []

    async def test_attempts_are_the_owners(self, sink: LogSink) -> None:
        """Only the owner of this epoch writes down what it tries."""
        await sink.register(_ROWS, _NAME)
        owned = await sink.claim(_NAME, "me", 10.0)
        assert owned is not None
        assert await sink.records.attempt(_NAME) is None
        attempt = Attempt(name=_NAME, first=3, last=9, begun=1, failed=2, error="x")
        assert await sink.records.note(attempt, owned.epoch, 2.0)
        assert not await sink.records.note(msgspec.structs.replace(attempt, begun=9), owned.epoch - 1)
        found = await sink.records.attempt(_NAME)
        assert found is not None
        assert msgspec.structs.replace(found, next_at=0) == attempt
        assert found.next_at > 10**15
        assert await sink.records.attempts() == [found]
        assert await sink.records.note(msgspec.structs.replace(attempt, begun=2), owned.epoch)
        found = await sink.records.attempt(_NAME)
        assert found is not None
        assert found.begun == 2
        await sink.records.apply([Forget(_NAME)])
        assert await sink.records.attempts() == []

    async def test_pauses(self, sink: LogSink) -> None:
        """A read model is paused once, for all of its checkpoints, and resumed once."""
        begin = Begin(Pause(name="x", actor="ann", reason="why"))
        assert await sink.records.apply([begin])
        assert not await sink.records.apply([begin])
        (pause,) = await sink.records.pauses()
        assert (pause.name, pause.actor, pause.reason, pause.since > 10**15) == ("x", "ann", "why", True)
        assert "x" in (await sink.records.orders()).paused
        assert "y" not in (await sink.records.orders()).paused
        assert await sink.records.apply([Resume("x")])
        assert not await sink.records.apply([Resume("x")])

    async def test_skips_are_of_one_definition(self, sink: LogSink) -> None:
        """Skipping twice is skipping once; another definition does not know of it."""
        skip = Skip("x", '["a"]', 4, "f1", "ann", "why")
        assert await sink.records.apply([skip, skip])
        assert await sink.records.skipped("x", "f1") == [('["a"]', 4)]
        assert await sink.records.skipped("x", "f2") == []
        assert await sink.records.skipped("y", "f1") == []

    async def test_operations_are_listed_newest_first(self, sink: LogSink) -> None:
        """They are given page by page, and by request."""
        for number in range(5):
            one = Operation(actor="ü", operation=str(number), target="t", request=str(number % 2), details={"x": [1]})
            await sink.records.apply([Logged(one)])
        found = await sink.records.operations(limit=2)
        assert [each.operation for each in found] == ["4", "3"]
        assert found[0].details == {"x": [1]}
        assert found[0].actor == "ü"
        older = await sink.records.operations(before=found[-1].number)
        assert [each.operation for each in older] == ["2", "1", "0"]
        assert older[0].at <= found[0].at
        assert [each.operation for each in await sink.records.operations(request="1")] == ["3", "1"]

    async def test_what_is_parked_goes_with_its_version(self, sink: LogSink) -> None:
        """What waits goes with the version of the rows that it is missing in."""
        await sink.records.apply([Park(_parked()), Park(_parked("b", name=building(_NAME)))])
        await sink.records.apply([Renamed(_NAME, previous(_NAME)), Renamed(building(_NAME), _NAME)])
        assert {(each.name, each.key) for each in await sink.records.parked()} == {
            (previous(_NAME), '["a"]'),
            (_NAME, '["b"]'),
        }
        await sink.records.apply([Dropped(previous(_NAME))])
        assert [each.name for each in await sink.records.parked()] == [_NAME]

    async def test_a_table_that_is_dropped_or_begun_takes_its_records_along(self, sink: LogSink) -> None:
        """Rows that begin anew have nothing parked."""
        await sink.register(_ROWS, _NAME)
        await sink.records.apply([Park(_parked()), Park(_parked("b", name=building(_NAME)))])
        begun = await sink.begin(_ROWS, "me", 10.0)
        assert begun is not None
        assert [each.name for each in await sink.records.parked()] == [_NAME]
        assert await sink.switch(_ROWS, begun.epoch)
        assert [each.name for each in await sink.records.parked()] == [previous(_NAME)]
        assert await sink.exchange(_ROWS)
        assert [each.name for each in await sink.records.parked()] == [_NAME]
        await sink.drop(_NAME)
        assert await sink.records.parked() == []
