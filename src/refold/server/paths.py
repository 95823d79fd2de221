"""Which operation a path means: a tree of its parts, so that it costs the same however many operations there are."""

from __future__ import annotations

import re
from typing import Generic, TypeVar

__all__ = ["Paths", "below"]

T = TypeVar("T")

_QUOTED = re.compile("%([0-9a-fA-F]{2})")


def below(root: str, path: str) -> str:
    """What of a path, as it came, lies below the one at which the server is mounted. `root` is decoded and `path` is
    not, and the same character may be written in several ways. A path that is not below it is given whole: a proxy may
    have taken the root off.
    """
    root = root.rstrip("/")
    place = 0
    for wanted in root.encode(errors="replace"):
        quoted = _QUOTED.match(path, place)
        if not ((quoted and int(quoted[1], 16) == wanted) or path[place : place + 1] == chr(wanted)):
            return path
        place = quoted.end() if quoted else place + 1
    return path[place:] if path[place : place + 1] in ("", "/") else path


class _Node(Generic[T]):
    def __init__(self) -> None:
        self.literal: dict[str, _Node[T]] = {}
        self.any: _Node[T] | None = None
        self.found: tuple[T, tuple[str, ...]] | None = None


class Paths(Generic[T]):
    """Paths with named parts (`/streams/{stream}`), each with what it leads to."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, path: str, leads_to: T) -> None:
        """Adds a path."""
        node, names = self._root, []
        for part in path.split("/")[1:]:
            if part.startswith("{"):
                names.append(part[1:-1])
                node.any = node = node.any or _Node()
            else:
                node = node.literal.setdefault(part, _Node())
        node.found = (leads_to, tuple(names))

    def find(self, path: str) -> tuple[T, dict[str, str]] | None:
        """What a path leads to, and its named parts as they are written; None when it leads nowhere. A part that is
        written out is stronger than a named one, which is never empty.
        """
        values: list[str] = []
        found = _find(self._root, path.split("/"), 1, values)
        return None if found is None else (found[0], dict(zip(found[1], values, strict=True)))


def _find(node: _Node[T], parts: list[str], place: int, values: list[str]) -> tuple[T, tuple[str, ...]] | None:
    if place == len(parts):
        return node.found
    part = parts[place]
    literal = node.literal.get(part)
    if literal is not None and (found := _find(literal, parts, place + 1, values)) is not None:
        return found
    if node.any is None or not part:
        return None
    values.append(part)
    found = _find(node.any, parts, place + 1, values)
    if found is None:
        values.pop()
    return found
