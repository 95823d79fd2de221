"""Checking a whole export before anything of it is used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from refold.errors import TransferError
from refold.operations.progress import Progress, unheard
from refold.operations.transfer.lines import Header, Summary, header_of, is_summary, summary_of
from refold.operations.transfer.reading import ExportReader, read_line

__all__ = ["CheckedExport", "check_export"]


class CheckedExport(msgspec.Struct, frozen=True):
    """An export that is whole and unchanged: its source, and what its summary says."""

    header: Header
    summary: Summary


def check_export(path: Path, *, trust_changes: bool = False, progress: Progress = unheard) -> CheckedExport:
    """Reads a file from end to end and checks that it is an export, whole and unchanged. Blocks.

    `trust_changes` accepts lines that somebody has changed since, so long as they can be read and fit together.
    Raises `TransferError` with the line of the first thing that is wrong.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = read_line(stream, 1)
        header = header_of(first)
        number, done = 1, len(first)
        digest = hashlib.sha256()
        while line := read_line(stream, number + 1):
            number += 1
            done += len(line)
            if number % 5_000 == 0:
                progress("check", done, size)
            if is_summary(line):
                unchanged = summary_of(line).sha256 == digest.hexdigest() and not stream.read(1)
                if unchanged and summary_of(line).events == number - 2:
                    progress("check", size, size)
                    return CheckedExport(header, summary_of(line))
                break
            digest.update(line)
    # Something is wrong with it: only now is each line taken apart, to say which.
    with path.open("rb") as stream:
        reader = ExportReader(stream, trust_changes=trust_changes)
        for _ in reader.batches():
            progress("check", reader.bytes, size)
    if reader.summary is None:
        raise TransferError("the export has no summary")
    progress("check", size, size)
    return CheckedExport(reader.header, reader.summary)
