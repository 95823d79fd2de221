"""Conditions on the rows of a read model: `field("balance") >= 100`. They are checked against its fields before any
SQL.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn

import msgspec

from refold.errors import InvalidQuery
from refold.folds.read_model import ReadModel, ReadModelDefinition
from refold.projections.columns import Kind, refuse_value
from refold.projections.paths import path_of, value_at

__all__ = [
    "All",
    "Any_",
    "Comparison",
    "Condition",
    "Field",
    "Not",
    "Order",
    "checked",
    "comparable",
    "field",
    "names_in",
    "orders_of",
]

Operator = Literal["=", "<>", "<", "<=", ">", ">=", "in", "starts_with", "contains", "is_none"]

_VALUES = 30_000
"""The databases take about 32,000 (SQLite) and 65,000 (Postgres) parameters."""


class Condition(msgspec.Struct, frozen=True, eq=False):
    """Something that a row fulfils or not. Combine with `&`, `|` and `~`."""

    def __and__(self, other: Condition) -> Condition:
        return All((self, other))

    def __or__(self, other: Condition) -> Condition:
        return Any_((self, other))

    def __invert__(self) -> Condition:
        return Not(self)

    def __bool__(self) -> NoReturn:
        # `a and b` is b: the first would be gone without a word, as in 1 < field("x") < 5, which Python reads so.
        raise InvalidQuery(
            "a condition is neither true nor false by itself; combine two with & and |, negate one with ~, and write "
            "1 < x < 5 as (x > 1) & (x < 5)"
        )

    def holds(self, row: ReadModel) -> bool:
        """Whether a row fulfils it, with SQL's meaning of a missing value: a comparison with None never holds."""
        raise TypeError(f"{type(self).__name__} cannot be checked")


class Comparison(Condition, frozen=True, eq=False):
    """A field compared with a value."""

    name: str
    operator: Operator
    value: Any

    def holds(self, row: ReadModel) -> bool:
        """Whether a row fulfils it."""
        mine = value_at(row, self.name)
        if self.operator == "is_none":
            return (mine is None) is bool(self.value)
        if self.operator == "in":
            return mine is not None and mine in self.value
        return mine is not None and _HOLDS[self.operator](comparable(mine), comparable(self.value))


class All(Condition, frozen=True, eq=False):
    """All of them hold."""

    parts: tuple[Condition, ...]

    def holds(self, row: ReadModel) -> bool:
        """Whether a row fulfils all."""
        return all(part.holds(row) for part in self.parts)


class Any_(Condition, frozen=True, eq=False):  # noqa: N801  # Any is typing's
    """At least one of them holds."""

    parts: tuple[Condition, ...]

    def holds(self, row: ReadModel) -> bool:
        """Whether a row fulfils one."""
        return any(part.holds(row) for part in self.parts)


class Not(Condition, frozen=True, eq=False):
    """It does not hold."""

    part: Condition

    def holds(self, row: ReadModel) -> bool:
        """Whether a row does not fulfil it."""
        return not self.part.holds(row)


_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda mine, value: mine == value,
    "<>": lambda mine, value: mine != value,
    "<": lambda mine, value: mine < value,
    "<=": lambda mine, value: mine <= value,
    ">": lambda mine, value: mine > value,
    ">=": lambda mine, value: mine >= value,
    "starts_with": lambda mine, value: mine.startswith(value),
    "contains": lambda mine, value: value in mine,
}


def comparable(value: Any) -> Any:
    """A field's value as the databases compare it: a member of an enumeration by its value."""
    return value.value if isinstance(value, enum.Enum) else value


class Field:
    """A field of a read model, to be compared with a value."""

    __hash__ = None  # type: ignore[assignment]  # == makes a condition

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]  # a condition, not an answer
        return self.is_none() if value is None else Comparison(self._name, "=", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]  # a condition, not an answer
        return Comparison(self._name, "is_none", False) if value is None else Comparison(self._name, "<>", value)

    def __lt__(self, value: Any) -> Condition:
        return Comparison(self._name, "<", value)

    def __le__(self, value: Any) -> Condition:
        return Comparison(self._name, "<=", value)

    def __gt__(self, value: Any) -> Condition:
        return Comparison(self._name, ">", value)

    def __ge__(self, value: Any) -> Condition:
        return Comparison(self._name, ">=", value)

    def in_(self, values: Iterable[Any]) -> Condition:
        """It is one of these. Raises `InvalidQuery` for a text, which would be each of its letters."""
        if isinstance(values, str):
            raise InvalidQuery(f"{self._name}: in_({values!r}) needs a list of values, also for one alone")
        return Comparison(self._name, "in", tuple(values))

    def starts_with(self, text: str) -> Condition:
        """It begins with this text (upper and lower case are told apart)."""
        return Comparison(self._name, "starts_with", text)

    def contains(self, text: str) -> Condition:
        """It contains this text (upper and lower case are told apart)."""
        return Comparison(self._name, "contains", text)

    def is_none(self) -> Condition:
        """It has no value."""
        return Comparison(self._name, "is_none", True)


