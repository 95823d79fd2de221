"""The fault points of the library, found in its source: a new one is swept from the day it is there."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "refold"


def points_of(*prefixes: str) -> list[str]:
    found = {
        name
        for path in SOURCE.rglob("*.py")
        for name in re.findall(r'faults\.at\("([^"]+)"\)', path.read_text())
        if name.startswith(prefixes)
    }
    return sorted(found)
