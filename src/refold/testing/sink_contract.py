"""The contract of sinks: what every place for read models must do. A sink's author derives one class from it and gives
it a `sink` fixture: a sink on an empty store, prepared.
"""

from __future__ import annotations

import asyncio
import enum
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NewType
from uuid import UUID

import msgspec
import pytest

from refold.errors import InvalidQuery, ProjectionStopped
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, ReadModelDefinition, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.conditions import Condition, checked, field, orders_of
from refold.projections.definitions import retired
from refold.projections.sink import Answer, LogSink, Query, Sink, building, previous

__all__ = ["LogSinkContract", "SinkContract"]

OwnerName = NewType("OwnerName", str)


class _Happened(Event, name="SinkContractHappened"):
    pass


class Colour(enum.Enum):
    """An enumeration of texts."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """An enumeration of whole numbers."""

    LOW = 1
    HIGH = 2


class Address(msgspec.Struct):
    """A struct inside a row."""

    street: str
    lines: list[str] = []


class Everything(ReadModel, key="id", name="contract_everything"):
    """A column of every kind; also names that SQL reserves."""

    id: str
    order: str = ""
    owner: OwnerName = OwnerName("")
    number: int = 0
    yes: bool = False
    ratio: float = 0.0
    amount: Decimal = Decimal(0)
    at: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    day: date = date(2000, 1, 1)
    uid: UUID = UUID(int=0)
    raw: bytes = b""
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    kind: Literal["a", "b"] = "a"
    maybe: int | None = None
    maybe_text: str | None = None
    maybe_amount: Decimal | None = None
    maybe_at: datetime | None = None
    maybe_uid: UUID | None = None
    maybe_raw: bytes | None = None
    maybe_colour: Colour | None = None
    names: list[str] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    address: Address | None = None
    either: int | str = 0
    whatever: Any = None

    @evolve
    def happened(self, event: _Happened) -> None:
        """Never called."""


class Pair(ReadModel, key=("left", "right"), name="contract_pair"):
    """A key of two fields, and nothing else."""

    left: str
    right: int

    @evolve(key=lambda event: ("a", 1))
    def happened(self, event: _Happened) -> None:
        """Never called."""


class Tally(ReadModel, key="on", name="contract_tally"):
    """A key that is not text."""

    on: date
    total: int = 0

    @evolve(key=lambda event: date(2000, 1, 1))
    def happened(self, event: _Happened) -> None:
        """Never called."""


class Renamed(ReadModel, key="row_id", name="contract_renamed", rename="camel"):
    """Fields that have other names in JSON."""

    row_id: str
    line_texts: list[str] = msgspec.field(default_factory=list)
    last_seen: date | None = None

    @evolve
    def happened(self, event: _Happened) -> None:
        """Never called."""


EVERYTHING, PAIR, TALLY = read_model_of(Everything), read_model_of(Pair), read_model_of(Tally)
RENAMED = read_model_of(Renamed)
ID = "0123456789abcdef0123456789abcdef"


async def _owned(sink: Sink, definition: Any = EVERYTHING) -> Checkpoint:
    await sink.register(definition, definition.name)
    checkpoint = await sink.claim(definition.name, "me", 60)
    assert checkpoint is not None
    return checkpoint


async def _put(sink: Sink, *rows: ReadModel, deleted: Any = (), definition: Any = EVERYTHING) -> None:
    """Writes rows as their owner."""
    mine = await _owned(sink, definition)
    move = Move(mine.position, mine.position + 1, ID, mine.epoch)
    assert await sink.write(definition, definition.name, rows, deleted, move)


async def _all(sink: Sink, definition: Any = EVERYTHING) -> list[Any]:
    return (await sink.read(definition, [], Query(None, orders_of(definition, ())))).found


async def _ids(sink: Sink, *conditions: Condition, order: Any = (), limit: int | None = None, offset: int = 0) -> Any:
    where = checked(EVERYTHING, conditions, {})
    rows = (await sink.read(EVERYTHING, [], Query(where, orders_of(EVERYTHING, order), limit, offset))).found
    if limit is None and not offset:
        assert await sink.count(EVERYTHING, where) == len(rows)
    return [row.id for row in rows]  # type: ignore[attr-defined]  # rows of this model


async def _built(sink: Sink, *rows: ReadModel, position: int, definition: ReadModelDefinition = EVERYTHING) -> None:
    """Another version takes the place of the read one."""
    built = await sink.begin(definition, "builder", 60)
    assert built is not None
    assert await sink.write(definition, building(definition.name), rows, [], Move(0, position, ID, built.epoch))
    assert await sink.switch(definition, built.epoch)


class Columns:
    """What goes in comes out."""

    @pytest.mark.parametrize(
        "row",
        [
            Everything(id="plain"),
            Everything(id="", order="group", owner=OwnerName('o\'Neil "x" \\ $1 :a ? % {} \n\t')),
            Everything(id="Zürich 東京 \U0001f600", order="null", owner=OwnerName("true"), maybe_text="null"),
            Everything(id="n", number=2**63 - 1, maybe=-(2**63), ratio=0.1 + 0.2, yes=True),
            Everything(id="f", ratio=-1.7976931348623157e308),
            Everything(id="d", amount=Decimal("12345678901234567890123456789.123456789012345678900")),
            Everything(id="d0", amount=Decimal("100.00"), maybe_amount=Decimal("-0.10")),
            Everything(id="t", at=datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC), maybe_text=""),
            Everything(id="t+", at=datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))),
            Everything(id="t0", maybe_at=datetime(1900, 1, 1, tzinfo=UTC), day=date(9999, 12, 31)),
            Everything(id="u", uid=UUID(int=2**128 - 1), maybe_uid=UUID(int=7)),
            Everything(id="b", raw=bytes(range(256)) * 3, maybe_raw=b""),
            Everything(id="e", colour=Colour.BLUE, level=Level.HIGH, kind="b", maybe_colour=Colour.RED, maybe=0),
            Everything(id="l", names=["a", "ü'\""], counts={"x": 1, "": 2**53}, address=Address("S 1", ["x", "y"])),
            Everything(id="x", either="7", whatever={"a": [1, None, "b", 1.5]}),
            Everything(id="y", either=7, whatever="null"),
        ],
        ids=lambda row: row.id or "empty",
    )
    async def test_a_row_comes_back_as_it_was(self, sink: Sink, row: Everything) -> None:
        """Every type, in each way of reading."""
        await _put(sink, row)
        loaded = await sink.load(EVERYTHING, EVERYTHING.name, [(row.id,), ("absent",)])
        answer = await sink.read(EVERYTHING, [(row.id,)], Query(None))
        assert loaded.rows == answer.rows == {(row.id,): row}
        assert answer.found == [row]
        found = answer.found[0]
        assert isinstance(found, Everything)
        # Equal is not enough for decimals: the zeros at their end are part of what was said.
        assert (str(found.amount), str(found.maybe_amount)) == (str(row.amount), str(row.maybe_amount))
        assert found.at.utcoffset() is not None

    @pytest.mark.parametrize("at", ["at", "maybe_at"])
    async def test_a_moment_without_a_zone_is_refused(self, sink: Sink, at: str) -> None:
        """It names no moment."""
        await _put(sink)
        with pytest.raises(InvalidQuery, match=f"Everything.{at} is .* which has no time zone"):
            await _put(sink, msgspec.structs.replace(Everything(id="1"), **{at: datetime(2026, 1, 1)}))  # noqa: DTZ001  # what is refused
        assert await _all(sink) == []

    @pytest.mark.parametrize("ratio", [float("nan"), float("inf"), float("-inf")])
    async def test_what_is_no_number_is_refused(self, sink: Sink, ratio: float) -> None:
        """JSON has no such numbers; they would come back as nothing."""
        await _put(sink)
        with pytest.raises(InvalidQuery, match=r"Everything\.ratio is .* not a finite number"):
            await _put(sink, Everything(id="1", ratio=ratio))
        assert await _all(sink) == []

    @pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("Infinity")])
    async def test_a_decimal_that_is_no_number_is_refused(self, sink: Sink, amount: Decimal) -> None:
        """It cannot be compared, so it would break whatever sorts by it."""
        await _put(sink)
        with pytest.raises(InvalidQuery, match=r"Everything\.amount is .* not a finite number"):
            await _put(sink, Everything(id="1", amount=amount))
        assert await _all(sink) == []

    async def test_rows_given_and_taken_are_copies(self, sink: Sink) -> None:
        """Nobody changes a row behind the sink's back."""
        row = Everything(id="1", names=["a"])
        await _put(sink, row)
        row.names.append("b")
        (await sink.load(EVERYTHING, EVERYTHING.name, [("1",)])).rows[("1",)].names.append("c")  # type: ignore[attr-defined]
        (await _all(sink))[0].names.append("d")
        assert await _all(sink) == [Everything(id="1", names=["a"])]


