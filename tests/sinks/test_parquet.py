"""Read models in Parquet files: the contract of sinks, and what becomes of rows when processes die and files go."""

from __future__ import annotations

import asyncio
import resource
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import duckdb
import pytest

from refold import faults
from refold.errors import (
    ConfigurationError,
    StaleRead,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from refold.folds.read_model import ReadModelDefinition
from refold.projections.checkpoint import Move
from refold.projections.external import ExternalSink
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Query, Sink, building, previous
from refold.projections.sinks.memory import MemorySink
from refold.projections.sinks.parquet import ParquetRows, open_parquet
from refold.testing.memory import MemoryStore
from refold.testing.sink_contract import SinkContract
from tests.faults.points import points_of
from tests.projections.stores import Stock, assert_equals_fold, until
from tests.sinks.common import (
    STOCK,
    assert_readers_never_see_old_rows,
    assert_survives,
    assert_too_large_is_named,
    connected,
    error_of,
    fill,
    made,
    points,
    reads,
)
from tests.sinks.common import opened as row_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "read models"


@pytest.fixture
def url(folder: Path) -> str:
    return f"parquet://{folder.as_posix().replace(' ', '%20')}"


@pytest.fixture(params=["", "?partition=item"], ids=["whole", "partitioned"])
def either_url(request: pytest.FixtureRequest, url: str) -> str:
    return f"{url}{request.param}"


class TestParquet(SinkContract):
    @pytest.fixture
    async def sink(self, url: str) -> AsyncIterator[Sink]:
        store, rows = MemoryStore(), await open_parquet(url)
        yield ExternalSink(store, MemorySink(store), rows)
        await rows.close()
        await store.close()


class _PartedByKey(ParquetRows):
    """Each read model by the first field of its key, whatever that is."""

    async def create(self, definition: ReadModelDefinition, table: str, standings: Mapping[str, Standing]) -> None:
        self._partition = definition.key[0]
        self._folder(table)._partition = self._partition
        await super().create(definition, table, standings)


class TestParquetPartitioned(SinkContract):
    @pytest.fixture
    async def sink(self, folder: Path) -> AsyncIterator[Sink]:
        store = MemoryStore()
        yield ExternalSink(store, MemorySink(store), _PartedByKey(folder))
        await store.close()

    async def test_many_rows_at_once(self, sink: Sink) -> None:
        """Not here, where each row would have a folder of its own."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RowStore]:
    async with row_store(url) as rows:
        await rows.prepare()
        yield rows


# Merges: see test_a_merge_that_was_broken_off. A part of a page: see test_killed_in_partitions.
IN_OTHER_TESTS = {"parquet.merge_written", "parquet.merge_named", "parquet.part_named"}


@pytest.mark.slow
@pytest.mark.parametrize("point", points("parquet.", but={"external.rows_before_checkpoint", *IN_OTHER_TESTS}))
async def test_killed(point: str, tmp_path: Path, url: str) -> None:
    await assert_survives(point, tmp_path, url)


@pytest.mark.slow
@pytest.mark.parametrize("point", [point for point in points_of("parquet.") if "merge" not in point])
async def test_killed_in_partitions(point: str, tmp_path: Path, url: str) -> None:
    """Also with some files of a page named, and some not: then none of it counts."""
    await assert_survives(point, tmp_path, f"{url}?partition=item")


class Stopped(Exception):
    """Stands for the death of a process, whose files stay as they are."""


@pytest.mark.parametrize("point", ["parquet.merge_written", "parquet.merge_named"])
async def test_a_merge_that_was_broken_off(point: str, url: str, folder: Path) -> None:
    """The page before it was written: the checkpoint says so, and the rows are the same."""

    def stop(passed: str) -> None:
        if passed == point:
            raise Stopped

    async with opened(url) as rows:
        await made(rows)
        faults.install(stop)
        try:
            with pytest.raises(Stopped):
                for position in range(1, 30):
                    page = [Stock(item=f"{position % 3}", count=position)]
                    assert await rows.write(STOCK, "stock", page, [], Move(position - 1, position, "x", 1))
        finally:
            faults.install(None)
        stands, _, found = await rows.read(STOCK, "stock", [], Query(None))
        assert stands is not None
        at = stands.position
        assert at > 2
        assert {(each.item, each.count) for each in found} == {(f"{n % 3}", n) for n in (at, at - 1, at - 2)}  # type: ignore[attr-defined]
        assert await rows.write(STOCK, "stock", [], [("0",), ("1",)], Move(at, at + 1, "x", 1))
        assert await rows.count(STOCK, "stock", None) == 1
        assert not list(folder.glob("stock/*/.*.tmp"))


@pytest.mark.slow
async def test_many_pages_become_few_files(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what they say is lost, and deleted rows do not come back, neither here nor for other tools."""
    monkeypatch.setattr("refold.projections.sinks.parquet_files._GRACE", -1.0)
    expected: dict[str, int] = {}
    async with opened(url) as rows:
        await made(rows)
        for position in range(1, 200):
            page = [Stock(item=f"{position * 7 % 40}", count=position)]
            gone = f"{position * 11 % 40}"
            deleted = [(gone,)] if gone != page[0].item else []
            assert await rows.write(STOCK, "stock", page, deleted, Move(position - 1, position, "x", 1))
            expected[page[0].item] = position
            if deleted:
                expected.pop(gone, None)
            if position % 20 == 0:
                _, loaded, found = await rows.read(STOCK, "stock", [(f"{n}",) for n in range(40)], Query(None))
                assert {each.item: each.count for each in found} == expected  # type: ignore[attr-defined]
                assert {each.item: each.count for each in loaded.rows.values()} == expected  # type: ignore[attr-defined]
                assert await rows.count(STOCK, "stock", None) == len(expected)
                assert _by_duckdb(folder) == expected
        assert len(list(folder.glob("stock/*/*.parquet"))) < 40


def _by_duckdb(folder: Path) -> dict[str, int]:
    with duckdb.connect() as database:
        database.execute((folder / "stock" / "view.sql").read_text(encoding="utf-8"))
        return dict(database.execute("select item, count from stock").fetchall())


async def test_the_folder_goes_and_comes_back(tmp_path: Path, either_url: str, folder: Path) -> None:
    """As a disk that is mounted late: commands go on; the projection says that it waits, and goes on by itself."""
    async with connected(tmp_path, either_url) as context:
        await fill(context)
        await assert_equals_fold(context)
        folder.rename(tmp_path / "away")
        last = await fill(context)
        with pytest.raises((StaleRead, StoreUnavailable)):
            await context.get(Stock, "1", after=last, timeout=0.3)

        async def said_in_status() -> bool:
            return "is its disk mounted?" in await error_of(context)

        await until(said_in_status, "the reason to be shown")
        (tmp_path / "away").rename(folder)
        await until(lambda: reads(context), "reads to be answered again")
        await assert_equals_fold(context)


@pytest.mark.parametrize("how", ["the last files", "one in the middle", "an older copy"])
async def test_it_lost_its_last_writes(how: str, tmp_path: Path, either_url: str, folder: Path) -> None:
    """It goes back, and the rows are right again."""
    async with connected(tmp_path, either_url) as context:
        await fill(context, 5)
        await assert_equals_fold(context)
        shutil.copytree(folder, tmp_path / "earlier")
        for _ in range(4):
            await fill(context, 3)
            await assert_equals_fold(context)
    if how == "an older copy":
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "earlier", folder)
    else:
        files = sorted(folder.glob("stock/*/**/*.parquet"))
        assert len(files) > 3
        for file in files[-2:] if how == "the last files" else files[-3:-2]:
            file.unlink()
    async with connected(tmp_path, either_url) as context:
        await assert_equals_fold(context)
        await fill(context, 3)
        await assert_equals_fold(context)


