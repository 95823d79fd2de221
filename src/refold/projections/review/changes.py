"""What a rebuild would change: the rows that differ, and the first event that makes each of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from refold.folds.read_model import RowKey

__all__ = ["KINDS", "Kind", "RebuildDiff", "RowChange", "Why"]

Kind = Literal["added", "removed", "changed", "extended"]
"""`changed`: a field that both versions have differs. `extended`: only a new field differs, from its default."""
KINDS: tuple[Kind, ...] = ("added", "removed", "changed", "extended")


class Why(msgspec.Struct, frozen=True):
    """Why a row differs: the event that makes the difference (`position` 0: there is none to be named), and what it
    does. `exact` is False where the code that made the row is not at hand, so that an event is only the first that can
    make it.
    """

    because: str
    exact: bool
    position: int = 0
    stream: str = ""
    type: str = ""


class RowChange(msgspec.Struct, frozen=True):
    """One row, as it is and as it would be, both when they had seen the log up to `position`.

    `old` and `new` hold the fields that differ; all of them where there is no row on the other side, which is empty.
    """

    key: RowKey
    kind: Kind
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    position: int
    why: Why | None = None


class RebuildDiff(msgspec.Struct, frozen=True):
    """What a rebuild changes in the rows of `name`, compared up to `position`.

    `counts` has the number of rows of each kind, `same` the number of those that stay. `rows` are the first of each
    kind, in the order of their keys. `definition` says what changed in it, "" when it is the same. Fields that only one
    version has, or whose values cannot be compared since their type changed, are named. `uncompared` rows moved all the
    time that they were looked at.
    """

    name: str
    position: int
    definition: str
    counts: Mapping[Kind, int]
    same: int
    rows: list[RowChange]
    new_fields: list[str] = []
    gone_fields: list[str] = []
    not_comparable: list[str] = []
    uncompared: int = 0

    @property
    def differing(self) -> int:
        """The number of rows that differ."""
        return sum(self.counts.values())
