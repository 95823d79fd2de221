"""The bank's command line in a process that kills itself: `… dying NTH-FAULT-POINT ARGUMENTS …`."""

import os
import signal
import sys

from examples.bank.__main__ import bank
from refold import faults


def main() -> None:
    remaining = int(sys.argv[1])

    def die_at_the_last(point: str) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    faults.install(die_at_the_last)
    bank(sys.argv[2:])


if __name__ == "__main__":
    main()
