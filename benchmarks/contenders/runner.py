"""The runners' side of the protocol: JSON arguments on standard input, one line of JSON with the figures on standard
output.
"""

import asyncio
import inspect
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEGABYTE = 1_000_000


def serve(measure: Callable[[dict[str, Any]], Any]) -> None:
    """Run one measurement (a function or a coroutine function of the arguments) and print what it returns."""
    arguments = json.load(sys.stdin)
    outcome = measure(arguments)
    answer = asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome
    print(json.dumps(answer, default=str), flush=True)


def peak_megabytes() -> float:
    """The most memory that this process has had (resident)."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, `ru_maxrss` begins with the peak of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / MEGABYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
