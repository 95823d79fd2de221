"""Naming a row, and saying how it differs from its fold."""

from __future__ import annotations

from typing import Any

import msgspec

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import encode_json

__all__ = ["difference_of", "row_text"]


def row_text(definition: ReadModelDefinition, key: RowKey) -> str:
    """A row as it is named in a finding."""
    return f"row {', '.join(f'{name}={value}' for name, value in zip(definition.key, key, strict=True))}"


def difference_of(row: ReadModel | None, folded: ReadModel | None) -> str:
    """What is wrong with a row; nothing when it is the same as its fold, once written and read."""
    if row == folded:
        return ""
    if row is None:
        return "it is missing; the fold has it"
    if folded is None:
        return "the fold does not have it"
    there, anew = (msgspec.json.decode(encode_json(each), type=type(row)) for each in (row, folded))
    fields = [name for name in row.__struct_fields__ if getattr(there, name) != getattr(anew, name)]
    return "; ".join(
        f"{name} is {_shown(getattr(there, name))}, the fold says {_shown(getattr(anew, name))}" for name in fields
    )


def _shown(value: Any) -> str:
    text = encode_json(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"
