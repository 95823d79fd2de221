"""The files of one generation of a table: a page is a file, and a file that has its name is whole.

Each says in its metadata how all checkpoints stand after it. Files are never changed; small ones are merged into larger
ones, which take their place in the chain.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from refold import faults
from refold.errors import StoreCorrupt
from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.projections.row_store import Standing
from refold.projections.sinks.parquet_groups import RowGroups
from refold.projections.sinks.parquet_rows import DELETED, KEY, PAGE

__all__ = ["MANIFEST", "DataFile", "Generation", "Snapshot", "outlived", "sync_folder", "to_merge", "write_whole"]

MANIFEST = "manifest.json"
"""Lies beside files that are in folders by a field: see `parquet_partitions`."""

_STANDINGS = b"refold"
_BEGIN, _FENCES = "begin.json", "fences.json"
_ROW_GROUP = 16_384
_MERGED_AT_ONCE = 16
"""So many files of about the same size become one."""
_SMALL = 256 * 2**10
"""Files of fewer bytes count as being of the same size."""
_LARGEST = 128 * 2**20
"""Files of so many bytes are not merged again while a page is written."""
_GRACE = 30.0
"""Seconds for which files stay that were merged: somebody may be reading them."""


class DataFile(msgspec.Struct, frozen=True, order=True):
    """Pages `first` to `last` in one file. Its name ends with the positions and numbers of rows in it."""

    first: int
    last: int
    path: Path

    @classmethod
    def of(cls, path: Path) -> DataFile | None:
        """The file of a name; None for what is none."""
        parts = path.name.split("_", 2)
        if path.suffix != ".parquet" or len(parts) != 3 or not (parts[0].isdigit() and parts[1].isdigit()):
            return None
        return cls(int(parts[0]), int(parts[1]), path)


class Snapshot(msgspec.Struct, frozen=True):
    """What a table consists of at one moment: its files, the oldest first, in parts that have no key in common; how the
    checkpoints stand after them; and the number of the last page.
    """

    parts: dict[str, list[DataFile]]
    standings: dict[str, Standing]
    page: int


class Generation:
    """One folder of files. What writes is called with the read model's lock held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups = RowGroups()

    @property
    def files(self) -> Path:
        """The pattern of its files, for other tools."""
        return self.folder / "*.parquet"

    def part_of(self, definition: ReadModelDefinition, key: RowKey) -> str:
        """The part of a snapshot that has a key."""
        return ""

    def begin(self, standings: dict[str, Standing]) -> None:
        """Makes the folder, without rows."""
        self.folder.mkdir()
        write_whole(self.folder / _BEGIN, msgspec.json.encode(standings))
        sync_folder(self.folder.parent)

    def exists(self) -> bool:
        """Whether the folder is there, and not emptied."""
        return (self.folder / _BEGIN).exists()

    def snapshot(self) -> Snapshot:
        """As it is now: a chain of files without a gap. What was merged into others, and what lies behind a gap, is
        left out.
        """
        files = _chain(self._all())
        if files:
            kept = (self.groups.footer(files[-1].path).metadata or {}).get(_STANDINGS, b"")
        else:
            kept = (self.folder / _BEGIN).read_bytes()
        return Snapshot({"": files}, self._standings(kept), files[-1].last if files else 0)

    def _all(self) -> list[DataFile]:
        return [found for path in self.folder.iterdir() if (found := DataFile.of(path)) is not None]

    def _standings(self, kept: bytes) -> dict[str, Standing]:
        try:
            return self._fenced(msgspec.json.decode(kept, type=dict[str, Standing]))
        except msgspec.MsgspecError as problem:
            raise StoreCorrupt(f"{self.folder} has a damaged checkpoint ({problem}); rebuild the read model") from None

    def _fenced(self, found: dict[str, Standing]) -> dict[str, Standing]:
        """Checkpoints with the epochs that were kept beside them. Raises msgspec's errors."""
        fences = msgspec.json.decode(_read_or(self.folder / _FENCES, b"{}"), type=dict[str, int])
        return {
            name: msgspec.structs.replace(each, epoch=max(each.epoch, fences.get(name, 0)))
            for name, each in found.items()
        }

    def fence(self, name: str, epoch: int) -> None:
        """Keeps the epoch of a checkpoint."""
        path = self.folder / _FENCES
        fences = msgspec.json.decode(_read_or(path, b"{}"), type=dict[str, int])
        write_whole(path, msgspec.json.encode({**fences, name: epoch}))

    def add(self, before: Snapshot, rows: pa.Table, standings: dict[str, Standing], positions: str) -> None:
        """Adds a page behind what is there now. It counts once it has its name."""
        self._clear_away(before.parts[""])
        page = before.page + 1
        metadata = {_STANDINGS: msgspec.json.encode(standings)}
        whole = self.write_file(self.folder, page, page, positions, rows, metadata)
        faults.at("parquet.page_written")
        self._name(*whole)
        faults.at("parquet.page_named")

    def merge(self) -> None:
        """Makes one file of the youngest ones, when there are enough of about the same size. It says what they said."""
        now = self.snapshot()
        run = to_merge(now.parts[""])
        if not run:
            return
        metadata = {_STANDINGS: msgspec.json.encode(now.standings)}
        whole = self.merged(self.folder, run, keep_deleted=run[0].first > 1, metadata=metadata)
        faults.at("parquet.merge_written")
        self._name(*whole)
        faults.at("parquet.merge_named")

    def merged(
        self, folder: Path, files: Sequence[DataFile], *, keep_deleted: bool, metadata: dict[bytes, bytes] | None = None
    ) -> tuple[Path, Path]:
        """Writes what files say into one. It gets its name from the caller: from the first path to the second."""
        before, after = _positions(files[0])[0], _positions(files[-1])[1]
        table = self._newest(files, keep_deleted)
        return self.write_file(folder, files[0].first, files[-1].last, f"{before}-{after}", table, metadata)

    def _newest(self, files: Sequence[DataFile], keep_deleted: bool) -> pa.Table:
        """The newest row of each key, sorted. It holds the rows of the files in memory: they are bounded."""
        table = pa.concat_tables([self.groups.whole(file.path) for file in files])
        keys = table.column(KEY).combine_chunks()
        # Often keys only grow from page to page: then nothing is to be sorted.
        if len(keys) > 1 and not pc.all(pc.less(keys[:-1], keys[1:])).as_py():
            table = table.sort_by([(KEY, "ascending"), (PAGE, "descending")])
            keys = table.column(KEY).combine_chunks()
            table = table.filter(pa.concat_arrays([pa.array([True]), pc.not_equal(keys[1:], keys[:-1])]))
        if not keep_deleted and pc.any(table.column(DELETED)).as_py():
            table = table.filter(pc.invert(table.column(DELETED)))
        return table

    def write_file(
        self,
        folder: Path,
        first: int,
        last: int,
        positions: str,
        table: pa.Table,
        metadata: dict[bytes, bytes] | None = None,
    ) -> tuple[Path, Path]:
        """Brings rows to the disk under another name; gives that, and the name that makes them count in `folder`."""
        table = table.replace_schema_metadata(metadata)
        temporary = self.folder / f".{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("wb") as file:
                with pq.ParquetWriter(file, table.schema, compression="snappy", use_dictionary=False) as writer:
                    writer.write_table(table, row_group_size=_ROW_GROUP)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink()
            raise
        deleted = pc.sum(table.column(DELETED)).as_py() or 0
        numbers = f"{table.num_rows - deleted}-rows_{deleted}-deleted"
        return temporary, folder / f"{first:010}_{last:010}_{positions}_{numbers}_{secrets.token_hex(4)}.parquet"

    def _name(self, temporary: Path, final: Path) -> None:
        temporary.rename(final)
        sync_folder(self.folder)

    def _clear_away(self, files: Sequence[DataFile]) -> None:
        """What a dead process left half-written; what lies behind a gap; and what was merged a while ago. The oldest
        first, so that a deleted row never shows again to whoever reads all files.
        """
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
        last = files[-1].last if files else 0
        for other in sorted(self._all()):
            if other not in files and (other.last > last or outlived(other, files)):
                other.path.unlink(missing_ok=True)


