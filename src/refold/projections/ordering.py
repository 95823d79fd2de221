"""Sorting rows in memory as the databases sort them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from refold.folds.read_model import ReadModel
from refold.projections.conditions import Order, comparable
from refold.projections.paths import value_at
from refold.projections.sink import Query

__all__ = ["found_among", "sorted_rows"]


def sorted_rows(rows: Iterable[ReadModel], orders: Sequence[Order]) -> list[ReadModel]:
    """The rows in that order, missing values last."""
    result = list(rows)
    for order in reversed(orders):
        there = [row for row in result if value_at(row, order.name) is not None]
        absent = [row for row in result if value_at(row, order.name) is None]
        there.sort(key=lambda row, name=order.name: comparable(value_at(row, name)), reverse=order.descending)  # type: ignore[misc]
        result = there + absent
    return result


def found_among(rows: Iterable[ReadModel], query: Query) -> list[ReadModel]:
    """What a query asks for, of rows that were read without it, or with less."""
    where = query.where
    ordered = sorted_rows(rows if where is None else [row for row in rows if where.holds(row)], query.order)
    return ordered[query.offset :] if query.limit is None else ordered[query.offset : query.offset + query.limit]
