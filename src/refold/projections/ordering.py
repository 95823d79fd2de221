"""Sorting rows in memory as the databases sort them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from refold.folds.read_model import ReadModel
from refold.projections.conditions import Order, comparable
from refold.projections.paths import value_at

__all__ = ["sorted_rows"]


def sorted_rows(rows: Iterable[ReadModel], orders: Sequence[Order]) -> list[ReadModel]:
    """The rows in that order, missing values last."""
    result = list(rows)
    for order in reversed(orders):
        there = [row for row in result if value_at(row, order.name) is not None]
        absent = [row for row in result if value_at(row, order.name) is None]
        there.sort(key=lambda row, name=order.name: comparable(value_at(row, name)), reverse=order.descending)  # type: ignore[misc]
        result = there + absent
    return result
