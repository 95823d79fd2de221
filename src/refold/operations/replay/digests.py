"""What is kept of a state's history: no state, only digests, a few bytes for each change.

A *track* is the history of one state (of a stream's aggregate, or of a read model's row). It is looked at in *steps*:
after every event, or at the end of each interval of N positions. A step is kept only when the state changed, as the
number of the interval and four bytes of a digest of everything up to there. So the first step in which two tracks
differ is where the states part; that it is missed has a chance of one in four billion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from refold.messages.event_types import encode_in_order

__all__ = ["ABSENT", "DIGEST", "FAILED", "Track", "digester", "parted", "shown_state", "steps_of"]

DIGEST = 12
"""Bytes of the digests of a state and of its whole history."""
_STEP = 4

ABSENT = b""
"""The digest of no state: no row, or no event yet."""
FAILED = b"fold failed."
"""The digest of a state that could not be folded any further."""


class Track(msgspec.Struct, gc=False):
    """The history of one state. `state` is the digest of how it is now, `chain` that of all of its changes, `steps` the
    changes one by one, `interval` the number of the last one's.
    """

    state: bytes = ABSENT
    chain: bytes = b""
    interval: int = 0
    steps: bytearray = msgspec.field(default_factory=bytearray)

    def see(self, interval: int, state: bytes) -> int:
        """Notes the state after an interval; gives by how many bytes the track has grown."""
        if state == self.state:
            return 0
        before = len(self.steps)
        self.state = state
        linked = b"%b%d %b" % (self.chain, interval, state)
        self.chain = hashlib.blake2b(linked, digest_size=DIGEST).digest()
        self.steps += _varint(interval - self.interval) + self.chain[:_STEP]
        self.interval = interval
        return len(self.steps) - before


def digester(fields: Sequence[str]) -> Callable[[Any], bytes]:
    """A function that gives the digest of these fields of a state, as JSON has them: with every digit of a decimal, and
    whatever the order of a set or a dict is.
    """
    values: Callable[[Any], Any] = attrgetter(*fields) if fields else lambda state: None

    def digest(state: Any) -> bytes:
        return hashlib.blake2b(encode_in_order(values(state)), digest_size=DIGEST).digest()

    return digest


def shown_state(state: Any) -> msgspec.Raw:
    """A state as JSON."""
    return msgspec.Raw(encode_in_order(state))


def steps_of(steps: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """The steps one by one: the interval's number, and the digest. Raises `ValueError` for what is none."""
    at = interval = 0
    while at < len(steps):
        delta = shift = 0
        more = True
        while more:
            if at >= len(steps):
                raise ValueError("a step is cut off")
            delta |= (steps[at] & 0x7F) << shift
            more = steps[at] >= 0x80
            shift += 7
            at += 1
        digest = bytes(steps[at : at + _STEP])
        if len(digest) < _STEP or not delta:
            raise ValueError("a step is cut off")
        at += _STEP
        interval += delta
        yield interval, digest


def parted(before: Track, now: Track) -> int | None:
    """The number of the interval in which two tracks part; None: they are the same."""
    if before.chain == now.chain:
        return None
    old, new = steps_of(before.steps), steps_of(now.steps)
    last = 0
    while True:
        was, is_ = next(old, None), next(new, None)
        if was is None and is_ is None:
            return last  # the four bytes are the same and the twelve are not: it was the last step, or before
        if was != is_:
            # Each step is a change: who changes first leaves the other behind.
            return min(step[0] for step in (was, is_) if step is not None)
        assert was is not None
        last = was[0]


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
