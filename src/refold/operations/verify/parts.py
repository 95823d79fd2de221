"""Bounded memory: what must be remembered for each key is checked part by part, in as many passes as it takes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["Part", "passes"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LIMIT = 500_000


class Part(Generic[K, V]):
    """The keys of one pass and what is remembered of them. When they are too many it keeps half, and leaves the others
    to a later pass.
    """

    def __init__(self, modulus: int, remainder: int, limit: int) -> None:
        self.modulus = modulus
        self.remainder = remainder
        self.remembered: dict[K, V] = {}
        self.left: list[tuple[int, int]] = []
        self._limit = limit

    @property
    def everything(self) -> bool:
        """Whether all keys are of this part."""
        return self.modulus == 1

    def has(self, key: K) -> bool:
        """Whether a key is of this part."""
        return hash(key) % self.modulus == self.remainder

    def shrink(self) -> None:
        """Keeps half of the keys when there are too many. To be called now and then."""
        while len(self.remembered) > self._limit:
            self.left.append((self.modulus * 2, self.remainder + self.modulus))
            self.modulus *= 2
            self.remembered = {key: value for key, value in self.remembered.items() if self.has(key)}


def passes(limit: int = _LIMIT) -> Iterator[Part[K, V]]:
    """One part for each pass that is needed; how many that are shows while they are made."""
    waiting = [(1, 0)]
    while waiting:
        part: Part[K, V] = Part(*waiting.pop(), limit)
        yield part
        waiting += part.left
