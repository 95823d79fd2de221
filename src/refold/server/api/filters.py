"""Query parameters of a list of rows: `owner=alice`, `balance.ge=100`, made from the read model's fields."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from refold.folds.read_model import ReadModelDefinition
from refold.projections.columns import Kind, column_kinds
from refold.projections.conditions import Comparison, Condition, Operator
from refold.projections.paths import compared_names, path_of

__all__ = ["conditions_of", "query_of"]

_OWN = ("order_by", "limit", "cursor", "fresh")
_COMPARED: dict[str, Operator] = {"": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ORDERED = ("", "ne", "lt", "le", "gt", "ge", "in")
_UNORDERED = ("", "ne", "in")
_TEXT = ("starts_with", "contains")


def query_of(definition: ReadModelDefinition, *, paging: bool) -> Any:
    """The struct of the parameters: for each field that can be compared the comparisons that it has, and with `paging`
    `order_by`, `limit`, `cursor` and `fresh`. A field with one of these names, or inside of another (`address.city`),
    is asked for as `where.NAME`.
    """
    kinds = column_kinds(definition)
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    filters: dict[str, tuple[str, str]] = {}

    def add(column: str, suffix: str, annotation: Any) -> None:
        inner = f"f{len(names)}"
        shown = f"where.{column}" if column in _OWN or "." in column else column
        names[inner] = f"{shown}.{suffix}" if suffix else shown
        filters[inner] = (column, suffix)
        fields.append((inner, typing.Union[annotation, UnsetType], UNSET))  # noqa: UP007  # made at run time

    for name in compared_names(definition):
        path = path_of(definition, name)
        wanted = _not_none(path.type)
        for suffix in _UNORDERED if path.kind is Kind.BOOLEAN else _ORDERED:
            add(name, suffix, list[wanted] if suffix == "in" else wanted)  # type: ignore[valid-type]  # at run time
        if path.kind is Kind.TEXT and wanted is str:
            for suffix in _TEXT:
                add(name, suffix, str)
        if name not in kinds or kinds[name][1]:
            add(name, "is_none", bool)
    if paging:
        limit = typing.Annotated[int, msgspec.Meta(ge=1, le=1_000)]
        fields += [("order_by", list[str], []), ("limit", limit, 50), ("cursor", str, ""), ("fresh", bool, False)]
    rename = {**names, **{name: name for name in _OWN}}
    return msgspec.defstruct(
        f"{definition.cls.__name__}Query",
        fields,
        rename=lambda name: rename.get(name, name),
        namespace={"__refold_filters__": filters},
        frozen=True,
    )


def conditions_of(query: Any) -> list[Condition]:
    """The conditions that the parameters say."""
    found: list[Condition] = []
    for inner, (column, suffix) in type(query).__refold_filters__.items():
        value = getattr(query, inner)
        if value is UNSET:
            continue
        if suffix == "is_none":
            found.append(Comparison(column, "is_none", value))
        elif suffix == "in":
            found.append(Comparison(column, "in", tuple(value)))
        elif suffix in _TEXT:
            found.append(Comparison(column, "starts_with" if suffix == "starts_with" else "contains", value))
        else:
            found.append(Comparison(column, _COMPARED[suffix], value))
    return found


def _not_none(annotation: Any) -> Any:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        return parts[0] if len(parts) == 1 else annotation
    return annotation
