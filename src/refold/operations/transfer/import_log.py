"""Importing an export: into an empty log, or into one that holds the beginning of the same export."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from refold.errors import Refused, TransferError
from refold.messages.recorded import StoredEvent
from refold.operations.progress import Progress, unheard
from refold.operations.transfer.check import check_export
from refold.operations.transfer.reading import ExportReader
from refold.store.event_store import EventStore

__all__ = ["Imported", "import_file", "import_stream"]


class Imported(msgspec.Struct, frozen=True):
    """A finished import. Of `events` in the export, `added` are new in the log; the others were in it already."""

    source: str
    events: int
    added: int
    last_position: int
    sha256: str


async def import_file(
    store: EventStore, path: Path, *, trust_changes: bool = False, progress: Progress = unheard
) -> Imported:
    """Imports a file. It is checked from end to end first, so that nothing of a broken one is stored.

    `trust_changes` accepts a file whose lines were changed by hand, as long as they fit together.
    Raises `TransferError` with the line that is wrong, `Refused` when the log is not a beginning of the export.
    """
    try:
        checked = await asyncio.to_thread(check_export, path, trust_changes=trust_changes, progress=progress)
        with await asyncio.to_thread(path.open, "rb") as stream:
            return await _import(store, stream, checked.summary.events, trust_changes, progress)
    except OSError as problem:
        raise TransferError(f"{path} cannot be read: {problem.strerror or problem}") from problem


async def import_stream(store: EventStore, stream: BinaryIO, *, progress: Progress = unheard) -> Imported:
    """Imports from a pipe, which cannot be checked before it is used.

    When a line is broken, the whole appends before it stay in the log; importing again, when it is mended, goes on from
    there. Raises what `import_file` raises.
    """
    return await _import(store, stream, 0, trust_changes=False, progress=progress)


async def _import(store: EventStore, stream: BinaryIO, total: int, trust_changes: bool, progress: Progress) -> Imported:
    reader = await asyncio.to_thread(ExportReader, stream, trust_changes=trust_changes)
    head = (await store.head()).position
    last = added = 0
    batches = reader.batches()
    while (batch := await asyncio.to_thread(_next, batches)) is not None:
        known, new = _split(batch, head)
        if known:
            await _compare(store, known, reader.header.source)
        if new:
            await store.restore(new)
            added += len(new)
        last = batch[-1].position
        progress("import", last, total)
    assert reader.summary is not None
    return Imported(reader.header.source, last, added, max(head, last), reader.summary.sha256)


def _next(batches: Iterator[list[StoredEvent]]) -> list[StoredEvent] | None:
    return next(batches, None)


def _split(batch: list[StoredEvent], head: int) -> tuple[list[StoredEvent], list[StoredEvent]]:
    """The events that the log should have already, and those that it has not."""
    at = min(max(head - batch[0].position + 1, 0), len(batch))
    return batch[:at], batch[at:]


async def _compare(store: EventStore, known: list[StoredEvent], source: str) -> None:
    """Raises `Refused` unless the log holds these very events at their positions."""
    page = await store.read_log(after=known[0].position - 1, limit=len(known))
    if page.events == known:
        return
    wrong = next(
        (ours.position for ours, theirs in zip(page.events, known, strict=False) if ours != theirs),
        known[min(len(page.events), len(known) - 1)].position,
    )
    raise Refused(
        f"the log of {store.name} is not a beginning of the export of {source}: they differ at position {wrong}; "
        "import into an empty store, or into one that this export was imported into"
    )