@pytest.mark.parametrize("what", ["the read model", "its rows", "the whole content"])
async def test_emptied_behind_our_back(what: str, tmp_path: Path, either_url: str, folder: Path) -> None:
    async with connected(tmp_path, either_url) as context:
        await fill(context)
        await assert_equals_fold(context)
        emptied = {"the read model": "stock", "its rows": "stock/*/*", "the whole content": "*"}[what]
        for path in list(folder.glob(emptied)):
            path.rename(tmp_path / f"gone-{path.name}")
        await fill(context, 3)
        await until(lambda: reads(context), "the table to be made anew")
        await assert_equals_fold(context)


async def test_a_stale_owner_writes_nothing(either_url: str) -> None:
    """One that stood still while another took over, each with its own view of the folder."""
    async with opened(either_url) as rows, opened(either_url) as other:
        await made(rows)
        assert await rows.write(STOCK, "stock", [Stock(item="a", count=1)], [], Move(0, 1, "x", 1))
        assert (await other.fence("stock", 2)) == Standing(
            position=1, append_id="x", fingerprint=STOCK.fingerprint, epoch=2
        )
        assert not await rows.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(1, 2, "y", 1))
        assert await other.write(STOCK, "stock", [Stock(item="a", count=2)], [], Move(1, 2, "y", 2))
        assert not await other.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(1, 2, "y", 2))
        assert (await rows.load(STOCK, "stock", [("a",)])).rows == {("a",): Stock(item="a", count=2)}
        assert (await rows.fence("stock", 1)) == (await rows.standing("stock"))
        # Not even into a table that took the place of its own.
        await made(other, building("stock"), 7)
        assert await other.switch(STOCK, building("stock"), "stock", previous("stock"))
        assert not await rows.write(STOCK, "stock", [Stock(item="a", count=9)], [], Move(2, 3, "z", 2))