class Writing:
    """Rows and checkpoint together, or neither."""

    async def test_rows_are_added_changed_and_deleted(self, sink: Sink) -> None:
        """In one write."""
        await _put(sink, Everything(id="1", number=1), Everything(id="2", number=2))
        await _put(sink, Everything(id="2", number=3), Everything(id="3"), deleted=[("1",), ("never",)])
        assert await _all(sink) == [Everything(id="2", number=3), Everything(id="3")]

    async def test_the_checkpoint_moves_without_rows(self, sink: Sink) -> None:
        """Nothing matched, yet all was seen."""
        mine = await _owned(sink)
        assert await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(0, 500_000, ID, mine.epoch))
        checkpoint = await sink.checkpoint(EVERYTHING.name)
        assert checkpoint is not None
        assert (checkpoint.position, checkpoint.append_id) == (500_000, ID)

    @pytest.mark.parametrize(("before", "epoch"), [(1, 0), (0, 1), (0, -1)])
    async def test_nothing_is_written_when_the_move_does_not_hold(self, sink: Sink, before: int, epoch: int) -> None:
        """Another position, or another owner."""
        await _put(sink, Everything(id="1"))
        mine = await _owned(sink)
        move = Move(mine.position + before, mine.position + 9, ID, mine.epoch + epoch)
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [Everything(id="2")], [("1",)], move)
        assert await _all(sink) == [Everything(id="1")]
        assert await sink.checkpoint(EVERYTHING.name) == mine

    async def test_nothing_is_written_when_a_row_cannot_be(self, sink: Sink) -> None:
        """The good row of the same write is not there either, and the checkpoint stands."""
        mine = await _owned(sink)
        rows = [Everything(id="1"), Everything(id="2", at=datetime(2026, 1, 1))]  # noqa: DTZ001  # what is refused
        with pytest.raises(InvalidQuery):
            await sink.write(EVERYTHING, EVERYTHING.name, rows, [], Move(0, 2, ID, mine.epoch))
        assert await _all(sink) == []
        assert await sink.checkpoint(EVERYTHING.name) == mine

    async def test_a_key_of_several_fields(self, sink: Sink) -> None:
        """Loaded, changed and deleted by the whole key."""
        await _put(sink, Pair(left="a", right=1), Pair(left="a", right=2), Pair(left="b", right=1), definition=PAIR)
        loaded = await sink.load(PAIR, PAIR.name, [("a", 2), ("b", 2)])
        assert loaded.rows == {("a", 2): Pair(left="a", right=2)}
        await _put(sink, Pair(left="b", right=1), deleted=[("a", 1)], definition=PAIR)
        assert await _all(sink, PAIR) == [Pair(left="a", right=2), Pair(left="b", right=1)]

    async def test_a_key_that_is_a_date(self, sink: Sink) -> None:
        """A key goes through the same types as other columns."""
        days = [date(2026, 1, day) for day in (2, 1, 10)]
        await _put(sink, *(Tally(on=day, total=day.day) for day in days), definition=TALLY)
        await _put(sink, deleted=[(days[0],)], definition=TALLY)
        assert await _all(sink, TALLY) == [Tally(on=days[1], total=1), Tally(on=days[2], total=10)]

    async def test_fields_that_have_other_names_in_json(self, sink: Sink) -> None:
        """Written, loaded, asked for and deleted by their own names."""
        rows = [Renamed(row_id="a", line_texts=["x"]), Renamed(row_id="b", last_seen=date(2026, 1, 2))]
        await _put(sink, *rows, definition=RENAMED)
        assert (await sink.load(RENAMED, RENAMED.name, [("a",)])).rows == {("a",): rows[0]}
        where = checked(RENAMED, [field("last_seen") == date(2026, 1, 2)], {})
        assert (await sink.read(RENAMED, [], Query(where, orders_of(RENAMED, "row_id")))).found == rows[1:]
        await _put(sink, deleted=[("a",)], definition=RENAMED)
        assert await _all(sink, RENAMED) == rows[1:]

    async def test_many_rows_at_once(self, sink: Sink) -> None:
        """More than a database takes parameters."""
        rows = [Everything(id=f"{number:05}", number=number) for number in range(5_000)]
        await _put(sink, *rows)
        assert len((await sink.load(EVERYTHING, EVERYTHING.name, [(row.id,) for row in rows])).rows) == 5_000
        await _put(sink, deleted=[(row.id,) for row in rows[1:]])
        assert await _all(sink) == rows[:1]

    async def test_what_is_read_is_of_one_moment(self, sink: Sink) -> None:
        """The position says exactly which events the rows have seen, whoever writes meanwhile; a store without
        transactions may show a row of the next page, if it says of it what it has seen.
        """
        mine = await _owned(sink)
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


