"""Keyset paging: where a page ended, and the condition for what comes behind it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from refold.folds.read_model import ReadModel, ReadModelDefinition
from refold.projections.columns import column_kinds
from refold.projections.conditions import All, Any_, Comparison, Condition, Order, comparable
from refold.projections.paths import value_at
from refold.server.problems import Problem

__all__ = ["behind", "cursor_of"]


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    order: list[str]
    values: list[Any]


_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")
_decoder = msgspec.json.Decoder(_Cursor)


def cursor_of(row: ReadModel, orders: Sequence[Order]) -> str:
    """A token for the place behind a row in that order."""
    cursor = _Cursor([_named(order) for order in orders], [comparable(value_at(row, each.name)) for each in orders])
    return base64.urlsafe_b64encode(_encoder.encode(cursor)).decode().rstrip("=")


def behind(definition: ReadModelDefinition, token: str, orders: Sequence[Order]) -> Condition:
    """The condition that holds for the rows behind that place: later in the first field, or the same there and later in
    the next, and so on. Missing values are last, as they are sorted.

    Raises `Problem` for a token that is none, or of another order.
    """
    problem = Problem("invalid", "the cursor is none that this list gave, or of another order", field="cursor")
    try:
        cursor = _decoder.decode(base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)))
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise problem from error
    if cursor.order != [_named(order) for order in orders] or len(cursor.values) != len(orders):
        raise problem
    optional = {name for name, (_, missing) in column_kinds(definition).items() if missing}
    optional |= {order.name for order in orders if "." in order.name}
    if any(value is None and order.name not in optional for value, order in zip(cursor.values, orders, strict=True)):
        raise problem
    choices: list[Condition] = []
    same: list[Condition] = []
    for order, value in zip(orders, cursor.values, strict=True):
        if value is not None:
            later: Condition = Comparison(order.name, "<" if order.descending else ">", value)
            if order.name in optional:
                later = Any_((later, Comparison(order.name, "is_none", True)))
            choices.append(All((*same, later)))
            same.append(Comparison(order.name, "=", value))
        else:
            same.append(Comparison(order.name, "is_none", True))
    if not choices:
        raise problem
    first, value = orders[0], cursor.values[0]
    if first.name in optional:
        return Any_(tuple(choices))
    # Says nothing new, but says it so that a database may begin in an index where the page ended.
    return All((Comparison(first.name, "<=" if first.descending else ">=", value), Any_(tuple(choices))))


def _named(order: Order) -> str:
    return f"-{order.name}" if order.descending else order.name
