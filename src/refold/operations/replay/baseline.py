"""The baseline: what the states of a log were, in a text file of digests, with a line for each state.

    {"format":"refold-baseline","format_version":1,"app":"bank","head":6,"every":1,"marks":[[1,"…"],…]}
    {"kind":"aggregate","name":"account","fingerprint":"…","fields":["owner","balance"],"states":2}
    ["account-42","<state>","<history>","<steps>"]
    …
    {"end_of":"refold-baseline","sha256":"…"}

The lines of a section are in the order of their keys, so that two baselines can be compared line by line. `marks` are
the append ids at some positions: they tell of which log it is. The checksum covers all lines before it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, BinaryIO, Self

import msgspec

from refold.errors import BaselineError, Refused
from refold.operations.durable_file import put_in_place
from refold.operations.replay.digests import Track
from refold.operations.replay.report import Kind

__all__ = ["Baseline", "BaselineHeader", "BaselineWriter", "Section", "mark_positions", "marks_of"]

FORMAT = "refold-baseline"
FORMAT_VERSION = 1
_MARKS = 16


class BaselineHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: of which log (up to `head`) and which app, and at which interval of positions states were looked
    at.
    """

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    app: str
    head: int
    every: int
    marks: tuple[tuple[int, str], ...]


class Section(msgspec.Struct, frozen=True):
    """The line above the states of one aggregate or read model: its definition as it was, and their number."""

    kind: Kind
    name: str
    fingerprint: str
    fields: tuple[str, ...]
    states: int


class _End(msgspec.Struct, frozen=True):
    end_of: str
    sha256: str


class _Line(msgspec.Struct, frozen=True, array_like=True):
    key: msgspec.Raw
    state: str
    chain: str
    steps: str


_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(_Line).decode
_END = b'{"end_of"'


def mark_positions(head: int) -> list[int]:
    """The positions whose append ids tell one log from another: the first, the last, and some between."""
    return sorted({1, head, *(head * part // _MARKS for part in range(1, _MARKS))} - {0}) if head else []


class Baseline:
    """A baseline file. Raises `BaselineError` when it cannot be read, is none, or was changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at: dict[tuple[Kind, str], int] = {}
        self.sections: dict[tuple[Kind, str], Section] = {}
        try:
            with path.open("rb") as stream:
                self.header = self._header_of(stream.readline())
                self._scan(stream)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise self._changed() from problem
        except OSError as problem:
            raise BaselineError(f"baseline {path} cannot be read: {problem.strerror or problem}") from problem

    def tracks(self, section: Section) -> Iterator[tuple[bytes, Track]]:
        """Key (as JSON) and track of each state of a section, in the order of the keys."""
        with self.path.open("rb") as stream:
            stream.seek(self._at[section.kind, section.name])
            for _ in range(section.states):
                line = stream.readline()
                try:
                    read = _decode_line(line)
                    track = Track(_bytes(read.state), _bytes(read.chain), 0, bytearray(_bytes(read.steps)))
                except (msgspec.DecodeError, binascii.Error) as problem:
                    raise BaselineError(f"baseline {self.path}: a line cannot be read: {problem}") from problem
                yield bytes(read.key), track

    def _header_of(self, line: bytes) -> BaselineHeader:
        try:
            header = msgspec.json.decode(line, type=BaselineHeader)
        except (msgspec.DecodeError, UnicodeDecodeError):
            header = None
        if header is None or header.format != FORMAT:
            raise BaselineError(f"{self.path} is no baseline of Refold: its first line does not say so")
        if header.format_version != FORMAT_VERSION:
            raise BaselineError(
                f"baseline {self.path} has format version {header.format_version}, this Refold reads {FORMAT_VERSION}; "
                "save it anew with --save"
            )
        return header

    def _scan(self, stream: BinaryIO) -> None:
        stream.seek(0)
        digest = hashlib.sha256()
        for number, line in enumerate(stream):
            if line.startswith(_END):
                if msgspec.json.decode(line, type=_End).sha256 != digest.hexdigest():
                    break
                return
            digest.update(line)
            if number and line.startswith(b"{"):
                section = msgspec.json.decode(line, type=Section)
                self.sections[section.kind, section.name] = section
                self._at[section.kind, section.name] = stream.tell()
        raise self._changed()

    def _changed(self) -> BaselineError:
        return BaselineError(
            f"baseline {self.path} is cut off, or was changed after it was saved: its checksum is wrong; take it from "
            "your version control again, or save it anew with --save"
        )


class BaselineWriter:
    """Writes a baseline: the file is there when it is whole, and until then as it was before.

    The states come in parts, each in order; only the digests of a part are in memory. Raises `Refused` for a file that
    is there and no baseline, `BaselineError` when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = ExitStack()
        self._parts: dict[tuple[Kind, str], IO[bytes]] = {}
        self._counts: dict[tuple[Kind, str], int] = {}
        if path.exists():
            try:
                Baseline(path)
            except BaselineError as problem:
                if "is no baseline" in str(problem):
                    raise Refused(f"{path} is there and is no baseline; take another name") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, kind: Kind, name: str, key: bytes, track: Track) -> None:
        """One state, after all others of that name whose keys are lower. One that never was anything is left out."""
        if not track.steps:
            return
        what = (kind, name)
        if what not in self._parts:
            part = tempfile.TemporaryFile(prefix="refold-baseline-")  # noqa: SIM115  # closed with all others
            self._parts[what] = self._open.enter_context(part)
            self._counts[what] = 0
        self._counts[what] += 1
        line = _Line(msgspec.Raw(key), _text(track.state), _text(track.chain), _text(bytes(track.steps)))
        try:
            self._parts[what].write(_encode(line) + b"\n")
        except OSError as problem:
            raise self._unwritable(problem) from problem

    def finish(self, header: BaselineHeader, folds: Sequence[tuple[Kind, str, str, tuple[str, ...]]]) -> None:
        """Puts it in its place. `folds`: kind, name, fingerprint and fields of each, in the order of the file."""
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            with partial.open("wb") as stream:
                hashed = _Hashed(stream)
                hashed.write(_encode(header) + b"\n")
                for kind, name, fingerprint, fields in folds:
                    section = Section(kind, name, fingerprint, fields, self._counts.get((kind, name), 0))
                    hashed.write(_encode(section) + b"\n")
                    part = self._parts.get((kind, name))
                    if part is not None:
                        part.seek(0)
                        shutil.copyfileobj(part, hashed)
                stream.write(_encode(_End(FORMAT, hashed.digest.hexdigest())) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            put_in_place(partial, self._path)
        except OSError as problem:
            partial.unlink(missing_ok=True)
            raise self._unwritable(problem) from problem

    def _unwritable(self, problem: OSError) -> BaselineError:
        return BaselineError(f"baseline {self._path} cannot be written: {problem.strerror or problem}")


class _Hashed:
    """A stream that knows the checksum of what went through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._stream.write(data)


def marks_of(found: Mapping[int, bytes]) -> tuple[tuple[int, str], ...]:
    """The marks of a header, of the append ids (16 bytes) at their positions."""
    return tuple((position, found[position].hex()) for position in sorted(found))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
