"""Parquet files in folders by a field: `month=2026-01/`."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest

from refold import faults
from refold.app import App
from refold.errors import ConfigurationError, InvalidQuery, StoreCorrupt
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.conditions import checked, field
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Query
from refold.projections.sinks.parquet import open_parquet
from tests.projections.stores import Added, assert_equals_fold


class Volume(ReadModel, key=("month", "kind")):
    month: str
    kind: str
    count: int = 0

    @evolve(key=lambda event, recorded: (f"2026-{event.count % 3 + 1:02}", recorded.stream_key))
    def added(self, event: Added) -> None:
        self.count += event.count


class Daily(ReadModel, key=("day", "number")):
    day: datetime.date
    number: int
    note: str = ""

    @evolve(key=lambda event: (datetime.date(2026, 1, 1), event.count))
    def added(self, event: Added) -> None:
        self.note = "added"


class Happening(ReadModel, key="at"):
    at: datetime.datetime
    note: str = ""

    @evolve(key=lambda event, recorded: recorded.timestamp)
    def added(self, event: Added) -> None:
        self.note = "added"


VOLUME = read_model_of(Volume)
EVENTS: list[type[Event]] = [Added]
Counts = dict[tuple[str, str], int]


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[RowStore]:
    opened = await open_parquet(f"parquet://{tmp_path}?partition=month")
    await opened.prepare()
    await opened.create(VOLUME, "volume", {"volume": Standing(fingerprint=VOLUME.fingerprint, epoch=1)})
    yield opened
    await opened.close()


async def write(rows: RowStore, position: int, page: Counts, *gone: tuple[str, str]) -> bool:
    """The page after a position, which is one position long."""
    new = [Volume(month=month, kind=kind, count=count) for (month, kind), count in page.items()]
    return await rows.write(VOLUME, "volume", new, gone, Move(position, position + 1, "x", 1))


async def read(rows: RowStore, *keys: tuple[str, str]) -> Counts:
    """By keys, or all; the two ways agree with each other."""
    stands, loaded, found = await rows.read(VOLUME, "volume", keys, Query(None))
    assert stands is not None
    given: list[Any] = list(loaded.rows.values()) if keys else found
    return {(each.month, each.kind): each.count for each in given}


def by_duckdb(folder: Path) -> Counts:
    with duckdb.connect() as database:
        database.execute((folder / "volume" / "view.sql").read_text(encoding="utf-8"))
        return {(month, kind): n for month, kind, n in database.execute("select * from volume").fetchall()}


def files(folder: Path, month: str = "*") -> list[Path]:
    return sorted(folder.glob(f"volume/*/month={month}/*.parquet"))


async def test_each_month_has_a_folder(rows: RowStore, tmp_path: Path) -> None:
    """Named as Hive does it, whatever the value is; each file says which positions are in it."""
    page = {("2026-01", "in"): 1, ("2026-02", "in"): 2, ("a/b=ü %", "in"): 3, ("", "in"): 4, ("..", "out"): 5}
    assert await write(rows, 0, page)
    assert {path.parent.name for path in files(tmp_path)} == {
        "month=2026-01",
        "month=2026-02",
        "month=a%2Fb%3D%C3%BC %25",
        "month=",
        "month=..",
    }
    assert all("_0-1_1-rows_0-deleted_" in path.name for path in files(tmp_path))
    assert await read(rows) == await read(rows, *page) == by_duckdb(tmp_path) == page
    where = checked(VOLUME, [field("month") == "2026-02"], {})
    assert await rows.count(VOLUME, "volume", where) == 1


async def test_other_tools_read_the_folders(rows: RowStore, tmp_path: Path) -> None:
    """A reader that prunes by folder finds what the folder says, and the same in its files."""
    assert await write(rows, 0, {("2026-01", "in"): 1, ("2026-02", "in"): 2, ("a/b=ü %", "in"): 3})
    generation = files(tmp_path)[0].parents[1]
    with duckdb.connect() as database:
        query = (
            f"select month, count from read_parquet('{generation}/*/*.parquet', hive_partitioning = true, "
            "hive_types_autocast = false) where month = ?"
        )
        assert database.execute(query, ["2026-02"]).fetchall() == [("2026-02", 2)]
        assert database.execute(query, ["a/b=ü %"]).fetchall() == [("a/b=ü %", 3)]
    found = ds.dataset(generation, format="parquet", partitioning="hive", exclude_invalid_files=True)
    assert found.to_table(filter=ds.field("month") == "2026-02").column("count").to_pylist() == [2]


@pytest.mark.slow
async def test_each_folder_is_merged_by_itself(rows: RowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, and what was deleted does not come back, whoever reads."""
    monkeypatch.setattr("refold.projections.sinks.parquet_files._GRACE", -1.0)
    expected: Counts = {}
    for position in range(200):
        key = (f"2026-{position % 2 + 1:02}", f"{position * 7 % 20}")
        gone = (f"2026-{position // 3 % 3 + 1:02}", f"{position * 11 % 20}")
        assert await write(rows, position, {key: position}, *([gone] if gone != key else []))
        expected[key] = position
        if gone != key:
            expected.pop(gone, None)
        if position % 25 == 24:
            assert await read(rows) == await read(rows, *expected, gone) == by_duckdb(tmp_path) == expected
            assert await rows.count(VOLUME, "volume", None) == len(expected)
    for month in ("2026-01", "2026-02", "2026-03"):
        assert 0 < len(files(tmp_path, month)) < 20
    # Nobody has to know of what was deleted when there is nothing older.
    assert any("_0-deleted_" in path.name for path in files(tmp_path, "2026-03"))


