"""The folder of one read model: which generation each of its tables is, who may write, and the view for other tools."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from refold import faults
from refold.errors import ConfigurationError, StoreCorrupt, StoreUnavailable
from refold.projections.row_store import Standing
from refold.projections.sinks.parquet_files import MANIFEST, Generation, write_whole
from refold.projections.sinks.parquet_partitions import PartitionedGeneration
from refold.projections.sinks.parquet_rows import DELETED, KEY, PAGE

__all__ = ["ModelFolder"]

_TABLES, _LOCK, _VIEW = "refold-tables.json", "lock", "view.sql"
_SECONDS_TO_LOCK = 30.0
_LOOK = 0.002
_VIEW_TEXT = """\
create or replace view {view} as
select * exclude ({key}, {page}, {deleted}, _refold_newest) from (
    select *, row_number() over (partition by {key} order by {page} desc) as _refold_newest
    from read_parquet({files}, hive_partitioning = false) {whole}
) where _refold_newest = 1 and not {deleted};
"""


class ModelFolder:
    """All tables of one read model."""

    def __init__(self, root: Path, name: str, partition: str | None = None) -> None:
        self.name = name
        self.folder = root / name
        self._partition = partition
        self._open: dict[str, Generation] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While this is held nobody else writes, in whatever process. Makes the folder when it is not there.

        Raises `ConfigurationError` for a folder that is not ours.
        """
        if self._has_others() and not (self.folder / _TABLES).exists():
            raise ConfigurationError(
                f"{self.folder} has something that is not ours; name another folder in the sink's URL"
            )
        self.folder.mkdir(exist_ok=True)
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(lock)
            if not (self.folder / _TABLES).exists():
                write_whole(self.folder / _TABLES, b"{}")
            yield
        finally:
            os.close(lock)

    def _has_others(self) -> bool:
        if not self.folder.exists():
            return False
        return any(path.name != _LOCK and path.suffix != ".tmp" for path in self.folder.iterdir())

    def _take(self, lock: int) -> None:
        deadline = time.monotonic() + _SECONDS_TO_LOCK
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                # Not waited for without an end: a process that stands still may hold it.
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"another process has held {self.folder / _LOCK} for {_SECONDS_TO_LOCK:.0f} s; is it stopped?"
                    ) from None
                time.sleep(_LOOK)

    def tables(self) -> dict[str, str]:
        """Table → the name of its generation."""
        path = self.folder / _TABLES
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except NotADirectoryError:
            raise ConfigurationError(f"{self.folder} is a file that is not ours; say another folder") from None
        except msgspec.MsgspecError as problem:
            raise StoreCorrupt(f"{path} is damaged ({problem}); remove the folder: it is filled again") from None

    def generation(self, table: str) -> Generation | None:
        """Where the rows of a table are; None when there is none."""
        name = self.tables().get(table)
        if name is None:
            return None
        generation = self._open.get(name)
        if generation is None:
            # As it was made, whatever is said of those to come.
            parted = (self.folder / name / MANIFEST).exists()
            generation = (PartitionedGeneration if parted else Generation)(self.folder / name)
        if not generation.exists():
            return None
        self._open[name] = generation
        return generation

    def make(self, table: str, standings: dict[str, Standing]) -> None:
        """An empty generation for a table. The lock is held."""
        name = secrets.token_hex(6)
        if self._partition is None:
            Generation(self.folder / name).begin(standings)
        else:
            PartitionedGeneration(self.folder / name, self._partition).begin(standings)
        faults.at("parquet.generation_made")
        self.publish({**self.tables(), table: name})

    def publish(self, tables: dict[str, str]) -> None:
        """From now on these are the tables; what none of them needs is removed. The lock is held."""
        write_whole(self.folder / _TABLES, msgspec.json.encode(tables))
        faults.at("parquet.tables_named")
        self._write_view(tables.get(self.name))
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in tables.values():
                self._open.pop(path.name, None)
                shutil.rmtree(path)

    def _write_view(self, generation: str | None) -> None:
        view = self.folder / _VIEW
        if generation is None:
            view.unlink(missing_ok=True)
            return
        manifest = self.folder / generation / MANIFEST
        parted = manifest.exists()
        files = (PartitionedGeneration if parted else Generation)(self.folder / generation).files
        quoted = self.name.replace('"', '""')
        text = _VIEW_TEXT.format(
            view=f'"{quoted}"',
            key=KEY,
            page=PAGE,
            deleted=DELETED,
            files=_quoted(files),
            # Files get their names one by one: until the last one has its own, their page does not count.
            whole=f"where {PAGE} <= (select page from read_json({_quoted(manifest)}, columns = {{page: 'bigint'}}))"
            if parted
            else "",
        )
        write_whole(view, text.encode())


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
