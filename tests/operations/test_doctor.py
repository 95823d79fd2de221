"""The doctor finds what works against the promises, and says what to do about it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

import pytest

from refold import App, Event, ReadModel, evolve
from refold.operations.doctor import doctor
from refold.store.health import Check
from tests.domain import AccountSummary, bank
from tests.operations.tampering import PostgresTamperer
from tests.servers import PostgresServer


def ill(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks if check.health != "ok"}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A bank's SQLite file."""
    path = tmp_path / "bank.db"
    async with bank.connect(f"sqlite:///{path}"):
        pass
    return path


async def test_a_well_store_and_app_need_nothing(file: Path) -> None:
    checks = await doctor(f"sqlite:///{file}", bank)
    assert ill(checks) == {}
    found = {check.name: check.detail for check in checks}
    assert found["app"] == "bank: 1 aggregate, 2 read models, 4 events"
    assert found["table account_summary"] == "account_id text, owner text, balance decimal, movements integer"
    assert found["schema"].startswith("version ")
    assert found["projection account_summary"] == "no worker at position 0, 0 behind"


async def test_the_doctor_changes_nothing(tmp_path: Path) -> None:
    checks = await doctor(f"sqlite:///{tmp_path}/nowhere.db", None)
    assert ill(checks)["file"].advice == "`refold migrate` creates it"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "name", "advice"),
    [
        ("drop trigger events_are_not_updated", "triggers", "`refold verify`"),
        ("drop index events_stream_version", "indexes", "restore"),
        ("pragma user_version = 999", "schema", "or a newer one"),
        ("pragma application_id = 7", "schema", "see what it says"),
    ],
)
async def test_a_file_that_somebody_changed(change: str, name: str, advice: str, file: Path) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(change)
    connection.close()
    found = ill(await doctor(f"sqlite:///{file}", None))
    assert found[name].health == "error"
    assert advice in found[name].advice


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bank.db").write_bytes(b"no database at all, and long enough to be read " * 100)
    found = ill(await doctor(f"sqlite:///{tmp_path}/bank.db", None))
    assert "not a SQLite database" in found["schema"].detail


async def test_who_writes_the_file_is_said_and_not_disturbed(file: Path) -> None:
    async with bank.connect(f"sqlite:///{file}"):
        checks = {check.name: check for check in await doctor(f"sqlite:///{file}", None)}
        assert checks["writer"] == Check("writer", "ok", f"process {os.getpid()} has it open for writing")
    checks = {check.name: check for check in await doctor(f"sqlite:///{file}", None)}
    assert checks["writer"].detail == "no process has it open for writing"
    with file.with_name("bank.db.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_store_in_memory_is_no_place_for_a_log() -> None:
    assert ill(await doctor("sqlite:///:memory:", None))["file"].health == "error"


class Thing(Event):
    size: int


class ThingsBySize(ReadModel, key="size"):
    size: float
    count: int = 0

    @evolve(key="size")
    def thing(self, event: Thing) -> None:
        self.count += 1


async def test_a_read_model_that_cannot_be_a_table_is_named(file: Path) -> None:
    found = ill(await doctor(f"sqlite:///{file}", App("things", read_models=[ThingsBySize])))
    assert "key field 'size'" in found["table things_by_size"].detail


async def test_projections_that_stand_still_are_named(file: Path) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("update refold_checkpoints set status = 'stopped', error = 'it broke' where position = 0")
    connection.close()
    found = ill(await doctor(f"sqlite:///{file}", bank))
    assert found["projection account_summary"].advice == "it broke"


OF_THE_TESTS = {"fsync", "full_page_writes"}
"""The server that tests share is fast and unsafe."""


async def test_a_well_store_on_postgres(fresh_database: str) -> None:
    assert ill(await doctor(fresh_database, bank)).keys() - OF_THE_TESTS == {"schema"}
    async with bank.connect(fresh_database) as context:
        await context.count(AccountSummary)
    found = ill(await doctor(fresh_database, bank))
    assert found.keys() == OF_THE_TESTS
    assert found["fsync"].health == "error"


async def test_a_store_on_postgres_without_guards(fresh_database: str) -> None:
    async with bank.connect(fresh_database):
        pass
    PostgresTamperer(fresh_database).remove_guards()
    found = ill(await doctor(fresh_database, bank))
    assert found["triggers"].health == "error"
    assert found["grants"].health == "warning"


@pytest.mark.postgres
async def test_a_database_that_is_not_there_is_one_error(postgres18: PostgresServer) -> None:
    url = postgres18.url("nowhere")
    found = ill(await doctor(url, bank))
    assert list(found) == ["connection"]


async def test_what_is_wrong_with_the_log_hides_no_read_model(file: Path) -> None:
    """A setting that is against the promises is no reason to say nothing of a store that is away."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("drop trigger events_are_not_updated")
    connection.close()
    checks = await doctor(f"sqlite:///{file}", bank, sinks={"account_summary": "redis://127.0.0.1:1/0"})
    assert {"triggers", "sink account_summary"} <= ill(checks).keys()
    assert "cannot be reached" in ill(checks)["sink account_summary"].detail
    assert "open" not in ill(checks)
