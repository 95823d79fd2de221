"""Conditions and order in Cypher: what the server can decide exactly, and what it can only narrow down."""

from __future__ import annotations

from typing import Any

import msgspec

from refold.projections.columns import Kind
from refold.projections.conditions import All, Any_, Comparison, Condition, Not, Order, comparable
from refold.projections.sinks.neo4j_rows import Shape, quoted, written

__all__ = ["Narrowed", "narrow", "sort_key", "sorts_alike"]

_TRUE = "true"
_FIRST_SURROGATE = "\ud800"
_SIGNS = {"starts_with": "STARTS WITH", "contains": "CONTAINS", "in": "IN"}


class Narrowed(msgspec.Struct, frozen=True):
    """A predicate on `n` that holds for every row that is wanted; for no other when it is `exact`."""

    text: str
    parameters: dict[str, Any]
    exact: bool


def narrow(shape: Shape, condition: Condition | None) -> Narrowed:
    """What the server is asked for a condition."""
    parameters: dict[str, Any] = {}
    text, exact = (_TRUE, True) if condition is None else _told(shape, condition, parameters)
    return Narrowed(text, parameters, exact)


def sort_key(shape: Shape, order: Order) -> str | None:
    """What rows are sorted by on the server: never in another order than the values, but it may take values for equal
    that are not. None where there is no such thing.
    """
    if "." in order.name:
        return None  # it is inside of a field, which is JSON here
    value = f"n.{quoted(shape.names[order.name])}"
    match shape.kinds[order.name][0]:
        case Kind.INTEGER | Kind.DECIMAL:
            return _as_float(value)
        case Kind.TEXT | Kind.FLOAT | Kind.BOOLEAN | Kind.DATE | Kind.MOMENT | Kind.UUID:
            return value
        case _:
            return None


def sorts_alike(value: Any) -> bool:
    """Whether whatever is compared with it compares as in Python: Neo4j sorts text by its UTF-16 units, in which the
    characters beyond U+FFFF come before some others.
    """
    return not isinstance(value, str) or all(character < _FIRST_SURROGATE for character in value)


def _as_float(value: str) -> str:
    """The number of a property that may be text. The sum is for minus zero, which Neo4j takes for less than zero."""
    return f"(toFloat({value}) + 0.0)"


def _told(shape: Shape, condition: Condition, parameters: dict[str, Any]) -> tuple[str, bool]:
    if isinstance(condition, All | Any_):
        parts = [_told(shape, part, parameters) for part in condition.parts]
        word = " AND " if isinstance(condition, All) else " OR "
        return f"({word.join(text for text, _ in parts)})", all(exact for _, exact in parts)
    if isinstance(condition, Not):
        text, exact = _told(shape, condition.part, parameters)
        # A comparison with a missing value is not true, so its contrary is.
        return (f"NOT coalesce({text}, false)", True) if exact else (_TRUE, False)
    assert isinstance(condition, Comparison)
    return _compared(shape, condition, parameters)


def _compared(shape: Shape, condition: Comparison, parameters: dict[str, Any]) -> tuple[str, bool]:
    if "." in condition.name:
        return _TRUE, False  # it is inside of a field, which is JSON here
    value = f"n.{quoted(shape.names[condition.name])}"
    kind, operator = shape.kinds[condition.name][0], condition.operator
    if operator == "is_none":
        return f"{value} IS {'' if condition.value else 'NOT '}NULL", True
    ordered = operator in ("<", "<=", ">", ">=")
    if (
        kind in (Kind.JSON, Kind.BYTES)
        or (kind is Kind.DECIMAL and operator == "<>")
        or (ordered and not sorts_alike(comparable(condition.value)))
    ):
        return f"{value} IS NOT NULL", False
    name = f"p{len(parameters)}"
    several = operator == "in"
    if kind is Kind.DECIMAL:
        # As floats two decimals are never in another order, but they may be equal.
        values = condition.value if several else [condition.value]
        given = [float(each) + 0.0 for each in values]
        parameters[name] = given if several else given[0]
        wider = {"<": "<=", ">": ">="}.get(operator, operator)
        return f"{_as_float(value)} {_SIGNS.get(wider, wider)} ${name}", False
    parameters[name] = [written(kind, each) for each in condition.value] if several else written(kind, condition.value)
    text = f"{value} {_SIGNS.get(operator, operator)} ${name}"
    if kind is Kind.INTEGER and ordered:
        # Numbers of more than 64 bits are text; no other number is beyond them.
        negative = "" if operator in ("<", "<=") else "NOT "
        text = f"({text} OR ({value} IS :: STRING AND {negative}{value} STARTS WITH '-'))"
    return text, True
