"""All rows of a read model, page by page, in the order of their keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.projections.conditions import All, Any_, Comparison, Condition, Not, Order
from refold.projections.sink import Answer, Query, Sink

__all__ = ["Pacing", "row_pages"]


class Pacing(Protocol):
    """How many rows are looked at in one go, and what is done between two."""

    @property
    def rows(self) -> int:
        """Rows of a page."""
        ...

    async def rest(self) -> None:
        """Between two pages."""
        ...


async def row_pages(
    sink: Sink, definition: ReadModelDefinition, pace: Pacing, *, table: str = ""
) -> AsyncGenerator[Answer, None]:
    """All rows, in the order of their keys, each page with the position at which it was read.

    Rows that come behind the last one of the beginning are left out: a projection may add them faster than they are
    looked at.
    """
    end = await _last_key(sink, definition, table)
    beyond: RowKey | None = None
    order = tuple(Order(name, False) for name in definition.key)
    while end is not None:
        where: Condition = Not(_after(definition, end))
        if beyond is not None:
            where = All((_after(definition, beyond), where))
        answer = await sink.read(definition, (), Query(where, order, pace.rows), table=table)
        yield answer
        if len(answer.found) < pace.rows:
            return
        beyond = definition.key_of(answer.found[-1])
        await pace.rest()


async def _last_key(sink: Sink, definition: ReadModelDefinition, table: str) -> RowKey | None:
    order = tuple(Order(name, True) for name in definition.key)
    rows = (await sink.read(definition, (), Query(None, order, 1), table=table)).found
    return definition.key_of(rows[0]) if rows else None


def _after(definition: ReadModelDefinition, key: RowKey) -> Condition:
    """The rows that come after a key."""
    alternatives: list[Condition] = []
    same: list[Condition] = []
    for name, value in zip(definition.key, key, strict=True):
        alternatives.append(All((*same, Comparison(name, ">", value))))
        same.append(Comparison(name, "=", value))
    return Any_(tuple(alternatives))
