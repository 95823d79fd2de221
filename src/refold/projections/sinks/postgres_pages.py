"""A page of rows as one statement for Postgres, which reads no more of a large table than it must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from refold.folds.read_model import ReadModelDefinition
from refold.projections.columns import Kind
from refold.projections.conditions import All, names_in
from refold.projections.sink import Query
from refold.projections.tables import condition_sql, order_sql

__all__ = ["ordering", "page_of"]

_FIRST = 20_000
"""Rows among which a page is looked for, before it is looked for among all: some milliseconds."""


def page_of(
    t: sa.FromClause, kinds: Mapping[str, tuple[Kind, bool]], query: Query, definition: ReadModelDefinition
) -> sa.SelectBase:
    """The rows that a query finds, in its order, as many as it wants."""
    walked = _among_the_first(t, kinds, query, definition)
    return _page(t, kinds, query) if walked is None else walked


def _page(t: sa.FromClause, kinds: Mapping[str, tuple[Kind, bool]], query: Query) -> sa.Select[Any]:
    page = sa.select(t)
    if query.where is not None:
        page = page.where(condition_sql(t, kinds, query.where, "postgresql"))
    page = page.order_by(*ordering(t, kinds, query))
    if query.limit is not None:
        page = page.limit(sa.literal_column(str(int(query.limit))))
    if query.offset:
        page = page.offset(sa.literal_column(str(int(query.offset))))
    return page


def _among_the_first(
    t: sa.FromClause, kinds: Mapping[str, tuple[Kind, bool]], query: Query, definition: ReadModelDefinition
) -> sa.SelectBase | None:
    """A page in the order of the key of rows that fulfil what its index does not know: looked for among the first rows,
    and if they are too few, among all. None: another page.

    Postgres would walk through the index until the page is full, believing that it will be soon; where few rows or none
    fulfil the condition, that reads the whole table one row at a time, which takes ten times as long as from its
    beginning to its end.
    """
    directions = {order.descending for order in query.order}
    in_key_order = tuple(order.name for order in query.order) == definition.key and len(directions) == 1
    if query.where is None or query.limit is None or query.offset or not in_key_order:
        return None
    parts = query.where.parts if isinstance(query.where, All) else (query.where,)
    of_key = [part for part in parts if names_in(part) <= set(definition.key)]
    if len(of_key) == len(parts):
        return None
    first = sa.select(t).order_by(*ordering(t, kinds, query)).limit(sa.literal_column(str(_FIRST)))
    if of_key:
        first = first.where(condition_sql(t, kinds, All(tuple(of_key)), "postgresql"))
    near = _page(first.subquery("near"), kinds, query).cte("found").prefix_with("materialized")
    enough = sa.select(sa.func.count()).select_from(near).scalar_subquery() >= sa.literal_column(str(int(query.limit)))
    # Behind an offset no index helps to sort, so the planner reads the table as it is.
    fenced = sa.select(t).where(condition_sql(t, kinds, query.where, "postgresql")).offset(sa.literal_column("0"))
    everywhere = _page(fenced.subquery("fenced"), kinds, Query(None, query.order, query.limit)).subquery("everywhere")
    return sa.union_all(sa.select(near).where(enough), sa.select(everywhere).where(sa.not_(enough)))


def ordering(t: sa.FromClause, kinds: Mapping[str, tuple[Kind, bool]], query: Query) -> list[Any]:
    """The order of a query."""
    return [order_sql(t, kinds, order, "postgresql") for order in query.order]