class Leases:
    """One owner at a time, fenced by its epoch."""

    async def test_registered_once(self, sink: Sink) -> None:
        """A second time changes nothing."""
        await _put(sink, Everything(id="1"))
        before = await sink.checkpoint(EVERYTHING.name)
        await sink.register(EVERYTHING, EVERYTHING.name)
        assert await sink.checkpoint(EVERYTHING.name) == before
        assert await _all(sink) == [Everything(id="1")]

    async def test_registered_by_many_at_once(self, sink: Sink) -> None:
        """Each comes back without an error, and there is one of it."""
        await asyncio.gather(*(sink.register(each, each.name) for each in [EVERYTHING, PAIR] * 4))
        assert [each.name for each in await sink.checkpoints()] == [EVERYTHING.name, PAIR.name]
        assert (await sink.checkpoints())[0].fingerprint == EVERYTHING.fingerprint

    async def test_one_owner_at_a_time(self, sink: Sink) -> None:
        """Until it is released."""
        mine = await _owned(sink)
        assert (mine.owner, mine.status, mine.position) == ("me", RUNNING, 0)
        assert await sink.claim(EVERYTHING.name, "other", 60) is None
        await sink.release(EVERYTHING.name, mine.epoch)
        other = await sink.claim(EVERYTHING.name, "other", 60)
        assert other is not None
        assert other.epoch > mine.epoch
        assert await sink.claim(EVERYTHING.name, "me", 60) is None

    async def test_many_claim_at_once(self, sink: Sink) -> None:
        """One of them gets it."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        claims = await asyncio.gather(*(sink.claim(EVERYTHING.name, f"{number}", 60) for number in range(8)))
        assert sum(claim is not None for claim in claims) == 1

    async def test_an_expired_lease_is_taken_over(self, sink: Sink) -> None:
        """And the old owner can do nothing more."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        old = await sink.claim(EVERYTHING.name, "old", 0)
        assert old is not None
        new = await sink.claim(EVERYTHING.name, "new", 60)
        assert new is not None
        assert not await sink.renew(EVERYTHING.name, old.epoch, 60)
        await sink.mark(EVERYTHING.name, old.epoch, "stopped", "by the old one")
        await sink.release(EVERYTHING.name, old.epoch)
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [Everything(id="1")], [], Move(0, 1, ID, old.epoch))
        assert await sink.checkpoint(EVERYTHING.name) == new
        assert await sink.renew(EVERYTHING.name, new.epoch, 60)

    async def test_a_renewed_lease_holds(self, sink: Sink) -> None:
        """Renewing makes an expired one hold again, unless another was faster."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        mine = await sink.claim(EVERYTHING.name, "me", 0)
        assert mine is not None
        assert await sink.renew(EVERYTHING.name, mine.epoch, 60)
        assert await sink.claim(EVERYTHING.name, "other", 60) is None

    async def test_taken_by_force(self, sink: Sink) -> None:
        """For operators, and for tests."""
        mine = await _owned(sink)
        taken = await sink.claim(EVERYTHING.name, "other", 60, force=True)
        assert taken is not None
        assert not await sink.renew(EVERYTHING.name, mine.epoch, 60)

    async def test_what_became_of_it_is_kept(self, sink: Sink) -> None:
        """Until it moves again, or another tries."""
        mine = await _owned(sink)
        await sink.mark(EVERYTHING.name, mine.epoch, "stopped", "why: ' \" ü")
        marked = await sink.checkpoint(EVERYTHING.name)
        assert marked is not None
        assert (marked.status, marked.error) == ("stopped", "why: ' \" ü")
        assert await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(0, 1, ID, mine.epoch))
        moved = await sink.checkpoint(EVERYTHING.name)
        assert moved is not None
        assert (moved.status, moved.error) == (RUNNING, "")
        assert moved.updated_at > mine.updated_at
        await sink.mark(EVERYTHING.name, mine.epoch, "stopped", "why")
        taken = await sink.claim(EVERYTHING.name, "me", 60)
        assert taken is not None
        assert (taken.status, taken.error) == (RUNNING, "")

    async def test_a_new_epoch_is_above_a_given_one(self, sink: Sink) -> None:
        """Where a store elsewhere remembers a higher one than the log's database does."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        mine = await sink.claim(EVERYTHING.name, "me", 60, above=7_000)
        assert mine is not None
        assert mine.epoch == 7_001

    async def test_nobody_claims_what_is_not_there(self, sink: Sink) -> None:
        """It is registered first."""
        assert await sink.claim("nothing", "me", 60) is None
        assert await sink.checkpoint("nothing") is None
        assert not await sink.renew("nothing", 1, 60)