async def test_several_writers_at_once(either_url: str) -> None:
    """Of those that write from the same position one is believed, however many try."""
    async with opened(either_url) as one, opened(either_url) as other:
        await made(one)
        for position in range(1, 20):
            done = await asyncio.gather(
                *(
                    store.write(
                        STOCK, "stock", [Stock(item="a", count=number)], [], Move(position - 1, position, "", 1)
                    )
                    for number, store in enumerate((one, other, one, other))
                )
            )
            assert done.count(True) == 1
            assert (await one.load(STOCK, "stock", [("a",)])).rows[("a",)].count == done.index(True)  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_readers_never_see_old_rows_after_a_newer_standing(either_url: str) -> None:
    async with opened(either_url) as rows:
        await assert_readers_never_see_old_rows(rows, 60)


async def test_what_no_table_needs_any_more_is_cleared_away(either_url: str, folder: Path) -> None:
    async with opened(either_url) as rows:
        for number in range(4):
            await made(rows, building("stock"))
            page = [Stock(item="a", count=number)]
            assert await rows.write(STOCK, building("stock"), page, [], Move(0, 1, "x", 1))
            assert await rows.switch(STOCK, building("stock"), "stock", None)
        assert sum(path.is_dir() for path in (folder / "stock").iterdir()) == 1
        await rows.drop("stock")
        assert not any(path.is_dir() for path in (folder / "stock").iterdir())
        assert await rows.standing("stock") is None


