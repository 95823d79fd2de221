"""What a failed test shows: two lists of structs, one line each, with the lines that differ marked."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import msgspec

__all__ = ["fields_that_differ", "listed", "lists_compared"]


def listed(items: Sequence[object]) -> str:
    """The items, one indented line each."""
    return "\n".join(f"    {item!r}" for item in items) or "    (none)"


def lists_compared(expected: Sequence[object], actual: Sequence[object]) -> str:
    """The lines of both lists in one, those only expected marked with `-`, those only there with `+`.

    Two items that are equal but written differently, as Decimal("5") and Decimal("5.00"), are the same line.
    """
    wanted = [repr(item) for item in expected]
    there = [
        next((text for item, text in zip(expected, wanted, strict=True) if item == each), repr(each)) for each in actual
    ]
    lines = [f"  {line.rstrip()}" for line in difflib.ndiff(wanted, there)]
    return "\n".join(["  - expected, + what came", *lines])


def fields_that_differ(before: msgspec.Struct, after: msgspec.Struct) -> str:
    """`balance: Decimal('5') → Decimal('6')` for each field that is not the same."""
    if type(before) is not type(after):
        return f"{before!r} → {after!r}"
    pairs: list[tuple[str, Any, Any]] = [
        (name, getattr(before, name), getattr(after, name)) for name in before.__struct_fields__
    ]
    return ", ".join(f"{name}: {old!r} → {new!r}" for name, old, new in pairs if old != new)
