"""What a doctor says of a store."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Check", "Health"]

Health = Literal["ok", "warning", "error"]


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at: whether it is well, what was found, and what to do about it ("" when well)."""

    name: str
    health: Health
    detail: str
    advice: str = ""
