"""Rows and checkpoint together, or neither."""

from __future__ import annotations

import asyncio
from datetime import date, datetime

import pytest

from refold.errors import InvalidQuery
from refold.projections.checkpoint import Move
from refold.projections.conditions import checked, field, orders_of
from refold.projections.sink import Query, Sink
from refold.testing.sink_contract.models import (
    EVERYTHING,
    ID,
    PAIR,
    RENAMED,
    TALLY,
    Everything,
    Pair,
    Renamed,
    Tally,
    every_row,
    owned,
    put,
)

__all__ = ["Writing"]


class Writing:
    """Rows and checkpoint together, or neither."""

    async def test_rows_are_added_changed_and_deleted(self, sink: Sink) -> None:
        """In one write."""
        await put(sink, Everything(id="1", number=1), Everything(id="2", number=2))
        await put(sink, Everything(id="2", number=3), Everything(id="3"), deleted=[("1",), ("never",)])
        assert await every_row(sink) == [Everything(id="2", number=3), Everything(id="3")]

    async def test_the_checkpoint_moves_without_rows(self, sink: Sink) -> None:
        """Nothing matched, yet all was seen."""
        mine = await owned(sink)
        assert await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(0, 500_000, ID, mine.epoch))
        checkpoint = await sink.checkpoint(EVERYTHING.name)
        assert checkpoint is not None
        assert (checkpoint.position, checkpoint.append_id) == (500_000, ID)

    @pytest.mark.parametrize(("before", "epoch"), [(1, 0), (0, 1), (0, -1)])
    async def test_nothing_is_written_when_the_move_does_not_hold(self, sink: Sink, before: int, epoch: int) -> None:
        """Another position, or another owner."""
        await put(sink, Everything(id="1"))
        mine = await owned(sink)
        move = Move(mine.position + before, mine.position + 9, ID, mine.epoch + epoch)
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [Everything(id="2")], [("1",)], move)
        assert await every_row(sink) == [Everything(id="1")]
        assert await sink.checkpoint(EVERYTHING.name) == mine

    async def test_nothing_is_written_when_a_row_cannot_be(self, sink: Sink) -> None:
        """The good row of the same write is not there either, and the checkpoint stands."""
        mine = await owned(sink)
        rows = [Everything(id="1"), Everything(id="2", at=datetime(2026, 1, 1))]  # noqa: DTZ001  # what is refused
        with pytest.raises(InvalidQuery):
            await sink.write(EVERYTHING, EVERYTHING.name, rows, [], Move(0, 2, ID, mine.epoch))
        assert await every_row(sink) == []
        assert await sink.checkpoint(EVERYTHING.name) == mine

    async def test_a_key_of_several_fields(self, sink: Sink) -> None:
        """Loaded, changed and deleted by the whole key."""
        await put(sink, Pair(left="a", right=1), Pair(left="a", right=2), Pair(left="b", right=1), definition=PAIR)
        loaded = await sink.load(PAIR, PAIR.name, [("a", 2), ("b", 2)])
        assert loaded.rows == {("a", 2): Pair(left="a", right=2)}
        await put(sink, Pair(left="b", right=1), deleted=[("a", 1)], definition=PAIR)
        assert await every_row(sink, PAIR) == [Pair(left="a", right=2), Pair(left="b", right=1)]

    async def test_a_key_that_is_a_date(self, sink: Sink) -> None:
        """A key goes through the same types as other columns."""
        days = [date(2026, 1, day) for day in (2, 1, 10)]
        await put(sink, *(Tally(on=day, total=day.day) for day in days), definition=TALLY)
        await put(sink, deleted=[(days[0],)], definition=TALLY)
        assert await every_row(sink, TALLY) == [Tally(on=days[1], total=1), Tally(on=days[2], total=10)]

    async def test_fields_that_have_other_names_in_json(self, sink: Sink) -> None:
        """Written, loaded, asked for and deleted by their own names."""
        rows = [Renamed(row_id="a", line_texts=["x"]), Renamed(row_id="b", last_seen=date(2026, 1, 2))]
        await put(sink, *rows, definition=RENAMED)
        assert (await sink.load(RENAMED, RENAMED.name, [("a",)])).rows == {("a",): rows[0]}
        where = checked(RENAMED, [field("last_seen") == date(2026, 1, 2)], {})
        assert (await sink.read(RENAMED, [], Query(where, orders_of(RENAMED, "row_id")))).found == rows[1:]
        await put(sink, deleted=[("a",)], definition=RENAMED)
        assert await every_row(sink, RENAMED) == rows[1:]

    async def test_many_rows_at_once(self, sink: Sink) -> None:
        """More than a database takes parameters."""
        rows = [Everything(id=f"{number:05}", number=number) for number in range(5_000)]
        await put(sink, *rows)
        assert len((await sink.load(EVERYTHING, EVERYTHING.name, [(row.id,) for row in rows])).rows) == 5_000
        await put(sink, deleted=[(row.id,) for row in rows[1:]])
        assert await every_row(sink) == rows[:1]

    async def test_what_is_read_is_of_one_moment(self, sink: Sink) -> None:
        """The position says exactly which events the rows have seen, whoever writes meanwhile; a store without
        transactions may show a row of the next page, if it says of it what it has seen.
        """
        mine = await owned(sink)
        done = asyncio.Event()

        async def write() -> None:
            for position in range(1, 60):
                rows = [Everything(id=name, number=position) for name in "ab"]
                assert await sink.write(
                    EVERYTHING, EVERYTHING.name, rows, [], Move(position - 1, position, ID, mine.epoch)
                )
            done.set()

        writing = asyncio.create_task(write())
        while not done.is_set():
            answer = await sink.read(EVERYTHING, [("a",)], Query(None))
            rows = [row for row in [*answer.rows.values(), *answer.found] if isinstance(row, Everything)]
            said = {row.id: answer.seen.get((row.id,), answer.position) for row in rows}
            assert said == {row.id: row.number for row in rows}
            assert not (answer.seen and sink.together(EVERYTHING.name))
            await asyncio.sleep(0)
        await writing