class Switching:
    """The next version is built beside the one that is read."""

    async def test_the_built_one_takes_the_place(self, sink: Sink) -> None:
        """Rows, position and fingerprint in one step; nobody owns it then."""
        await _put(sink, Everything(id="old"))
        old = await sink.checkpoint(EVERYTHING.name)
        built = await sink.begin(EVERYTHING, "builder", 60)
        assert old is not None
        assert built is not None
        table = building(EVERYTHING.name)
        assert await sink.write(EVERYTHING, table, [Everything(id="new")], [], Move(0, 7, ID, built.epoch))
        assert await _all(sink) == [Everything(id="old")]
        assert await sink.switch(EVERYTHING, built.epoch)
        assert await _all(sink) == [Everything(id="new")]
        now = await sink.checkpoint(EVERYTHING.name)
        assert now is not None
        assert (now.position, now.append_id, now.owner) == (7, ID, "")
        assert await sink.checkpoint(table) is None
        # Who owned the old rows is fenced out.
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(7, 8, ID, old.epoch))

    async def test_again_and_again(self, sink: Sink) -> None:
        """The names of what was built do not get in the way of what is built next."""
        await _owned(sink)
        for number in range(3):
            built = await sink.begin(EVERYTHING, "builder", 60)
            assert built is not None
            rows = [Everything(id="1", number=number)]
            table = building(EVERYTHING.name)
            assert await sink.write(EVERYTHING, table, rows, [], Move(0, number + 1, ID, built.epoch))
            assert await sink.switch(EVERYTHING, built.epoch)
            assert await _all(sink) == rows

    async def test_what_was_read_is_kept_for_the_way_back(self, sink: Sink) -> None:
        """As the previous version, with its position; only the last one."""
        await _put(sink, Everything(id="first"))
        await _built(sink, Everything(id="second"), position=2)
        kept = await sink.checkpoint(previous(EVERYTHING.name))
        assert kept is not None
        assert (kept.position, kept.owner) == (1, "")
        await _built(sink, Everything(id="third"), position=3)
        assert (await sink.read(EVERYTHING, [], Query(None), table=previous(EVERYTHING.name))).found == [
            Everything(id="second")
        ]
        assert await sink.count(EVERYTHING, None, table=previous(EVERYTHING.name)) == 1
        assert [each.name for each in await sink.checkpoints()] == [EVERYTHING.name, previous(EVERYTHING.name)]

    async def test_exchanged_with_the_previous_one(self, sink: Sink) -> None:
        """Back, and forth again; nobody owns either then, and who did is fenced out."""
        assert not await sink.exchange(EVERYTHING)
        await _put(sink, Everything(id="first"))
        assert not await sink.exchange(EVERYTHING)
        await _built(sink, Everything(id="second"), position=2)
        mine = await _owned(sink)
        assert await sink.exchange(EVERYTHING)
        assert await _all(sink) == [Everything(id="first")]
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(1, 9, ID, mine.epoch))
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(2, 9, ID, mine.epoch))
        now = await sink.checkpoint(EVERYTHING.name)
        assert now is not None
        assert (now.position, now.owner) == (1, "")
        await _put(sink, Everything(id="next"))
        assert await sink.exchange(EVERYTHING)
        assert await _all(sink) == [Everything(id="second")]
        assert await sink.exchange(EVERYTHING)
        assert await _all(sink) == [Everything(id="first"), Everything(id="next")]

    async def test_the_previous_one_has_its_own_definition(self, sink: Sink) -> None:
        """Whoever asks with the old class finds its rows there, and not those of the new one."""
        await _put(sink, Everything(id="first"))
        other = msgspec.structs.replace(EVERYTHING, fingerprint="other")
        await _built(sink, Everything(id="second"), position=2, definition=other)
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.read(EVERYTHING, [], Query(None))
        kept = await sink.read(EVERYTHING, [], Query(None), table=previous(EVERYTHING.name))
        assert kept.found == [Everything(id="first")]
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.read(other, [], Query(None), table=previous(EVERYTHING.name))
        assert await sink.exchange(other)
        assert await _all(sink) == [Everything(id="first")]

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
        await _put(sink, Everything(id="old"))
        await _put(sink)
        built = await sink.begin(EVERYTHING, "builder", 60)
        assert built is not None
        table = building(EVERYTHING.name)
        assert await sink.write(EVERYTHING, table, [], [], Move(0, 1, ID, built.epoch))
        assert not await sink.switch(EVERYTHING, built.epoch)
        assert await _all(sink) == [Everything(id="old")]
        assert await sink.write(EVERYTHING, table, [], [], Move(1, 2, ID, built.epoch))
        assert await sink.switch(EVERYTHING, built.epoch)
        assert await _all(sink) == []

    async def test_one_builder_at_a_time(self, sink: Sink) -> None:
        """The second is refused while the first one's lease holds, and takes over, with an empty table, after it."""
        await _owned(sink)
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
        assert await _all(sink) == [Everything(id="3")]

    async def test_an_epoch_is_never_given_twice(self, sink: Sink) -> None:
        """A builder that stood still for long finds that the table of that name is another's."""
        await _owned(sink)
        first = await sink.begin(EVERYTHING, "first", 60)
        assert first is not None
        await sink.drop(building(EVERYTHING.name))
        second = await sink.begin(EVERYTHING, "second", 60)
        assert second is not None
        assert second.epoch != first.epoch

    async def test_dropped(self, sink: Sink) -> None:
        """Table and checkpoint, as often as one likes."""
        await _put(sink, Everything(id="1"))
        await sink.drop(EVERYTHING.name)
        await sink.drop(EVERYTHING.name)
        assert await sink.checkpoints() == []
        await sink.register(EVERYTHING, EVERYTHING.name)
        assert await _all(sink) == []

    async def test_rows_of_another_definition_are_not_read(self, sink: Sink) -> None:
        """Neither by key nor by a query, nor counted."""
        await _put(sink, Everything(id="1"))
        other = msgspec.structs.replace(EVERYTHING, fingerprint="other")
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.read(other, [("1",)], None)
        with pytest.raises(ProjectionStopped, match="another definition"):
            await sink.count(other, None)
        with pytest.raises(ProjectionStopped, match="no table yet"):
            await sink.read(PAIR, [], Query(None))
        with pytest.raises(ProjectionStopped, match="no table yet"):
            await sink.count(PAIR, None)


