"""What the numbers were measured on."""

import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.servers import Unavailable, find_postgres

SYNCS = 200
BUSY = 0.5
"""Load average from which on somebody else is using the machine, before the benchmarks have begun."""


def describe(scratch: Path) -> dict[str, Any]:
    """Processor, memory, versions, and how long the disk below `scratch` takes to make 8 kB durable."""
    return {
        "processor": f"{psutil.cpu_count()} × {_processor()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "postgres": _postgres(),
        "sqlite": sqlite3.sqlite_version,
        "fdatasync_ms": round(_sync_milliseconds(scratch), 3),
        "load_before": round(os.getloadavg()[0], 2),
    }


def is_busy(machine: dict[str, Any]) -> bool:
    """Whether something else ran when the benchmarks began."""
    return float(machine["load_before"]) > BUSY


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _postgres() -> str:
    try:
        return str(find_postgres("postgres15"))
    except Unavailable:
        return "not found"


def _sync_milliseconds(folder: Path) -> float:
    durations = []
    # macOS has no fdatasync, and its fsync does not wait for the disk; the number says what the call takes there.
    sync = os.fdatasync if sys.platform != "darwin" else os.fsync
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(b"\0" * 8192)
            file.flush()
            begin = time.perf_counter()
            sync(file.fileno())
            durations.append(time.perf_counter() - begin)
    return statistics.median(durations) * 1000