async def test_a_damaged_file_is_named(url: str, folder: Path) -> None:
    async with opened(url) as rows:
        await made(rows)
        assert await rows.write(STOCK, "stock", [Stock(item="a", count=1)], [], Move(0, 1, "x", 1))
    file = next(folder.glob("stock/*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    async with opened(url) as rows:
        with pytest.raises(StoreCorrupt, match=r"\.parquet is damaged .*rebuild the read model"):
            await rows.standing("stock")


@contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """Stands for a full disk: files cannot become larger than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk(url: str, folder: Path) -> None:
    """Nothing of the page is written or left over; merging waits until there is room."""
    async with opened(url) as rows:
        await made(rows)
        many = [Stock(item=f"{item:06}", count=item) for item in range(20_000)]
        with no_more_than(20_000):
            with pytest.raises(StoreFull, match=r"parquet in .* is full"):
                await rows.write(STOCK, "stock", many, [], Move(0, 1, "x", 1))
            assert [path.name for path in folder.glob("stock/*/*")] == ["begin.json"]
            for position in range(20):
                page = many[position * 1_000 : position * 1_000 + 1_000]
                assert await rows.write(STOCK, "stock", page, [], Move(position, position + 1, "x", 1))
            assert len(list(folder.glob("stock/*/*.parquet"))) == 20
        assert await rows.write(STOCK, "stock", [], [("000000",)], Move(20, 21, "x", 1))
        assert len(list(folder.glob("stock/*/*.parquet"))) == 22
        assert await rows.count(STOCK, "stock", None) == 19_999


async def test_what_lies_behind_a_gap_never_comes_back(url: str, folder: Path) -> None:
    async with opened(url) as rows:
        await made(rows)
        for position in range(1, 5):
            page = [Stock(item=f"{position}", count=position)]
            assert await rows.write(STOCK, "stock", page, [], Move(position - 1, position, "x", 1))
        next(folder.glob("stock/*/*2_*_1-2_*.parquet")).unlink()
        stands = await rows.standing("stock")
        assert stands is not None
        assert stands.position == 1
        assert await rows.write(STOCK, "stock", [Stock(item="2", count=7)], [], Move(1, 9, "y", 1))
        stands, _, found = await rows.read(STOCK, "stock", [], Query(None))
        assert stands is not None
        assert stands.position == 9
        assert {(each.item, each.count) for each in found} == {("1", 1), ("2", 7)}  # type: ignore[attr-defined]
        assert _by_duckdb(folder) == {"1": 1, "2": 7}


async def test_a_row_that_was_deleted_lately_stays_deleted(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the large file with the row is not merged with the small ones that say that it was deleted."""
    monkeypatch.setattr("refold.projections.sinks.parquet_files._SMALL", 1)
    async with opened(url) as rows:
        await made(rows)
        many = [Stock(item=f"{item:06}", count=item) for item in range(20_000)]
        assert await rows.write(STOCK, "stock", many, [], Move(0, 1, "x", 1))
        for position in range(1, 20):
            assert await rows.write(STOCK, "stock", [], [(f"{position:06}",)], Move(position, position + 1, "x", 1))
        assert len(list(folder.glob("stock/*/0000000002_0000000017_*.parquet"))) == 1
        assert await rows.count(STOCK, "stock", None) == 20_000 - 19
        assert (await rows.load(STOCK, "stock", [("000001",), ("000020",)])).rows.keys() == {("000020",)}
        assert len(_by_duckdb(folder)) == 20_000 - 19


async def test_deleted_while_old_files_are_cleared_away(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads all files does not see a deleted row again, although the clearing away was broken off."""
    monkeypatch.setattr("refold.projections.sinks.parquet_files._GRACE", -1.0)
    removed: list[Path] = []
    unlink = Path.unlink

    def once(path: Path, missing_ok: bool = False) -> None:
        if removed:
            raise Stopped
        removed.append(path)
        unlink(path, missing_ok)

    async with opened(url) as rows:
        await made(rows)
        for position in range(1, 17):
            page, gone = ([], [("1",)]) if position == 16 else ([Stock(item=f"{position}", count=position)], [])
            assert await rows.write(STOCK, "stock", page, gone, Move(position - 1, position, "x", 1))
        assert len(list(folder.glob("stock/*/*.parquet"))) == 17
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", once)
            with pytest.raises(Stopped):
                await rows.write(STOCK, "stock", [], [("2",)], Move(16, 17, "x", 1))
        assert _by_duckdb(folder).keys() == {f"{position}" for position in range(2, 16)}
        assert await rows.write(STOCK, "stock", [], [("2",)], Move(16, 17, "x", 1))
        assert _by_duckdb(folder).keys() == {f"{position}" for position in range(3, 16)}
        assert len(list(folder.glob("stock/*/*.parquet"))) == 2


async def test_wrong_places(tmp_path: Path) -> None:
    """One line each."""
    for url in (
        "parquet://",
        "parquet:///",
        "parquet://host/folder",
        "parquet:///f?compress=yes",
        "parquet:///f?partition=",
    ):
        with pytest.raises(ConfigurationError, match="use parquet:///path"):
            await open_parquet(url)
    (tmp_path / "file").write_text("mine")
    rows = await open_parquet(f"parquet://{tmp_path}/file")
    with pytest.raises(ConfigurationError, match="is no folder") as problem:
        await rows.prepare()
    assert "\n" not in str(problem.value)


async def test_something_that_is_not_ours(url: str, folder: Path) -> None:
    """It is left as it is."""
    (folder / "stock").mkdir(parents=True)
    (folder / "stock" / "notes.txt").write_text("mine")
    async with opened(url) as rows:
        with pytest.raises(ConfigurationError, match="not ours"):
            await made(rows)
        await rows.drop("stock")
    assert [path.name for path in (folder / "stock").iterdir()] == ["notes.txt"]


@pytest.mark.slow
async def test_a_row_too_large(tmp_path: Path, url: str) -> None:
    await assert_too_large_is_named(tmp_path, url, "bytes, and Parquet is to keep")
