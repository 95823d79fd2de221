"""What stands in an export is believed only when every line fits the one before it; appends stay whole."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from refold.errors import TransferError
from refold.messages.recorded import StoredEvent
from refold.operations.transfer import check_export
from refold.operations.transfer.lines import line_of
from refold.operations.transfer.reading import ExportReader
from tests.operations.exports import append, export_of, three_appends


def read(lines: list[bytes]) -> tuple[list[StoredEvent], TransferError | None]:
    """What a reader gives of these lines, and how it ends."""
    found: list[StoredEvent] = []
    try:
        for batch in ExportReader(io.BytesIO(b"".join(lines))).batches():
            found += batch
    except TransferError as problem:
        return found, problem
    return found, None


def check(lines: list[bytes], folder: Path) -> None:
    path = folder / "export.jsonl"
    path.write_bytes(b"".join(lines))
    check_export(path)


def test_a_whole_export_is_read(tmp_path: Path) -> None:
    lines = export_of(three_appends())
    assert read(lines) == (three_appends(), None)
    check(lines, tmp_path)


def test_an_empty_log_is_an_export_too(tmp_path: Path) -> None:
    assert read(export_of([])) == ([], None)
    check(export_of([]), tmp_path)


def test_batches_end_where_appends_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.operations.transfer.reading._BATCH_EVENTS", 500)
    events: list[StoredEvent] = []
    while len(events) < 2_000:
        version = len(events) + 1
        events += append(len(events) + 1, *(("account-1", version + index) for index in range(7)))
    batches = list(ExportReader(io.BytesIO(b"".join(export_of(events)))).batches())
    assert [event for batch in batches for event in batch] == events
    assert len(batches) == 4
    assert all(batch[0].append_index == 0 and batch[-1].append_index == 6 for batch in batches)


def test_batches_are_bounded_by_their_bytes() -> None:
    large = b'"' + b"x" * 3_000_000 + b'"'
    events = [event for position in range(1, 9) for event in append(position, ("account-1", position), payload=large)]
    assert max(len(batch) for batch in ExportReader(io.BytesIO(b"".join(export_of(events)))).batches()) <= 6


ONE, TWO, THREE, FOUR, FIVE = three_appends()
WHOLE_BEFORE = {0: [], 1: [ONE], 2: [ONE], 3: [ONE], 4: [ONE, TWO, THREE, FOUR]}


@pytest.mark.parametrize(
    ("broken", "line", "kept", "reason"),
    [
        # What stands before the broken line and is known to be whole is given. The append right before it may go on.
        ([ONE, b"{}\n", TWO, THREE, FOUR, FIVE], 3, 0, "this is not an event"),
        ([ONE, TWO, THREE, FOUR, b"\n", FIVE], 6, 1, "this is not JSON"),
        ([ONE, TWO, THREE, FOUR, FIVE, b"{}\n"], 7, 4, "this is not an event"),
        ([TWO, THREE, FOUR, FIVE], 2, 0, "position 2 follows 0"),
        ([ONE, TWO, FOUR, FIVE], 4, 1, "position 4 follows 2"),
        ([ONE, ONE, TWO], 3, 0, "position 1 follows 1"),
        ([ONE, TWO, THREE, FIVE], 5, 1, "position 5 follows 3"),
        ([ONE, msgspec.structs.replace(TWO, append_index=1)], 3, 0, "append_index is 1, not 0"),
        ([ONE, TWO, msgspec.structs.replace(THREE, append_index=0)], 4, 1, "append_index is 0, not 1"),
        ([ONE, msgspec.structs.replace(TWO, recorded_at=1)], 3, 0, "recorded_at goes back"),
        ([ONE, TWO, msgspec.structs.replace(THREE, recorded_at=TWO.recorded_at + 1)], 4, 1, "inside of one append"),
    ],
)
def test_a_broken_line_is_named_and_only_whole_appends_stand_before_it(
    broken: list[StoredEvent | bytes], line: int, kept: int, reason: str, tmp_path: Path
) -> None:
    header, *_, summary = export_of(three_appends())
    lines = [header, *(each if isinstance(each, bytes) else line_of(each) for each in broken), summary]
    events, problem = read(lines)
    assert problem is not None
    assert problem.line == line
    assert reason in str(problem)
    assert events == WHOLE_BEFORE[kept]
    with pytest.raises(TransferError, match=f"line {line}: "):
        check(lines, tmp_path)


def test_an_export_that_was_cut_off_is_noticed_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = b"".join(export_of(three_appends()))
    for length in range(0, len(whole), 3):
        with pytest.raises(TransferError):
            list(ExportReader(io.BytesIO(whole[:length])).batches())
        with pytest.raises(TransferError):
            check([whole[:length]], tmp_path)


def test_a_cut_off_export_never_gives_a_part_of_an_append() -> None:
    lines = export_of(three_appends())
    assert read(lines[:4])[0] == [ONE]
    events, problem = read(lines[:-1])
    assert events == [ONE, TWO, THREE, FOUR]
    assert "cut off" in str(problem)


def test_a_changed_line_is_noticed_by_the_checksum(tmp_path: Path) -> None:
    lines = export_of(three_appends())
    lines[2] = lines[2].replace(b"alice", b"mallory")
    with pytest.raises(TransferError, match="checksum does not match"):
        check(lines, tmp_path)
    reader = ExportReader(io.BytesIO(b"".join(lines)), trust_changes=True)
    assert [event.metadata for batch in reader.batches() for event in batch][1] == b'{"actor":"mallory"}'


def test_a_wrong_count_is_noticed(tmp_path: Path) -> None:
    lines = export_of(three_appends())
    lines[-1] = lines[-1].replace(b'"events":5', b'"events":6')
    with pytest.raises(TransferError, match="counts 6 events, but 5"):
        check(lines, tmp_path)


def test_nothing_may_follow_the_summary(tmp_path: Path) -> None:
    lines = [*export_of(three_appends()), b"\n"]
    with pytest.raises(TransferError, match="follows the summary"):
        check(lines, tmp_path)


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.operations.transfer.reading._LONGEST_LINE", 1_000)
    lines = [export_of([])[0], b"x" * 5_000]
    assert "longer than 1,000 bytes" in str(read(lines)[1])
