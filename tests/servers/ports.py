"""Free TCP ports on the loopback."""

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

# Below the ranges from which Linux (32768 up) and macOS (49152 up) serve outgoing connections: a server that restarts
# wants its port again, and a client's connection must not have taken it in between.
CANDIDATES = range(15000, 32000)

_given: set[int] = set()


def free_port() -> int:
    """A port of the loopback on which nothing listens now, and which no other call gives away as long as this process
    lives: its server may listen later, and several runs of the tests share a machine.

    Raises OSError when none of a hundred random candidates is free.
    """
    for candidate in random.sample(CANDIDATES, 100):
        if not _take(candidate):
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise OSError("no free port was found on 127.0.0.1")


def _take(port: int) -> bool:
    """Whether no other call has it, in whatever process. A lock on its byte ends with this process."""
    if port in _given:
        return False
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True


@functools.cache
def _locks() -> int:
    """The file of the locks. It is opened once: whoever closes it anywhere in a process loses all of that process."""
    path = Path(tempfile.gettempdir()) / f"refold-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
