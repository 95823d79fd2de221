"""A generation whose files are in folders by a field of the key: `month=2024-01/`. A page is as many files as it has
folders, and one small file that names all that count, which is replaced in one step.

What a row's key says of its folder never changes, so the folders have no key in common, and each is merged by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from refold import faults
from refold.errors import ConfigurationError, InvalidQuery, StoreCorrupt
from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.projections.columns import Kind, column_kinds
from refold.projections.row_store import Standing
from refold.projections.sinks.parquet_files import (
    MANIFEST,
    DataFile,
    Generation,
    Snapshot,
    outlived,
    sync_folder,
    to_merge,
    write_whole,
)

__all__ = ["PartitionedGeneration", "refuse_partition"]

_KINDS = (Kind.TEXT, Kind.INTEGER, Kind.DATE, Kind.UUID)
_LONGEST_NAME = 200
"""Bytes. File systems take 255."""


class _Manifest(msgspec.Struct, frozen=True):
    """What counts: `files` are paths inside of the generation, `page` is the number of the last one."""

    partition: str
    page: int
    standings: dict[str, Standing]
    files: list[str]


def refuse_partition(definition: ReadModelDefinition, partition: str) -> None:
    """Raises `ConfigurationError` for a field that rows cannot be parted by."""
    if partition not in definition.key:
        raise ConfigurationError(
            f"read model {definition.name!r} cannot be partitioned by {partition!r}, which is no field of its key "
            f"({', '.join(definition.key)}): a row would have to move from folder to folder; make it part of the key"
        )
    if column_kinds(definition)[partition][0] not in _KINDS:
        raise ConfigurationError(
            f"read model {definition.name!r} cannot be partitioned by {partition!r}: folders are named by a text, a "
            "whole number, a date or a UUID"
        )


class PartitionedGeneration(Generation):
    """See `Generation`."""

    def __init__(self, folder: Path, partition: str = "") -> None:
        super().__init__(folder)
        self._partition = partition

    @property
    def files(self) -> Path:
        """See `Generation.files`."""
        return self.folder / "*" / "*.parquet"

    def part_of(self, definition: ReadModelDefinition, key: RowKey) -> str:
        """See `Generation.part_of`."""
        partition = self._partition or self._manifest().partition
        return _folder_of(partition, msgspec.to_builtins(key[definition.key.index(partition)]))

    def begin(self, standings: dict[str, Standing]) -> None:
        """See `Generation.begin`."""
        self.folder.mkdir()
        self._publish(_Manifest(self._partition, 0, standings, []))
        sync_folder(self.folder.parent)

    def exists(self) -> bool:
        """See `Generation.exists`. When a file is gone nobody knows which rows were in it: then it is made anew."""
        try:
            files = self._manifest().files
        except FileNotFoundError:
            return False
        return all((self.folder / name).exists() for name in files)

    def _manifest(self) -> _Manifest:
        path = self.folder / MANIFEST
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except msgspec.MsgspecError as problem:
            raise StoreCorrupt(f"{path} is damaged ({problem}); rebuild the read model") from None

    def _publish(self, manifest: _Manifest) -> None:
        self._partition = manifest.partition
        write_whole(self.folder / MANIFEST, msgspec.json.encode(manifest))

    def snapshot(self) -> Snapshot:
        """See `Generation.snapshot`."""
        manifest = self._manifest()
        parts: dict[str, list[DataFile]] = {}
        for name in manifest.files:
            file = DataFile.of(self.folder / name)
            if file is None:
                raise StoreCorrupt(f"{self.folder / MANIFEST} names {name!r}, which is no file of rows; rebuild")
            parts.setdefault(file.path.parent.name, []).append(file)
        return Snapshot(
            {part: sorted(files) for part, files in parts.items()},
            self._fenced(manifest.standings),
            manifest.page,
        )

    def add(self, before: Snapshot, rows: pa.Table, standings: dict[str, Standing], positions: str) -> None:
        """See `Generation.add`."""
        self._clear_away_all(before)
        manifest = self._manifest()
        page = before.page + 1
        parts = list(_parts_of(rows, manifest.partition))
        written: list[tuple[Path, Path]] = []
        try:
            for folder, part in parts:
                written.append(self.write_file(self.folder / folder, page, page, positions, part))
        except OSError:
            for temporary, _ in written:
                temporary.unlink()
            raise
        faults.at("parquet.page_written")
        for temporary, final in written:
            self._place(temporary, final)
            faults.at("parquet.part_named")
        new = [f"{final.parent.name}/{final.name}" for _, final in written]
        self._publish(_Manifest(manifest.partition, page, standings, [*manifest.files, *new]))
        faults.at("parquet.page_named")

    def merge(self) -> None:
        """See `Generation.merge`: each folder by itself."""
        for part, files in self.snapshot().parts.items():
            run = to_merge(files)
            if not run:
                continue
            temporary, final = self.merged(self.folder / part, run, keep_deleted=run[0] != files[0])
            faults.at("parquet.merge_written")
            self._place(temporary, final)
            manifest = self._manifest()
            gone = {f"{part}/{file.path.name}" for file in run}
            kept = [name for name in manifest.files if name not in gone]
            self._publish(msgspec.structs.replace(manifest, files=[*kept, f"{part}/{final.name}"]))
            faults.at("parquet.merge_named")

    def _place(self, temporary: Path, final: Path) -> None:
        if not final.parent.exists():
            final.parent.mkdir()
            sync_folder(self.folder)
        self._name(temporary, final)

    def _clear_away_all(self, now: Snapshot) -> None:
        """What a dead process left behind, and what was merged a while ago; the oldest first."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
        for folder in [path for path in self.folder.iterdir() if path.is_dir()]:
            files = now.parts.get(folder.name, [])
            found = [file for path in folder.iterdir() if (file := DataFile.of(path)) is not None]
            for other in sorted(found):
                covered = any(each.first <= other.first and other.last <= each.last for each in files)
                if other not in files and (not covered or outlived(other, files)):
                    other.path.unlink(missing_ok=True)


def _parts_of(rows: pa.Table, partition: str) -> Iterator[tuple[str, pa.Table]]:
    values = rows.column(partition)
    for value in pc.unique(values):
        yield _folder_of(partition, value.as_py()), rows.filter(pc.equal(values, value))


def _folder_of(partition: str, value: object) -> str:
    """`month=2024-01`, as Hive names it."""
    name = f"{partition}={quote(str(value), safe=' ')}"
    if len(name) > _LONGEST_NAME:
        raise InvalidQuery(
            f"{partition}={value!r} is too long for the name of a folder; partition Parquet files by a shorter text"
        )
    return name
