"""Rows that are JSON documents, asked as if what a query names were columns of their own types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from refold.folds.read_model import ReadModelDefinition
from refold.projections.columns import DOCUMENT, Kind
from refold.projections.paths import Path, path_of

__all__ = ["MOMENT_FUNCTION", "document_columns"]

MOMENT_FUNCTION = "refold_moment"
"""On SQLite: a function of one text, which gives the moment that JSON says as columns of moments keep it."""
_CASTS = {
    Kind.INTEGER: "bigint",
    Kind.FLOAT: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.DECIMAL: "numeric",
    Kind.MOMENT: "timestamptz",
    Kind.DATE: "date",
    Kind.UUID: "uuid",
}


def document_columns(
    definition: ReadModelDefinition, table: sa.Table, names: Iterable[str], dialect: str
) -> tuple[sa.FromClause, Mapping[str, tuple[Kind, bool]]]:
    """The table under the alias t, with its document and a column for each name; and the kinds of these."""
    columns: list[Any] = [table.c[DOCUMENT]]
    kinds = {}
    for name in sorted(names):
        path = path_of(definition, name)
        kind = path.kind
        if name in definition.key:
            columns.append(table.c[name])
        elif dialect == "postgresql":
            columns.append(sa.literal_column(_on_postgres(path)).label(name))
        else:
            columns.append(sa.literal_column(_on_sqlite(path)).label(name))
            # There they are compared as what JSON has of them, which is text.
            kind = Kind.TEXT if kind is Kind.BYTES else kind
        kinds[name] = (kind, name not in definition.key)
    return sa.select(*columns).subquery("t"), kinds


def _on_postgres(path: Path) -> str:
    *outer, last = [_quoted(name) for name in path.names]
    place = "".join(f" -> {name}" for name in outer)
    if path.kind is Kind.JSON:
        return f"nullif({DOCUMENT}{place} -> {last}, 'null'::jsonb)"
    text = f"({DOCUMENT}{place} ->> {last})"
    if path.kind is Kind.BYTES:
        return f"decode({text}, 'base64')"
    return f"{text}::{_CASTS[path.kind]}" if path.kind in _CASTS else text


def _on_sqlite(path: Path) -> str:
    place = _quoted("$" + "".join(f'."{name}"' for name in path.names))
    value = f"json_extract({DOCUMENT}, {place})"
    if path.kind is Kind.JSON:
        return f"nullif(json_quote({value}), 'null')"
    return f"{MOMENT_FUNCTION}({value})" if path.kind is Kind.MOMENT else value


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
