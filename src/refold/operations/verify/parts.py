"""Bounded memory: what must be remembered for each key is checked part by part, in as many passes as it takes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from refold.operations.verify.findings import Check

__all__ = ["Part", "passes"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LIMIT = 500_000
_NOTED = 10_000


class Part(Generic[K, V]):
    """The keys of one pass and what is remembered of them. When they are too many it keeps half, and leaves the others
    to a later pass.
    """

    def __init__(self, modulus: int, remainder: int, limit: int, chosen: Callable[[K], bool] | None = None) -> None:
        self.remembered: dict[K, V] = {}
        self.left: list[tuple[int, int]] = []
        self._modulus = modulus
        self._remainder = remainder
        self._limit = limit
        self._chosen = chosen
        self._noted: list[tuple[K, str, str]] = []

    def has(self, key: K) -> bool:
        """Whether a key is of this part."""
        return hash(key) % self._modulus == self._remainder and (self._chosen is None or self._chosen(key))

    def shrink(self) -> None:
        """Keeps half of the keys when there are too many. To be called now and then."""
        while len(self.remembered) > self._limit:
            self.left.append((self._modulus * 2, self._remainder + self._modulus))
            self._modulus *= 2
            self.remembered = {key: value for key, value in self.remembered.items() if self.has(key)}

    def note(self, key: K, where: str, problem: str) -> None:
        """Notes something that is wrong with a key. It counts only if the key is still of this part at the end."""
        if len(self._noted) < _NOTED:
            self._noted.append((key, where, problem))

    def noted_keys(self) -> set[K]:
        """The keys with which something is wrong, at the end of the pass."""
        return {key for key, _, _ in self._noted if self.has(key)}

    def report(self, check: Check) -> None:
        """Gives what was noted to a check, at the end of the pass."""
        for key, where, problem in self._noted:
            if self.has(key):
                check.found(where, problem)


def passes(chosen: Callable[[K], bool] | None = None) -> Iterator[Part[K, V]]:
    """One part for each pass that is needed; how many that is shows while they are made. `chosen` leaves keys out."""
    waiting = [(1, 0)]
    while waiting:
        part: Part[K, V] = Part(*waiting.pop(), _LIMIT, chosen)
        yield part
        waiting += part.left