async def test_a_row_that_was_deleted_lately_stays_deleted(
    rows: RowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the large file with the row is not merged with the small ones that say that it was deleted."""
    monkeypatch.setattr("refold.projections.sinks.parquet_files._SMALL", 1)
    page = {("2026-01", f"{number:05}"): number for number in range(20_000)}
    assert await write(rows, 0, page)
    for position in range(1, 20):
        assert await write(rows, position, {}, ("2026-01", f"{position:05}"))
        del page[("2026-01", f"{position:05}")]
    assert any(path.name.startswith("0000000002_0000000017_") for path in files(tmp_path))
    assert await read(rows) == by_duckdb(tmp_path) == page
    assert await read(rows, ("2026-01", "00001"), ("2026-01", "00020")) == {("2026-01", "00020"): 20}


class Stopped(Exception):
    """Stands for the death of a process, whose files stay as they are."""


@pytest.mark.parametrize("point", ["parquet.merge_written", "parquet.merge_named"])
async def test_a_merge_that_was_broken_off(point: str, rows: RowStore, tmp_path: Path) -> None:
    def stop(passed: str) -> None:
        if passed == point:
            raise Stopped

    faults.install(stop)
    written = 0
    try:
        with pytest.raises(Stopped):
            for position in range(40):
                written = position + 1
                await write(rows, position, {("2026-01", f"{position}"): position, ("2026-02", "a"): position})
    finally:
        faults.install(None)
    expected = {("2026-01", f"{number}"): number for number in range(written)} | {("2026-02", "a"): written - 1}
    assert await read(rows) == by_duckdb(tmp_path) == expected
    assert await write(rows, written, {}, ("2026-02", "a"))
    del expected[("2026-02", "a")]
    assert await read(rows) == by_duckdb(tmp_path) == expected
    assert not list(tmp_path.glob("volume/*/.*.tmp"))


async def test_a_page_of_which_some_files_have_their_names_does_not_count(rows: RowStore, tmp_path: Path) -> None:
    """Neither here nor in the view of DuckDB; the next page clears them away."""
    assert await write(rows, 0, {("2026-01", "in"): 1, ("2026-02", "in"): 2})

    def stop(passed: str) -> None:
        if passed == "parquet.part_named":
            raise Stopped

    faults.install(stop)
    try:
        with pytest.raises(Stopped):
            await write(rows, 1, {("2026-01", "in"): 8, ("2026-02", "in"): 9})
    finally:
        faults.install(None)
    assert len(files(tmp_path)) == 3
    before = {("2026-01", "in"): 1, ("2026-02", "in"): 2}
    assert await read(rows) == await read(rows, *before) == by_duckdb(tmp_path) == before
    assert await write(rows, 1, {("2026-02", "in"): 5})
    assert await read(rows) == by_duckdb(tmp_path) == {("2026-01", "in"): 1, ("2026-02", "in"): 5}
    assert len(files(tmp_path)) == 3


async def test_a_file_that_is_gone(rows: RowStore, tmp_path: Path) -> None:
    """Nobody knows which rows were in it, so the table is not there any more: it is filled from the beginning."""
    assert await write(rows, 0, {("2026-01", "in"): 1, ("2026-02", "in"): 2})
    files(tmp_path, "2026-01")[0].unlink()
    assert await rows.standing("volume") is None


async def test_a_damaged_manifest_is_named(rows: RowStore, tmp_path: Path) -> None:
    next(tmp_path.glob("volume/*/manifest.json")).write_text("{")
    with pytest.raises(StoreCorrupt, match=r"manifest\.json is damaged .*rebuild the read model"):
        await rows.standing("volume")


async def test_dates_and_numbers_name_folders(tmp_path: Path) -> None:
    daily = read_model_of(Daily)
    days = [datetime.date(2026, 1, 1), datetime.date(1, 1, 1)]
    for partition, names in (("day", {"day=2026-01-01", "day=0001-01-01"}), ("number", {"number=7", "number=-7"})):
        opened = await open_parquet(f"parquet://{tmp_path}/{partition}?partition={partition}")
        await opened.prepare()
        await opened.create(daily, "daily", {"daily": Standing(fingerprint=daily.fingerprint, epoch=1)})
        page = [Daily(day=day, number=number, note="x") for day, number in zip(days, (7, -7), strict=True)]
        assert await opened.write(daily, "daily", page, [], Move(0, 1, "x", 1))
        assert {path.parent.name for path in tmp_path.glob(f"{partition}/daily/*/*/*.parquet")} == names
        assert (await opened.load(daily, "daily", [(days[1], -7)])).rows == {(days[1], -7): page[1]}
        assert await opened.write(daily, "daily", [], [(days[1], -7)], Move(1, 2, "x", 1))
        assert await opened.count(daily, "daily", None) == 1


async def test_what_rows_cannot_be_parted_by(tmp_path: Path, rows: RowStore) -> None:
    for model, partition, said in (
        (Volume, "count", r"'volume' cannot be partitioned by 'count', which is no field of its key \(month, kind\)"),
        (Volume, "year", "by 'year', which is no field of its key"),
        (Happening, "at", "folders are named by a text, a whole number, a date or a UUID"),
    ):
        definition = read_model_of(model)
        opened = await open_parquet(f"parquet://{tmp_path}?partition={partition}")
        with pytest.raises(ConfigurationError, match=said):
            await opened.create(definition, "other", {"other": Standing(fingerprint="x", epoch=1)})
    with pytest.raises(InvalidQuery, match="too long for the name of a folder"):
        await write(rows, 0, {("2026-01", "in"): 1, ("x" * 300, "in"): 1})
    assert await read(rows) == {}
    assert not list(tmp_path.glob("volume/*/.*.tmp"))


async def test_a_table_keeps_its_folders_until_it_is_rebuilt(tmp_path: Path) -> None:
    """Another line in the configuration is for what is made from then on."""
    app = App("volumes", read_models=[Volume], events=EVENTS)
    log, place = f"sqlite:///{tmp_path}/log.db", f"parquet://{tmp_path}/rows"
    async with app.connect(log, sinks={"volume": place}, lease=1.0) as context:
        for number in range(6):
            await context.append("stock-a", [Added(count=number)])
        await assert_equals_fold(context)
    async with app.connect(log, sinks={"volume": f"{place}?partition=month"}, lease=1.0) as context:
        await context.append("stock-a", [Added(count=7)])
        await assert_equals_fold(context)
        assert not files(tmp_path / "rows")
        await context.rebuild(Volume)
        await assert_equals_fold(context)
        assert len(files(tmp_path / "rows")) == 3
        await context.rollback(Volume)
        await context.append("stock-b", [Added(count=8)])
        await assert_equals_fold(context)
