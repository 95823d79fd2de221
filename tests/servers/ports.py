"""Free TCP ports on the loopback."""

import random
import socket

# Below the ranges from which Linux (32768 up) and macOS (49152 up) serve outgoing connections: a server that restarts
# wants its port again, and a client's connection must not have taken it in between.
CANDIDATES = range(15000, 32000)


def free_port() -> int:
    """A port of the loopback on which nothing listens now.

    Raises OSError when none of a hundred random candidates is free.
    """
    for candidate in random.sample(CANDIDATES, 100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise OSError("no free port was found on 127.0.0.1")