def field(name: str) -> Field:
    """A field of a read model, for conditions: `field("balance") >= 100`, `field("owner").starts_with("a")`. In rows
    that are kept as documents it may be inside of another: `field("address.city")`.
    """
    return Field(name)


class Order(msgspec.Struct, frozen=True):
    """A field to sort by."""

    name: str
    descending: bool


def orders_of(definition: ReadModelDefinition, given: Any) -> tuple[Order, ...]:
    """`("-balance", "account_id")` as orders; the key is added at the end, so that pages never overlap. Raises
    `InvalidQuery`.
    """
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(name, str) for name in names):
        raise InvalidQuery(f"order_by={given!r} is not the name of a field, nor several")
    orders = [Order(name.removeprefix("-"), name.startswith("-")) for name in names]
    for order in orders:
        _refuse_unordered(definition, order.name, "sorted by")
    sorted_by = {order.name for order in orders}
    return (*orders, *(Order(name, False) for name in definition.key if name not in sorted_by))


def names_in(condition: Condition) -> set[str]:
    """The fields that a condition names."""
    match condition:
        case All(parts=parts) | Any_(parts=parts):
            return set().union(*(names_in(part) for part in parts))
        case Not(part=part):
            return names_in(part)
        case Comparison(name=name):
            return {name}
    raise TypeError(f"{type(condition).__name__} is not a condition")


def checked(
    definition: ReadModelDefinition, conditions: Iterable[Condition], equals: dict[str, Any]
) -> Condition | None:
    """All conditions in one, with values of the fields' own types. Raises `InvalidQuery`, naming the field."""
    given = [*conditions, *(field(name) == value for name, value in equals.items())]
    try:
        parts = tuple(_checked(definition, condition) for condition in given)
    except RecursionError:
        raise InvalidQuery(
            "these conditions are nested too deep; use field(…).in_([…]) for one of many values"
        ) from None
    return None if not parts else parts[0] if len(parts) == 1 else All(parts)


def _checked(definition: ReadModelDefinition, condition: Condition) -> Condition:
    if isinstance(condition, All):
        return All(tuple(_checked(definition, part) for part in condition.parts))
    if isinstance(condition, Any_):
        return Any_(tuple(_checked(definition, part) for part in condition.parts))
    if isinstance(condition, Not):
        return Not(_checked(definition, condition.part))
    if not isinstance(condition, Comparison):
        raise InvalidQuery(f"{condition!r} is not a condition; write it as in field('balance') >= 100")
    wanted = path_of(definition, condition.name).type
    if condition.operator == "is_none":
        return condition
    if condition.operator in ("<", "<=", ">", ">="):
        _refuse_unordered(definition, condition.name, f"compared by {condition.operator}")
    where = f"{definition.cls.__qualname__}.{condition.name}"
    several = condition.operator == "in"
    if several and len(condition.value) > _VALUES:
        raise InvalidQuery(f"{where} is compared with {len(condition.value):,} values; ask for {_VALUES:,} at once")
    try:
        values = [
            msgspec.convert(each, wanted, strict=False) for each in (condition.value if several else [condition.value])
        ]
    except (msgspec.ValidationError, TypeError) as problem:
        raise InvalidQuery(f"{where} cannot be compared with {condition.value!r}: {problem}") from problem
    for each in values:
        if each is None:
            raise InvalidQuery(f"{where} cannot be compared with None; ask for field({condition.name!r}).is_none()")
        refuse_value(definition, condition.name, each)
    value: Any = tuple(values) if several else values[0]
    if condition.operator in ("starts_with", "contains") and not isinstance(value, str):
        raise InvalidQuery(f"{definition.cls.__qualname__}.{condition.name} is not text, so it has no beginning")
    return Comparison(condition.name, condition.operator, value)


def _refuse_unordered(definition: ReadModelDefinition, name: str, how: str) -> None:
    if path_of(definition, name).kind in (Kind.JSON, Kind.BYTES):
        raise InvalidQuery(f"{definition.cls.__qualname__}.{name} has no order, so it cannot be {how}")