def _day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


ROWS = [
    Everything(id="1", order="Anna", number=10, amount=Decimal("9.50"), at=_day(1), maybe=1, maybe_text="x"),
    Everything(id="2", order="anna", number=-5, amount=Decimal("10.5"), at=_day(2), colour=Colour.BLUE, yes=True),
    Everything(id="3", order="Änne", number=10, amount=Decimal("-100"), at=_day(3), maybe=3, ratio=0.5, raw=b"\x01"),
    Everything(id="4", order="%_\\'", number=2**40, amount=Decimal("9.5"), day=date(2026, 2, 1), maybe_text="%"),
    Everything(id="5", number=0, amount=Decimal("1E+3"), uid=UUID(int=5), level=Level.HIGH, maybe=-1, raw=b"\xff"),
]


class Querying:
    """Conditions, order and pages mean the same everywhere."""

    @pytest.mark.parametrize(
        ("condition", "wanted"),
        [
            (field("number") == 10, "13"),
            (field("number") != 10, "245"),
            (field("number") < 0, "2"),
            (field("number") <= 0, "25"),
            (field("number") > 10, "4"),
            (field("number") >= 10, "134"),
            (field("number").in_([10, 0, 77]), "135"),
            (field("number").in_([]), ""),
            (field("amount") == Decimal("9.5"), "14"),
            (field("amount") == "9.500", "14"),
            (field("amount") > Decimal("9.5"), "25"),
            (field("amount") < Decimal(0), "3"),
            (field("amount").in_([Decimal(1000), Decimal("10.50")]), "25"),
            (field("order").in_(["%_\\'", '"', "{1,2}", "NULL", "a,b", "\\", ""]), "45"),
            (field("ratio").in_([0.5, 0.25]), "3"),
            (field("yes").in_([True]), "2"),
            (field("at").in_([_day(1), _day(3)]), "13"),
            (field("day").in_([date(2026, 2, 1)]), "4"),
            (field("uid").in_([UUID(int=5), UUID(int=6)]), "5"),
            (field("raw").in_([b"\x01", b"\xff"]), "35"),
            (field("colour").in_([Colour.BLUE]), "2"),
            (field("order") == "anna", "2"),
            (field("order") > "a", "23"),
            (field("order").starts_with("A"), "1"),
            (field("order").starts_with(""), "12345"),
            (field("order").starts_with("%"), "4"),
            (field("order").contains("nn"), "123"),
            (field("order").contains("_"), "4"),
            (field("order").contains("'"), "4"),
            (field("yes") == True, "2"),  # noqa: E712  # a condition
            (field("ratio") > 0.25, "3"),
            (field("at") >= _day(2), "23"),
            (field("at") == datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=3))), "2"),
            (field("day") > date(2026, 1, 1), "4"),
            (field("uid") == UUID(int=5), "5"),
            (field("raw") == b"\xff", "5"),
            (field("colour") == Colour.BLUE, "2"),
            (field("colour") == "blue", "2"),
            (field("level") > Level.LOW, "5"),
            (field("kind") == "a", "12345"),
            (field("maybe") == None, "24"),  # noqa: E711  # a condition
            (field("maybe") != None, "135"),  # noqa: E711  # a condition
            (field("maybe").is_none(), "24"),
            (field("maybe") > 0, "13"),
            (field("maybe") != 1, "35"),
            (~(field("maybe") == 1), "2345"),
            (~(field("maybe").in_([1, 3])), "245"),
            (field("maybe_text") == "%", "4"),
            ((field("number") == 10) & (field("maybe") == 3), "3"),
            ((field("number") == -5) | (field("maybe") == 3) | (field("id") == "5"), "235"),
            (~((field("number") == 10) | (field("maybe").is_none())), "5"),
            (field("names") == [], "12345"),
        ],
    )
    async def test_conditions(self, sink: Sink, condition: Condition, wanted: str) -> None:
        """Each operator on each kind of column."""
        await _put(sink, *ROWS)
        assert "".join(await _ids(sink, condition)) == wanted
        definitely = checked(EVERYTHING, [condition], {})
        assert definitely is not None
        assert "".join(row.id for row in ROWS if definitely.holds(row)) == wanted

    @pytest.mark.parametrize(
        ("order", "wanted"),
        [
            ((), "12345"),
            ("-id", "54321"),
            ("number", "25134"),
            (("-number", "-id"), "43152"),
            ("amount", "31425"),
            (("-amount", "-id"), "52413"),
            ("maybe", "51324"),
            ("-maybe", "31524"),
            ("order", "54123"),
            ("at", "45123"),
            ("colour", "21345"),
            ("-level", "51234"),
            (("yes", "-ratio"), "31452"),
            ("uid", "12345"),
            ("-day", "41235"),
        ],
    )
    async def test_order(self, sink: Sink, order: Any, wanted: str) -> None:
        """Decimals as numbers, text by code points, missing values last, ties by the key."""
        await _put(sink, *ROWS)
        assert "".join(await _ids(sink, order=order)) == wanted

    async def test_pages(self, sink: Sink) -> None:
        """A limit, an offset, both."""
        await _put(sink, *ROWS)
        assert await _ids(sink, order="-id", limit=2) == ["5", "4"]
        assert await _ids(sink, order="-id", limit=2, offset=1) == ["4", "3"]
        assert await _ids(sink, offset=3) == ["4", "5"]
        assert await _ids(sink, limit=0) == []
        assert await _ids(sink, offset=9, limit=1) == []

    async def test_one_of_many_values(self, sink: Sink) -> None:
        """Ten thousand are asked for in a moment."""
        await _put(sink, *ROWS)
        began = time.monotonic()
        assert await _ids(sink, field("id").in_([str(number) for number in range(3, 10_000)])) == ["3", "4", "5"]
        assert time.monotonic() - began < 5

    async def test_keys_and_query_in_one(self, sink: Sink) -> None:
        """Both are answered from one snapshot."""
        await _put(sink, *ROWS)
        where = checked(EVERYTHING, [field("id") > "3"], {})
        answer = await sink.read(EVERYTHING, [("1",), ("x",)], Query(where, orders_of(EVERYTHING, "-id"), 1))
        assert answer == Answer(1, {("1",): ROWS[0]}, [ROWS[4]])


