"""A log moves between stores without losing anything, and a transfer that was killed goes on."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from refold.errors import Conflict, Refused, TransferError
from refold.messages.recorded import NewEvent
from refold.operations.transfer import (
    check_export,
    export_lines,
    export_to_file,
    import_file,
    import_stream,
)
from refold.operations.transfer.export_log import partial_of
from refold.store.append import NO_STREAM, Append, StreamAppend
from refold.store.event_store import EventStore
from tests.operations.exports import export_of, three_appends
from tests.operations.stores import everything_in, fill

Stopper = Callable[[str, int, int], None]


class Killed(Exception):
    """Stands for the end of the process."""


def killed_in(step: str, after: int) -> Stopper:
    """Progress that ends everything as soon as a step has come so far."""

    def progress(now: str, done: int, total: int) -> None:
        if now == step and done >= after:
            raise Killed

    return progress


async def exported(store: EventStore) -> bytes:
    return b"".join([piece async for piece in export_lines(store)])


async def test_an_export_of_the_import_is_the_export(store: EventStore, other: EventStore, tmp_path: Path) -> None:
    await fill(store, 300)
    done = await export_to_file(store, tmp_path / "log.jsonl")
    imported = await import_file(other, tmp_path / "log.jsonl")
    assert imported.added == imported.events == done.events
    assert await everything_in(other) == await everything_in(store)
    _, *rest = (await exported(other)).splitlines()
    assert rest == (tmp_path / "log.jsonl").read_bytes().splitlines()[1:]
    assert imported.sha256 == done.sha256


async def test_the_log_goes_on_after_an_import(store: EventStore, other: EventStore, tmp_path: Path) -> None:
    await fill(store, 20)
    await export_to_file(store, tmp_path / "log.jsonl")
    await import_file(other, tmp_path / "log.jsonl")
    head = await other.head()
    stream = (await everything_in(store))[-1].stream
    version = await other.stream_version(stream)
    event = NewEvent(type="MoneyDeposited", payload=b"{}")
    with pytest.raises(Conflict):
        await other.append(Append((StreamAppend(stream, NO_STREAM, (event,)),)))
    result = await other.append(Append((StreamAppend(stream, version, (event,)),)))
    assert (result.first, result.versions) == (head.position + 1, {stream: version + 1})
    assert result.recorded_at >= head.recorded_at


async def test_an_append_that_was_imported_is_known_by_its_id(
    store: EventStore, other: EventStore, tmp_path: Path
) -> None:
    await fill(store, 20)
    await export_to_file(store, tmp_path / "log.jsonl")
    await import_file(other, tmp_path / "log.jsonl")
    for _, append in itertools.groupby(await everything_in(store), key=lambda event: event.append_id):
        events = list(append)
        assert await other.find_append(events[0].append_id) == await store.find_append(events[0].append_id)
        assert await other.read_append(events[0].append_id) == events


async def test_importing_twice_adds_nothing(store: EventStore, other: EventStore, tmp_path: Path) -> None:
    await fill(store, 50)
    await export_to_file(store, tmp_path / "log.jsonl")
    await import_file(other, tmp_path / "log.jsonl")
    before = await everything_in(other)
    again = await import_file(other, tmp_path / "log.jsonl")
    assert again.added == 0
    assert await everything_in(other) == before
    # Nor does importing into the very log that was exported.
    assert (await import_file(store, tmp_path / "log.jsonl")).added == 0


async def test_a_later_export_adds_what_is_new(store: EventStore, other: EventStore, tmp_path: Path) -> None:
    await fill(store, 50)
    await export_to_file(store, tmp_path / "early.jsonl")
    await fill(store, 50, seed=2)
    await export_to_file(store, tmp_path / "late.jsonl")
    early = await import_file(other, tmp_path / "early.jsonl")
    late = await import_file(other, tmp_path / "late.jsonl")
    assert early.events + late.added == late.events
    assert await everything_in(other) == await everything_in(store)
    # The early one is a beginning of what is there now, and adds nothing.
    assert (await import_file(other, tmp_path / "early.jsonl")).added == 0


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2_500])
async def test_a_killed_import_goes_on(
    after: int, store: EventStore, other: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.operations.transfer.reading._BATCH_EVENTS", 1_000)
    await fill(store, 2_500)
    await export_to_file(store, tmp_path / "log.jsonl")
    with pytest.raises(Killed):
        await import_file(other, tmp_path / "log.jsonl", progress=killed_in("import", after))
    stopped = (await other.head()).position
    assert after <= stopped < (await store.head()).position
    done = await import_file(other, tmp_path / "log.jsonl")
    assert done.added == done.events - stopped
    assert await everything_in(other) == await everything_in(store)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2_500])
async def test_a_killed_export_goes_on(after: int, store: EventStore, tmp_path: Path) -> None:
    await fill(store, 2_500)
    path = tmp_path / "log.jsonl"
    with pytest.raises(Killed):
        await export_to_file(store, path, progress=killed_in("export", after))
    assert not path.exists()
    with partial_of(path).open("ab") as stream:
        stream.write(b'{"position":999,"str')  # the line that was being written
    done = await export_to_file(store, path)
    assert done.resumed_at >= after
    assert not partial_of(path).exists()
    assert path.read_bytes() == await exported(store)
    check_export(path)


async def test_a_part_that_ends_anywhere_is_continued(store: EventStore, tmp_path: Path) -> None:
    await fill(store, 5)
    whole = await exported(store)
    path = tmp_path / "log.jsonl"
    for length in range(0, len(whole), 37):
        partial_of(path).write_bytes(whole[:length])
        await export_to_file(store, path, overwrite=True)
        assert path.read_bytes() == whole, length


async def test_the_part_of_another_log_is_not_continued(store: EventStore, other: EventStore, tmp_path: Path) -> None:
    await fill(store, 20)
    await fill(other, 20, seed=2)
    path = tmp_path / "log.jsonl"
    partial_of(path).write_bytes(await exported(other))
    with pytest.raises(Refused, match=r"log\.jsonl\.partial is a part of the export of another log"):
        await export_to_file(store, path)
    assert not path.exists()


async def test_an_export_does_not_overwrite(store: EventStore, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(Refused, match="is there already"):
        await export_to_file(store, path)
    assert path.read_text(encoding="utf-8") == "mine"
    await export_to_file(store, path, overwrite=True)
    assert check_export(path).summary.events == 0


async def test_an_export_that_cannot_be_written_says_so(store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="cannot be written: No such file or directory"):
        await export_to_file(store, tmp_path / "nowhere" / "log.jsonl")


async def test_an_import_that_cannot_be_read_says_so(store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"missing\.jsonl cannot be read: No such file or directory"):
        await import_file(store, tmp_path / "missing.jsonl")
    with pytest.raises(TransferError, match="cannot be read: Is a directory"):
        await import_file(store, tmp_path)


async def test_another_log_is_refused_at_the_first_difference(
    store: EventStore, other: EventStore, tmp_path: Path
) -> None:
    await fill(store, 30)
    await export_to_file(store, tmp_path / "log.jsonl")
    await fill(other, 1, seed=2)
    before = await everything_in(other)
    with pytest.raises(Refused, match="differ at position 1; import into an empty store"):
        await import_file(other, tmp_path / "log.jsonl")
    assert await everything_in(other) == before


async def test_a_log_that_went_another_way_is_refused(store: EventStore, other: EventStore, tmp_path: Path) -> None:
    await fill(store, 30)
    await export_to_file(store, tmp_path / "early.jsonl")
    common = (await import_file(other, tmp_path / "early.jsonl")).events
    await fill(store, 5, seed=2)
    await fill(other, 5, seed=3)
    await export_to_file(store, tmp_path / "log.jsonl")
    before = await everything_in(other)
    with pytest.raises(Refused, match=f"differ at position {common + 1};"):
        await import_file(other, tmp_path / "log.jsonl")
    assert await everything_in(other) == before


@pytest.mark.parametrize("broken", [3, 6])
async def test_nothing_of_a_broken_file_is_stored(broken: int, store: EventStore, tmp_path: Path) -> None:
    lines = export_of(three_appends())
    lines[broken - 1] = b'{"position":\n'
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(TransferError, match=f"line {broken}: this is not JSON") as refused:
        await import_file(store, tmp_path / "log.jsonl")
    assert refused.value.line == broken
    assert (await store.head()).position == 0


async def test_of_a_broken_pipe_whole_appends_are_kept_and_the_mended_one_goes_on(store: EventStore) -> None:
    events = three_appends()
    lines = export_of(events)
    broken = [*lines[:5], b"{}\n", *lines[6:]]
    with pytest.raises(TransferError, match="line 6: this is not an event"):
        await import_stream(store, io.BytesIO(b"".join(broken)))
    # The second append of three events was not known to be whole before the broken line: it is not there at all.
    assert await everything_in(store) == events[:1]
    done = await import_stream(store, io.BytesIO(b"".join(lines)))
    assert done.added == 4
    assert await everything_in(store) == events


async def test_a_file_that_was_mended_by_hand_can_be_trusted(store: EventStore, tmp_path: Path) -> None:
    lines = export_of(three_appends())
    lines[1] = lines[1].replace(b"alice", b"bob")
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(TransferError, match="checksum does not match"):
        await import_file(store, tmp_path / "log.jsonl")
    assert (await store.head()).position == 0
    imported = await import_file(store, tmp_path / "log.jsonl", trust_changes=True)
    assert imported.sha256 in [line async for line in export_lines(store)][-1].decode()
    assert (await everything_in(store))[0].metadata == b'{"actor":"bob"}'


async def test_versions_that_do_not_fit_are_refused(store: EventStore, tmp_path: Path) -> None:
    events = three_appends()
    lines = export_of([*events[:4], msgspec.structs.replace(events[4], version=9)])
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(Refused, match="version 9 of stream 'account-1', which goes on at 3"):
        await import_file(store, tmp_path / "log.jsonl")
    assert (await store.head()).position == 0


async def test_an_export_is_the_log_as_it_was_at_the_beginning(store: EventStore, tmp_path: Path) -> None:
    await fill(store, 10)
    head = (await store.head()).position
    pieces = export_lines(store)
    first = await anext(pieces)
    second = await anext(pieces)
    await fill(store, 10, seed=2)
    lines = b"".join([first, second, *[piece async for piece in pieces]]).splitlines()
    assert len(lines) == head + 2
