"""The read models of the contract, and what its tests do to a sink again and again."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, NewType
from uuid import UUID

import msgspec

from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, ReadModelDefinition, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Checkpoint, Move
from refold.projections.conditions import Condition, checked, orders_of
from refold.projections.sink import Query, Sink, building

__all__ = [
    "EVERYTHING",
    "ID",
    "PAIR",
    "RENAMED",
    "TALLY",
    "Address",
    "Colour",
    "Everything",
    "Level",
    "OwnerName",
    "Pair",
    "Renamed",
    "Tally",
    "built",
    "every_row",
    "ids_of",
    "owned",
    "put",
]

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


async def owned(sink: Sink, definition: Any = EVERYTHING) -> Checkpoint:
    """Registers it, and claims it."""
    await sink.register(definition, definition.name)
    checkpoint = await sink.claim(definition.name, "me", 60)
    assert checkpoint is not None
    return checkpoint


async def put(sink: Sink, *rows: ReadModel, deleted: Any = (), definition: Any = EVERYTHING) -> None:
    """Writes rows as their owner."""
    mine = await owned(sink, definition)
    move = Move(mine.position, mine.position + 1, ID, mine.epoch)
    assert await sink.write(definition, definition.name, rows, deleted, move)


async def every_row(sink: Sink, definition: Any = EVERYTHING) -> list[Any]:
    """All rows, in the order of their keys."""
    return (await sink.read(definition, [], Query(None, orders_of(definition, ())))).found


async def ids_of(sink: Sink, *conditions: Condition, order: Any = (), limit: int | None = None, offset: int = 0) -> Any:
    """The ids of the rows that are found, which are also counted."""
    where = checked(EVERYTHING, conditions, {})
    rows = (await sink.read(EVERYTHING, [], Query(where, orders_of(EVERYTHING, order), limit, offset))).found
    if limit is None and not offset:
        assert await sink.count(EVERYTHING, where) == len(rows)
    return [row.id for row in rows]  # type: ignore[attr-defined]  # rows of this model


async def built(sink: Sink, *rows: ReadModel, position: int, definition: ReadModelDefinition = EVERYTHING) -> None:
    """Another version takes the place of the read one."""
    built = await sink.begin(definition, "builder", 60)
    assert built is not None
    assert await sink.write(definition, building(definition.name), rows, [], Move(0, position, ID, built.epoch))
    assert await sink.switch(definition, built.epoch)
