"""The row groups of Parquet files, of which those read last are remembered, within bounds: no file ever changes."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from refold.errors import StoreCorrupt
from refold.projections.sinks.parquet_rows import KEY

__all__ = ["RowGroups"]

_KNOWN_FOOTERS = 512
_REMEMBERED = 128 * 2**20
"""Bytes of rows that are remembered for one table."""


class RowGroups:
    """Reads files of one table. Every method raises `StoreCorrupt` for a damaged one."""

    def __init__(self) -> None:
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._size = 0
        # Several threads read at once.
        self._lock = threading.Lock()

    def footer(self, path: Path) -> pq.FileMetaData:
        """The metadata of a file."""
        with self._lock:
            found = self._footers.get(path.name)
        if found is None:
            found = _readable(path, lambda: pq.read_metadata(path))
            with self._lock:
                self._footers[path.name] = found
                while len(self._footers) > _KNOWN_FOOTERS:
                    self._footers.popitem(last=False)
        return found

    def all(self, path: Path) -> Iterator[pa.Table]:
        """All groups of a file, one at a time."""
        footer = self.footer(path)
        with pq.ParquetFile(path, metadata=footer) as opened:
            for number in range(footer.num_row_groups):
                yield _read(path, opened, number)

    def whole(self, path: Path) -> pa.Table:
        """All of a file, read on all cores."""
        footer = self.footer(path)
        with pq.ParquetFile(path, metadata=footer) as opened:
            return _readable(path, lambda: opened.read(use_threads=True))

    def rows_of(self, path: Path, keys: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of a file, deletions too, that have one of these keys (sorted)."""
        wanted = pa.array(keys, pa.string())
        footer = self.footer(path)
        with pq.ParquetFile(path, metadata=footer) as opened:
            for number in range(footer.num_row_groups):
                ranges = footer.row_group(number).column(0).statistics
                if ranges is not None and ranges.has_min_max and not _any_within(keys, ranges.min, ranges.max):
                    continue
                group = self._group(path, opened, number)
                mask = pc.is_in(group.column(KEY), value_set=wanted)
                if pc.any(mask).as_py():
                    yield group.filter(mask)

    def _group(self, path: Path, opened: pq.ParquetFile, number: int) -> pa.Table:
        name = (path.name, number)
        with self._lock:
            if name in self._groups:
                self._groups.move_to_end(name)
                return self._groups[name]
        group = _read(path, opened, number)
        with self._lock:
            if name not in self._groups:
                self._groups[name] = group
                self._size += group.nbytes
            while self._size > _REMEMBERED:
                self._size -= self._groups.popitem(last=False)[1].nbytes
        return group


def _read(path: Path, opened: pq.ParquetFile, number: int) -> pa.Table:
    return _readable(path, lambda: opened.read_row_group(number, use_threads=False))


def _any_within(keys: Sequence[str], low: str, high: str) -> bool:
    # Parquet orders text by its bytes in UTF-8, which is the order of Python's characters.
    index = bisect_left(keys, low)
    return index < len(keys) and keys[index] <= high


def _readable(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except pa.ArrowException as problem:
        text = " ".join(str(problem).split())
        raise StoreCorrupt(f"{path} is damaged ({text}); rebuild the read model") from None
