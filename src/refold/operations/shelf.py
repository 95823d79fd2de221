"""What was folded and is kept for the next time: so many bytes of it, of which the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from refold.messages.event_types import encode_json
from refold.messages.recorded import StoredEvent

__all__ = ["Kept", "Shelf"]

N = TypeVar("N", bound=Hashable)
_BYTES = 16 * 2**20


class Kept(msgspec.Struct, frozen=True):
    """What was folded, as JSON, and the event of the log up to which that was: that one too."""

    event: StoredEvent
    data: bytes

    @property
    def size(self) -> int:
        """Roughly what it takes, in bytes."""
        return len(self.data) + len(self.event.payload) + len(self.event.metadata)


class Shelf(Generic[N]):
    """Several of each name, in the order of their positions. They take `limit` bytes at most."""

    def __init__(self, limit: int = _BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._by_name: OrderedDict[N, list[Kept]] = OrderedDict()

    def of(self, name: N) -> Sequence[Kept]:
        """All of a name, the earliest first."""
        found = self._by_name.get(name, [])
        if found:
            self._by_name.move_to_end(name)
        return found

    def put(self, name: N, event: StoredEvent, value: Any, of: Any) -> None:
        """Keeps one, where JSON gives a value of that type back as it is."""
        try:
            data = encode_json(value)
            if msgspec.json.decode(data, type=of) != value:
                return
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            return
        kept = Kept(event, data)
        self._by_name[name] = sorted([*self._by_name.get(name, []), kept], key=lambda each: each.event.position)
        self._by_name.move_to_end(name)
        self._bytes += kept.size
        while self._bytes > self._limit:
            self.forget(next(iter(self._by_name)))

    def forget(self, name: N) -> None:
        """Lets go of all of a name."""
        self._bytes -= sum(each.size for each in self._by_name.pop(name, ()))
