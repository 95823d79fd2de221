"""Reading the rows of a read model in pages, and saying how one differs from its fold."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import encode_json
from refold.operations.verify.manner import Pace
from refold.projections.conditions import All, Any_, Comparison, Condition, Not, Order
from refold.projections.sink import Answer, Query, Sink

__all__ = ["difference_of", "row_pages", "row_text"]


async def row_pages(sink: Sink, definition: ReadModelDefinition, pace: Pace) -> AsyncGenerator[Answer, None]:
    """All rows, in the order of their keys, each page with the position at which it was read.

    Rows that come behind the last one of the beginning are left out: a projection may add them faster than they are
    looked at.
    """
    end = await _last_key(sink, definition)
    beyond: RowKey | None = None
    order = tuple(Order(name, False) for name in definition.key)
    while end is not None:
        where: Condition = Not(_after(definition, end))
        if beyond is not None:
            where = All((_after(definition, beyond), where))
        answer = await sink.read(definition, (), Query(where, order, pace.rows))
        yield answer
        if len(answer.found) < pace.rows:
            return
        beyond = definition.key_of(answer.found[-1])
        await pace.rest()


async def _last_key(sink: Sink, definition: ReadModelDefinition) -> RowKey | None:
    order = tuple(Order(name, True) for name in definition.key)
    rows = (await sink.read(definition, (), Query(None, order, 1))).found
    return definition.key_of(rows[0]) if rows else None


def row_text(definition: ReadModelDefinition, key: RowKey) -> str:
    """A row as it is named in a finding."""
    return f"row {', '.join(f'{name}={value}' for name, value in zip(definition.key, key, strict=True))}"


def difference_of(row: ReadModel | None, folded: ReadModel | None) -> str:
    """What is wrong with a row; nothing when it is the same as its fold, once written and read."""
    if row == folded:
        return ""
    if row is None:
        return "it is missing; the fold has it"
    if folded is None:
        return "the fold does not have it"
    there, anew = (msgspec.json.decode(encode_json(each), type=type(row)) for each in (row, folded))
    fields = [name for name in row.__struct_fields__ if getattr(there, name) != getattr(anew, name)]
    return "; ".join(
        f"{name} is {_shown(getattr(there, name))}, the fold says {_shown(getattr(anew, name))}" for name in fields
    )


def _shown(value: Any) -> str:
    text = encode_json(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"


def _after(definition: ReadModelDefinition, key: RowKey) -> Condition:
    """The rows that come after a key."""
    alternatives: list[Condition] = []
    same: list[Condition] = []
    for name, value in zip(definition.key, key, strict=True):
        alternatives.append(All((*same, Comparison(name, ">", value))))
        same.append(Comparison(name, "=", value))
    return Any_(tuple(alternatives))
