"""Putting a whole file in the place of another one, so that it is there, whole, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["put_in_place"]


def put_in_place(written: Path, path: Path) -> None:
    """Renames a file whose content is safe on the disk already. Raises `OSError`."""
    written.replace(path)
    # Without this a power cut may forget the new name, though not the file.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
