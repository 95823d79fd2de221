"""Conditions and orders on the rows of a read model, as queries of OpenSearch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from refold.projections.columns import Kind
from refold.projections.conditions import All, Any_, Comparison, Condition, Not, Order, comparable, names_in
from refold.projections.sinks.opensearch_documents import META, Documents, ordered

__all__ = ["EVERY_ROW", "Asked", "asked", "sorted_by"]

EVERY_ROW: dict[str, Any] = {"bool": {"must_not": [{"terms": {f"{META}.kind": ["checkpoint", "deleted"]}}]}}
"""All rows: neither checkpoints nor what says that a row was deleted."""

_ALL: dict[str, Any] = {"match_all": {}}
_NONE: dict[str, Any] = {"match_none": {}}
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_LONGEST_PATTERN = 200
_CLAUSES = 1_000


class Asked(msgspec.Struct, frozen=True):
    """A condition as a query. When it is not `exact`, it finds more than what fulfils the condition; `long` names the
    fields of which long texts are not compared by the query.
    """

    query: dict[str, Any]
    exact: bool
    long: tuple[str, ...] = ()

    def filter(self) -> dict[str, Any]:
        """The query for the rows that may fulfil the condition."""
        if not self.long:
            return {"bool": {**EVERY_ROW["bool"], "filter": [self.query]}}
        either = [self.query, {"terms": {f"{META}.long": list(self.long)}}]
        return {"bool": {**EVERY_ROW["bool"], "should": either, "minimum_should_match": 1}}


def asked(documents: Documents, where: Condition | None) -> Asked:
    """A condition as a query."""
    if where is None:
        return Asked(_ALL, True)
    long = {documents.names[name] for name in names_in(where) if documents.kinds[name][0] is Kind.TEXT}
    query, exact = _query(documents, where)
    return Asked(query, exact, tuple(sorted(long)))


def sorted_by(documents: Documents, orders: Sequence[Order]) -> list[dict[str, Any]]:
    """What to sort by, missing values last."""
    return [
        {
            documents.path(order.name): {
                "order": "desc" if order.descending else "asc",
                "missing": "_last",
                "unmapped_type": "keyword",
            }
        }
        for order in orders
    ]


def _query(documents: Documents, condition: Condition) -> tuple[dict[str, Any], bool]:
    """The query, and whether it finds exactly what fulfils the condition (else it finds more)."""
    match condition:
        case All():
            parts = [_query(documents, part) for part in _flat(condition, All)]
            if len(parts) > _CLAUSES:
                return _ALL, False
            return {"bool": {"filter": [part for part, _ in parts]}}, all(exact for _, exact in parts)
        case Any_():
            parts = [_query(documents, part) for part in _flat(condition, Any_)]
            if len(parts) > _CLAUSES:
                return _ALL, False
            either = {"bool": {"should": [part for part, _ in parts], "minimum_should_match": 1}}
            return (either if parts else _NONE), all(exact for _, exact in parts)
        case Not(part=part):
            query, exact = _query(documents, part)
            return ({"bool": {"must_not": [query]}}, True) if exact else (_ALL, False)
        case Comparison():
            return _comparison(documents, condition)
    raise TypeError(f"{type(condition).__name__} is not a condition")


def _flat(condition: Any, kind: type[All] | type[Any_]) -> Iterable[Condition]:
    """`a & b & c` is nested as deep as it is long; the server takes twenty levels."""
    for part in condition.parts:
        if isinstance(part, kind):
            yield from _flat(part, kind)
        else:
            yield part


def _comparison(documents: Documents, asked_for: Comparison) -> tuple[dict[str, Any], bool]:
    kind, optional = documents.kinds[asked_for.name]
    name, path, value = documents.names[asked_for.name], documents.path(asked_for.name), asked_for.value
    missing = {"term": {f"{META}.missing": name}}
    match asked_for.operator:
        case "is_none":
            if not optional:
                return (_NONE if value else _ALL), True
            return (missing if value else {"bool": {"must_not": [missing]}}), True
        case "=":
            return _one_of(path, kind, [value]), True
        case "in":
            return _one_of(path, kind, value), True
        case "<>":
            return {"bool": {"must_not": [_one_of(path, kind, [value]), missing]}}, True
        case "starts_with":
            if not value:
                return {"bool": {"must_not": [missing]}}, True
            return {"prefix": {path: {"value": value[:_LONGEST_PATTERN]}}}, len(value) <= _LONGEST_PATTERN
        case "contains":
            if not value or len(value) > _LONGEST_PATTERN:
                return {"bool": {"must_not": [missing]}}, not value
            return {"wildcard": {path: {"value": f"*{_escaped(value)}*"}}}, True
        case operator if kind is Kind.TEXT and len(text := comparable(value)) > _LONGEST_PATTERN:
            return _around(path, operator, text[:_LONGEST_PATTERN]), False
        case operator:
            return _range(path, kind, operator, value), True


def _escaped(text: str) -> str:
    return "".join(f"\\{each}" if each in "*?\\" else each for each in text)


def _one_of(path: str, kind: Kind, values: Iterable[Any]) -> dict[str, Any]:
    terms = [_term(kind, value) for value in values]
    if kind is Kind.FLOAT and 0 in terms:
        # Minus zero is another term, and the same number.
        terms += [0.0, -0.0]
    return {"terms": {path: terms}} if terms else _NONE


def _term(kind: Kind, value: Any) -> Any:
    if kind in (Kind.DECIMAL, Kind.MOMENT, Kind.BYTES, Kind.JSON):
        return ordered(kind, value)
    return msgspec.to_builtins(value)


def _range(path: str, kind: Kind, operator: str, value: Any) -> dict[str, Any]:
    if kind is Kind.BOOLEAN:
        there = [each for each in (False, True) if Comparison("v", operator, value).holds(_Value(each))]  # type: ignore[arg-type]
        return {"terms": {path: there}} if there else _NONE
    term = _term(kind, comparable(value))
    if kind is Kind.FLOAT and term == 0:
        term = -0.0 if operator in ("<", ">=") else 0.0
    return {"range": {path: {_RANGES[operator]: term}}}


def _around(path: str, operator: str, beginning: str) -> dict[str, Any]:
    """More than what is on one side of a long text, of which the server is told the beginning: it turns a bound into
    an automaton, of which it takes 1,000 bytes.
    """
    if operator in (">", ">="):
        return {"range": {path: {"gte": beginning}}}
    below = [{"range": {path: {"lt": beginning}}}, {"prefix": {path: {"value": beginning}}}]
    return {"bool": {"should": below, "minimum_should_match": 1}}


class _Value(msgspec.Struct):
    v: bool
