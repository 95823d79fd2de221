"""What a store can see of itself that is not as it must be."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Flaw", "Flaws", "Part"]

Part = Literal["file", "guards", "tags"]
"""The database file, the database's own guards against changes of events, the index of tags."""


class Flaw(msgspec.Struct, frozen=True):
    """Something wrong inside a store: where, and what."""

    where: str
    problem: str


Flaws = dict[Part, list[Flaw]]
"""For each part that was looked at, what is wrong with it."""
