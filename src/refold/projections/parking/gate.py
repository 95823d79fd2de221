"""The gate: which events of which rows wait, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable

from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.projections.parking.records import ParkedKey, ProjectionRecords, from_text

__all__ = ["Gate", "open_gate"]


class Gate:
    """What is parked of one checkpoint, and what is skipped of its read model."""

    def __init__(self, parked: Iterable[tuple[RowKey, ParkedKey]], skipped: Iterable[tuple[RowKey, int]]) -> None:
        self._parked = dict(parked)
        self._skipped = set(skipped)

    def __bool__(self) -> bool:
        """Whether there is anything to keep back."""
        return bool(self._parked or self._skipped)

    @property
    def parked(self) -> int:
        """How many keys are parked."""
        return len(self._parked)

    def passes(self, key: RowKey, position: int) -> bool:
        """Whether the event at a position goes to that row now."""
        parked = self._parked.get(key)
        return (parked is None or position < parked.position) and (key, position) not in self._skipped

    def left_out(self, key: RowKey, position: int) -> bool:
        """Whether an operator left that event out of that row."""
        return (key, position) in self._skipped

    def differing(self, other: Gate) -> set[RowKey]:
        """The rows that wait elsewhere there, or have other events left out."""
        mine = {(key, each.position) for key, each in self._parked.items()} | self._skipped
        others = {(key, each.position) for key, each in other._parked.items()} | other._skipped
        return {key for key, _ in mine ^ others}

    def park(self, key: RowKey, parked: ParkedKey) -> None:
        """Keeps a row's events back."""
        self._parked[key] = parked

    def let_go(self, key: RowKey) -> None:
        """Lets a row's events through again."""
        self._parked.pop(key, None)

    def leave_out(self, key: RowKey, position: int) -> None:
        """Keeps one event from one row, for good."""
        self._skipped.add((key, position))


async def open_gate(records: ProjectionRecords, definition: ReadModelDefinition, name: str) -> Gate:
    """The gate of a checkpoint as it is kept; that of a table is for all of its shards."""
    parked = [each for each in await records.parked() if name in (each.name, each.name.partition(":")[0])]
    skipped = await records.skipped(definition.name, definition.fingerprint)
    return Gate(
        [(from_text(definition, each.key), each) for each in parked],
        [(from_text(definition, key), position) for key, position in skipped],
    )
