"""Conditions and orders as query parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from refold.errors import InvalidQuery
from refold.projections.conditions import All, Comparison, Condition

__all__ = ["parameters_of"]

_SUFFIX = {
    "=": "", "<>": ".ne", "<": ".lt", "<=": ".le", ">": ".gt", ">=": ".ge", "in": ".in",
    "starts_with": ".starts_with", "contains": ".contains", "is_none": ".is_none",
}  # fmt: skip
_OWN = ("order_by", "limit", "cursor", "fresh")


def parameters_of(
    conditions: Iterable[Condition], equals: Mapping[str, Any], order_by: str | Sequence[str] = ()
) -> dict[str, Any]:
    """The parameters that say these conditions, all of which must hold.

    Raises `InvalidQuery` for what cannot be said over HTTP: one condition or another, the opposite of one, two of the
    same kind on one field.
    """
    found: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if name in found:
            raise InvalidQuery(f"over HTTP {name} can be said once; ask for a range by .ge and .lt")
        found[name] = value

    for condition in _flat(conditions):
        shown = _shown(condition.name)
        several = condition.operator == "in"
        value = [_text(each) for each in condition.value] if several else _text(condition.value)
        add(f"{shown}{_SUFFIX[condition.operator]}", value)
    for name, value in equals.items():
        shown = _shown(name)
        if value is None:
            add(f"{shown}.is_none", "true")
        else:
            add(shown, _text(value))
    orders = [order_by] if isinstance(order_by, str) else list(order_by)
    if orders:
        found["order_by"] = orders
    return found


def _shown(name: str) -> str:
    return f"where.{name}" if name in _OWN or "." in name else name


def _flat(conditions: Iterable[Condition]) -> Iterable[Comparison]:
    for condition in conditions:
        if isinstance(condition, All):
            yield from _flat(condition.parts)
        elif isinstance(condition, Comparison):
            yield condition
        else:
            raise InvalidQuery("over HTTP all conditions must hold: `|` and `~` are for a context on the store itself")


def _text(value: Any) -> str:
    plain = msgspec.to_builtins(value, enc_hook=str)
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
