"""Another version takes the place of the read one."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from refold.errors import ProjectionStopped
from refold.projections.checkpoint import Move
from refold.projections.definitions import retired
from refold.projections.sink import Query, Sink, building, previous
from refold.testing.sink_contract.models import (
    EVERYTHING,
    ID,
    PAIR,
    Everything,
    built,
    every_row,
    owned,
    put,
)

__all__ = ["Switching"]


class Switching:
    """The next version is built beside the one that is read."""

    async def test_the_built_one_takes_the_place(self, sink: Sink) -> None:
        """Rows, position and fingerprint in one step; nobody owns it then."""
        await put(sink, Everything(id="old"))
        old = await sink.checkpoint(EVERYTHING.name)
        built = await sink.begin(EVERYTHING, "builder", 60)
        assert old is not None
        assert built is not None
        table = building(EVERYTHING.name)
        assert await sink.write(EVERYTHING, table, [Everything(id="new")], [], Move(0, 7, ID, built.epoch))
        assert await every_row(sink) == [Everything(id="old")]
        assert await sink.switch(EVERYTHING, built.epoch)
        assert await every_row(sink) == [Everything(id="new")]
        now = await sink.checkpoint(EVERYTHING.name)
        assert now is not None
        assert (now.position, now.append_id, now.owner) == (7, ID, "")
        assert await sink.checkpoint(table) is None
        # Who owned the old rows is fenced out.
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(7, 8, ID, old.epoch))

    async def test_several_build_at_once(self, sink: Sink) -> None:
        """The processes of a rebuild share its epoch, and each writes its rows; none of them moves the checkpoint."""
        await owned(sink)
        built = await sink.begin(EVERYTHING, "builder", 60)
        assert built is not None
        table, stays = building(EVERYTHING.name), Move(0, 0, "", built.epoch)
        rows = [Everything(id=f"{share}-{number}") for share in range(6) for number in range(3)]
        for _ in range(3):
            written = [sink.write(EVERYTHING, table, rows[at : at + 3], [], stays) for at in range(0, len(rows), 3)]
            assert await asyncio.gather(*written) == [True] * 6
        assert await sink.write(EVERYTHING, table, [], [], Move(0, 9, ID, built.epoch))
        assert not await sink.write(EVERYTHING, table, rows[:1], [], stays)
        assert await sink.switch(EVERYTHING, built.epoch)
        assert await every_row(sink) == rows

    async def test_again_and_again(self, sink: Sink) -> None:
        """The names of what was built do not get in the way of what is built next."""
        await owned(sink)
        for number in range(3):
            built = await sink.begin(EVERYTHING, "builder", 60)
            assert built is not None
            rows = [Everything(id="1", number=number)]
            table = building(EVERYTHING.name)
            assert await sink.write(EVERYTHING, table, rows, [], Move(0, number + 1, ID, built.epoch))
            assert await sink.switch(EVERYTHING, built.epoch)
            assert await every_row(sink) == rows

    async def test_what_was_read_is_kept_for_the_way_back(self, sink: Sink) -> None:
        """As the previous version, with its position; only the last one."""
        await put(sink, Everything(id="first"))
        await built(sink, Everything(id="second"), position=2)
        kept = await sink.checkpoint(previous(EVERYTHING.name))
        assert kept is not None
        assert (kept.position, kept.owner) == (1, "")
        await built(sink, Everything(id="third"), position=3)
        assert (await sink.read(EVERYTHING, [], Query(None), table=previous(EVERYTHING.name))).found == [
            Everything(id="second")
        ]
        assert await sink.count(EVERYTHING, None, table=previous(EVERYTHING.name)) == 1
        assert [each.name for each in await sink.checkpoints()] == [EVERYTHING.name, previous(EVERYTHING.name)]

    async def test_exchanged_with_the_previous_one(self, sink: Sink) -> None:
        """Back, and forth again; nobody owns either then, and who did is fenced out."""
        assert not await sink.exchange(EVERYTHING)
        await put(sink, Everything(id="first"))
        assert not await sink.exchange(EVERYTHING)
        await built(sink, Everything(id="second"), position=2)
        mine = await owned(sink)
        assert await sink.exchange(EVERYTHING)
        assert await every_row(sink) == [Everything(id="first")]
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(1, 9, ID, mine.epoch))
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(2, 9, ID, mine.epoch))
        now = await sink.checkpoint(EVERYTHING.name)
        assert now is not None
        assert (now.position, now.owner) == (1, "")
        await put(sink, Everything(id="next"))
        assert await sink.exchange(EVERYTHING)
        assert await every_row(sink) == [Everything(id="second")]
        assert await sink.exchange(EVERYTHING)
        assert await every_row(sink) == [Everything(id="first"), Everything(id="next")]

    async def test_the_previous_one_has_its_own_definition(self, sink: Sink) -> None:
        """Whoever asks with the old class finds its rows there, and not those of the new one."""
        await put(sink, Everything(id="first"))
        other = msgspec.structs.replace(EVERYTHING, fingerprint="other")
        await built(sink, Everything(id="second"), position=2, definition=other)
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.read(EVERYTHING, [], Query(None))
        kept = await sink.read(EVERYTHING, [], Query(None), table=previous(EVERYTHING.name))
        assert kept.found == [Everything(id="first")]
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.read(other, [], Query(None), table=previous(EVERYTHING.name))
        assert await sink.exchange(other)
        assert await every_row(sink) == [Everything(id="first")]

    async def test_which_definitions_have_served(self, sink: Sink) -> None:
        """One serves; those that it replaced are retired, until one is chosen again."""
        assert await sink.definitions(EVERYTHING.name) == []
        other = msgspec.structs.replace(EVERYTHING, fingerprint="other", parts={"field id": "1"})
        await sink.choose(EVERYTHING.name, EVERYTHING.fingerprint, EVERYTHING.parts)
        await sink.choose(EVERYTHING.name, EVERYTHING.fingerprint, EVERYTHING.parts)
        await sink.choose(other.name, other.fingerprint, other.parts)
        found = {each.fingerprint: each for each in await sink.definitions(EVERYTHING.name)}
        assert found.keys() == {EVERYTHING.fingerprint, "other"}
        assert found["other"].retired_at == 0
        assert found["other"].parts == {"field id": "1"}
        assert found[EVERYTHING.fingerprint].retired_at >= found[EVERYTHING.fingerprint].seen_at > 0
        await sink.choose(EVERYTHING.name, EVERYTHING.fingerprint, EVERYTHING.parts)
        known = await sink.definitions(EVERYTHING.name)
        assert retired(known, "other")
        assert not retired(known, EVERYTHING.fingerprint)
        assert await sink.definitions("another") == []

    async def test_it_never_goes_back(self, sink: Sink) -> None:
        """Whoever has waited for a position must not read older rows afterwards."""
        await put(sink, Everything(id="old"))
        await put(sink)
        built = await sink.begin(EVERYTHING, "builder", 60)
        assert built is not None
        table = building(EVERYTHING.name)
        assert await sink.write(EVERYTHING, table, [], [], Move(0, 1, ID, built.epoch))
        assert not await sink.switch(EVERYTHING, built.epoch)
        assert await every_row(sink) == [Everything(id="old")]
        assert await sink.write(EVERYTHING, table, [], [], Move(1, 2, ID, built.epoch))
        assert await sink.switch(EVERYTHING, built.epoch)
        assert await every_row(sink) == []

    async def test_one_builder_at_a_time(self, sink: Sink) -> None:
        """The second is refused while the first one's lease holds, and takes over, with an empty table, after it."""
        await owned(sink)
        table = building(EVERYTHING.name)
        begun = await asyncio.gather(*(sink.begin(EVERYTHING, f"{number}", 60) for number in range(4)))
        first = next(each for each in begun if each is not None)
        assert sum(each is not None for each in begun) == 1
        assert await sink.write(EVERYTHING, table, [Everything(id="1")], [], Move(0, 1, ID, first.epoch))
        assert await sink.renew(table, first.epoch, 0)
        second = await sink.begin(EVERYTHING, "second", 60)
        assert second is not None
        assert second.position == 0
        assert not await sink.write(EVERYTHING, table, [Everything(id="2")], [], Move(0, 1, ID, first.epoch))
        assert not await sink.switch(EVERYTHING, first.epoch)
        assert await sink.write(EVERYTHING, table, [Everything(id="3")], [], Move(0, 1, ID, second.epoch))
        assert await sink.switch(EVERYTHING, second.epoch)
        assert await every_row(sink) == [Everything(id="3")]

    async def test_an_epoch_is_never_given_twice(self, sink: Sink) -> None:
        """A builder that stood still for long finds that the table of that name is another's."""
        await owned(sink)
        first = await sink.begin(EVERYTHING, "first", 60)
        assert first is not None
        await sink.drop(building(EVERYTHING.name))
        second = await sink.begin(EVERYTHING, "second", 60)
        assert second is not None
        assert second.epoch != first.epoch

    async def test_dropped(self, sink: Sink) -> None:
        """Table and checkpoint, as often as one likes."""
        await put(sink, Everything(id="1"))
        await sink.drop(EVERYTHING.name)
        await sink.drop(EVERYTHING.name)
        assert await sink.checkpoints() == []
        await sink.register(EVERYTHING, EVERYTHING.name)
        assert await every_row(sink) == []

    async def test_rows_of_another_definition_are_not_read(self, sink: Sink) -> None:
        """Neither by key nor by a query, nor counted."""
        await put(sink, Everything(id="1"))
        other = msgspec.structs.replace(EVERYTHING, fingerprint="other")
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.read(other, [("1",)], None)
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.count(other, None)
        with pytest.raises(ProjectionStopped, match="no table yet"):
            await sink.read(PAIR, [], Query(None))
        with pytest.raises(ProjectionStopped, match="no table yet"):
            await sink.count(PAIR, None)
