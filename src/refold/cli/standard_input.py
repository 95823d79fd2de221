"""The standard input, read in a thread that can be told to stop: a plain read would wait for its writer for ever."""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["standard_input"]

_LOOK_EVERY = 0.1


class _Interruptible(io.RawIOBase):
    def __init__(self, descriptor: int, stopped: threading.Event) -> None:
        self._descriptor = descriptor
        self._stopped = stopped

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Waits for bytes; the end, as it were, once it was stopped."""
        while not self._stopped.is_set():
            if select.select([self._descriptor], [], [], _LOOK_EVERY)[0]:
                view = memoryview(buffer)
                read = os.read(self._descriptor, len(view))
                view[: len(read)] = read
                return len(read)
        return 0


@contextmanager
def standard_input() -> Iterator[BinaryIO]:
    """The standard input, for the time of the block. Whoever still reads it at the end of the block finds its end."""
    stopped = threading.Event()
    try:
        yield io.BufferedReader(_Interruptible(sys.stdin.fileno(), stopped), 1_048_576)
    finally:
        stopped.set()
