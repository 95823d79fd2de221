"""A real Chromium on this machine, for tests that look at pages."""

import shutil
from pathlib import Path

from tests.servers.installations import Unavailable

INSTALL_HINT = "run `make servers` (Debian's package chromium), or put chromium or google-chrome on the PATH"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> Path:
    """The program; raises Unavailable when it is not on this machine."""
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    raise Unavailable(f"chromium was not found; {INSTALL_HINT}")
