"""Exporting the log: as it was when the export began, event for event, in pages; a killed export goes on."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from refold.errors import Refused, StoreFull, TransferError
from refold.messages.recorded import StoredEvent
from refold.operations.durable_file import put_in_place
from refold.operations.pages import log_pages
from refold.operations.progress import Progress, unheard
from refold.operations.transfer.lines import event_of, header_line, header_of, is_summary, line_of, summary_line
from refold.operations.transfer.reading import read_line
from refold.store.event_store import EventStore

__all__ = ["Exported", "export_lines", "export_to_file", "partial_of"]


class Exported(msgspec.Struct, frozen=True):
    """A finished export. `resumed_at` is the position up to which a killed one had come (0: it began anew)."""

    source: str
    events: int
    last_position: int
    sha256: str
    resumed_at: int


class _Part(msgspec.Struct):
    """What a killed export has written: its last event, and the checksum so far."""

    last: StoredEvent | None
    digest: Any

    @property
    def position(self) -> int:
        return self.last.position if self.last is not None else 0


async def export_lines(store: EventStore, *, progress: Progress = unheard) -> AsyncGenerator[bytes, None]:
    """The lines of an export, many in each piece: for a pipe or a response."""
    yield header_line(store.name)
    digest = hashlib.sha256()
    last = 0
    async with aclosing(_pages(store, after=0)) as pages:
        async for page, head in pages:
            lines = await asyncio.to_thread(_lines_of, page, digest)
            last = page[-1].position
            progress("export", last, head)
            yield lines
    yield summary_line(last, last, digest.hexdigest())


def partial_of(path: Path) -> Path:
    """Where an export is written until it is whole."""
    return path.with_name(f"{path.name}.partial")


async def export_to_file(
    store: EventStore, path: Path, *, overwrite: bool = False, progress: Progress = unheard
) -> Exported:
    """Exports to a file by way of `NAME.partial`: the file itself is there only when it is whole and safe on the disk.

    A killed export leaves its part, and the next one goes on after the part's last whole line. Raises `Refused`
    when the file is there already, `TransferError` when it cannot be written, `StoreFull` when the disk is full.
    """
    if not overwrite and await asyncio.to_thread(path.exists):
        raise Refused(f"{path} is there already; take another name, or say --overwrite")
    partial = partial_of(path)
    try:
        with partial.open("a+b") as stream:
            part = await asyncio.to_thread(_part_of, stream, store.name, progress)
            if part.last is not None and not await _is_in_log(store, part.last):
                raise Refused(f"{partial} is a part of the export of another log; remove it to begin anew")
            last = part.position
            async with aclosing(_pages(store, after=last)) as pages:
                async for page, head in pages:
                    stream.write(await asyncio.to_thread(_lines_of, page, part.digest))
                    last = page[-1].position
                    progress("export", last, head)
            checksum = part.digest.hexdigest()
            stream.write(summary_line(last, last, checksum))
            stream.flush()
            await asyncio.to_thread(os.fsync, stream.fileno())
        put_in_place(partial, path)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"the disk is full; {partial} stays, and the next export goes on from there") from problem
        raise TransferError(f"{path} cannot be written: {problem.strerror or problem}") from problem
    return Exported(store.name, last, last, checksum, part.position)


async def _pages(store: EventStore, *, after: int) -> AsyncGenerator[tuple[list[StoredEvent], int], None]:
    """The pages up to the head as it was at first, with that head. Raises `StoreCorrupt` where the log has a gap."""
    head = (await store.head()).position
    async with aclosing(log_pages(store, after=after, until=head)) as pages:
        async for page in pages:
            yield page, head


def _lines_of(page: list[StoredEvent], digest: Any) -> bytes:
    lines = b"".join([line_of(event) for event in page])
    digest.update(lines)
    return lines


def _part_of(stream: BinaryIO, source: str, progress: Progress) -> _Part:
    """What the file holds of an export; a torn last line and a summary are cut off. An empty file gets its header."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    digest = hashlib.sha256()
    kept = 0
    last = b""
    first = read_line(stream, 1)
    if first.endswith(b"\n"):
        header_of(first)
        kept = len(first)
        number = 1
        while (line := read_line(stream, number + 1)).endswith(b"\n") and not is_summary(line):
            digest.update(line)
            kept += len(line)
            last = line
            number += 1
            if number % 5_000 == 0:
                progress("check", kept, size)
    stream.truncate(kept)
    if not kept:
        stream.write(header_line(source))
    return _Part(event_of(last) if last else None, digest)


async def _is_in_log(store: EventStore, event: StoredEvent) -> bool:
    """Whether the log holds this very event: nothing changes an event, so then it holds everything before it too."""
    page = await store.read_log(after=event.position - 1, limit=1)
    return page.events[:1] == [event]
