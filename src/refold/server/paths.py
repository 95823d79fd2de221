"""Which operation a path means: a tree of its parts, so that it costs the same however many operations there are."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Paths"]

T = TypeVar("T")


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
