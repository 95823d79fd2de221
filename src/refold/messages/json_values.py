"""Values that JSON would take without a word, and give back as others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

__all__ = ["refuse_what_json_changes"]


def refuse_what_json_changes(value: Any) -> None:
    """Raises `ValueError` for what would silently be read back as something else: a number that JSON has no word for
    becomes null, and a time zone's seconds are cut off, which makes it another moment.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"JSON has no word for the number {value}")
    if isinstance(value, datetime):
        offset = value.utcoffset()
        if offset is not None and offset.seconds % 60 + offset.microseconds:
            raise ValueError(f"the time zone of {value.isoformat()} has seconds, which JSON's dates have no place for")
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            refuse_what_json_changes(getattr(value, field))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for own in dataclasses.fields(value):
            refuse_what_json_changes(getattr(value, own.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_what_json_changes(key)
            refuse_what_json_changes(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            refuse_what_json_changes(item)