class SinkContract(Columns, Writing, Leases, Switching, Querying):
    """All of the contract."""


class LogSinkContract(SinkContract):
    """What a sink in the log's own database must do too. Its `sink` fixture is a `LogSink`."""

    async def test_a_checkpoint_for_rows_elsewhere(self, sink: LogSink) -> None:
        """It is enrolled, owned, noted by its owner only, and withdrawn."""
        await sink.enroll("elsewhere", "first")
        await sink.enroll("elsewhere", "first")
        mine = await sink.claim("elsewhere", "me", 60)
        assert mine is not None
        await sink.note("elsewhere", mine.epoch, 7, ID)
        await sink.note("elsewhere", mine.epoch - 1, 3, ID)
        await sink.enroll("elsewhere", "second")
        await sink.release("elsewhere", mine.epoch)
        await sink.withdraw("elsewhere")
        await sink.withdraw("elsewhere")
        assert await sink.claim("elsewhere", "me", 60) is None

    async def test_a_previous_one_that_nobody_chose_is_retired(self, sink: Sink) -> None:
        """It was written before definitions were kept."""
        await _put(sink, Everything(id="first"))
        other = msgspec.structs.replace(EVERYTHING, fingerprint="other")
        await _built(sink, Everything(id="second"), position=2, definition=other)
        await sink.choose(other.name, other.fingerprint, other.parts)
        assert retired(await sink.definitions(EVERYTHING.name), EVERYTHING.fingerprint)
