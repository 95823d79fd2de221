"""What a store can see of itself that is not as it must be."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Flaw"]


class Flaw(msgspec.Struct, frozen=True):
    """Something wrong inside a store: with the database's own guards against changes, with the index of tags, or with
    the file.
    """

    part: Literal["guards", "tags", "file"]
    where: str
    problem: str