def _chain(files: list[DataFile]) -> list[DataFile]:
    starting: dict[int, DataFile] = {}
    for file in files:
        if file.first not in starting or starting[file.first].last < file.last:
            starting[file.first] = file
    chain: list[DataFile] = []
    following = 1
    while following in starting:
        chain.append(starting[following])
        following = chain[-1].last + 1
    return chain


def outlived(file: DataFile, files: Sequence[DataFile]) -> bool:
    """Whether one of these has taken a file's place a while ago."""
    covering = next((each for each in files if each.first <= file.first and file.last <= each.last), None)
    return covering is not None and time.time() - covering.path.stat().st_mtime > _GRACE


def _positions(file: DataFile) -> list[str]:
    return file.path.name.split("_")[2].split("-")


def to_merge(files: list[DataFile]) -> list[DataFile]:
    """The youngest files, from the oldest on that is not much larger than all after it together."""
    sizes = [max(file.path.stat().st_size, _SMALL) for file in files]
    if len(files) < _MERGED_AT_ONCE or sum(sizes[-_MERGED_AT_ONCE:]) > _LARGEST:
        return []
    start, total = len(files), 0
    while start > 0 and total + sizes[start - 1] <= _LARGEST:
        young = len(files) - start
        if young and sizes[start - 1] > total * 2:
            break
        start -= 1
        total += sizes[start]
    return files[start:] if len(files) - start >= _MERGED_AT_ONCE else []


def _read_or(path: Path, otherwise: bytes) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return otherwise


def write_whole(path: Path, content: bytes) -> None:
    """Writes a small file so that it is there whole, or as it was before."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sees to it that the names in a folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
