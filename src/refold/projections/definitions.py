"""The definitions that a read model has had: which serves, which was replaced, and what changed between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["KnownDefinition", "changes_between", "known_definition", "retired"]


class KnownDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A definition of read model `name` that has served. `parts` says what it consists of: the name of a part (`field
    balance`, `evolve Deposited`, `key`) → its text, or a hash of it; empty where that is not known. `retired_at`: when
    another took its place (microseconds since 1970), 0 while it serves.
    """

    name: str
    fingerprint: str
    parts: dict[str, str]
    seen_at: int
    retired_at: int


def known_definition(row: Sequence[Any]) -> KnownDefinition:
    """From a database: name, fingerprint, parts as JSON, seen at, retired at."""
    name, fingerprint, parts, seen_at, retired_at = row
    return KnownDefinition(
        name=name,
        fingerprint=fingerprint,
        parts=msgspec.json.decode(parts, type=dict[str, str]),
        seen_at=seen_at,
        retired_at=retired_at,
    )


def changes_between(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed, for a person: `field email is new; evolve Deposited changed`."""
    if not before:
        return "what changed is not known"
    found = [f"{part} is new" for part in now if part not in before]
    found += [f"{part} is gone" for part in before if part not in now]
    found += [f"{part} changed" for part in now if before.get(part, now[part]) != now[part]]
    return "; ".join(sorted(found)) or "only the order of its parts"


def retired(known: Sequence[KnownDefinition], fingerprint: str) -> bool:
    """Whether a definition has served and another took its place: then it does not come back by itself."""
    return any(each.fingerprint == fingerprint and each.retired_at for each in known)
