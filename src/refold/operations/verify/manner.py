"""How thoroughly a store is verified, and how much room is left to those who work on it meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import time

import msgspec

from refold.errors import InvalidQuery

__all__ = ["Pace", "Sample", "chosen_id", "chosen_stream"]

_WHOLE = 10_000
_ROWS = 10_000
_ROWS_ONLINE = 500
_LONGEST_REST = 0.25


class Sample(msgspec.Struct, frozen=True):
    """A random part of everything, of about so many percent: the same one for the same seed. Raises `InvalidQuery`."""

    percent: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise InvalidQuery(f"a sample of {self.percent:g} % cannot be taken; more than 0, and 100 at most")

    def has(self, what: bytes) -> bool:
        """Whether something of that name is in the sample."""
        digest = hashlib.blake2b(what, digest_size=8, key=str(self.seed).encode()[:64]).digest()
        return int.from_bytes(digest) % (100 * _WHOLE) < self.percent * _WHOLE


def chosen_stream(sample: Sample, stream: str) -> bool:
    """Whether a stream is in the sample. All streams of one id are together in it, or none."""
    return chosen_id(sample, stream.partition("-")[2])


def chosen_id(sample: Sample, name: str) -> bool:
    """Whether the streams of an id are in the sample."""
    return sample.has(b"id %b" % name.encode())


class Pace:
    """Beside a live application (`online`) small pages are read, and as much time is left to others as is taken."""

    def __init__(self, *, online: bool = False) -> None:
        self.rows = _ROWS_ONLINE if online else _ROWS
        self._online = online
        self._began = time.monotonic()

    async def rest(self) -> None:
        """To be called after each page."""
        if self._online:
            await asyncio.sleep(min(time.monotonic() - self._began, _LONGEST_REST))
            self._began = time.monotonic()
