"""A store that cannot be used is one line that says which, why, and what to do; no password is in it."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.cli.project import Project
from tests.cli.runner import Done, assert_refused, command, environment, refold, refold_here
from tests.servers import PostgresServer

STORE, DATA, USAGE = 3, 4, 2
LOOKS = ["status", "streams", "verify"]
SQLITE = pytest.mark.parametrize("project", ["sqlite"], indirect=True)

WRONG_LOGIN = ":".join(["clerk", "s3cret-guess"])


@pytest.mark.parametrize("arguments", [["status"], ["streams"], ["verify"], ["export", "log.jsonl"]])
def test_looking_at_a_file_that_is_not_there_does_not_create_it(arguments: list[str], tmp_path: Path) -> None:
    done = refold_here(*arguments, "--url", "sqlite:///nowhere.db", cwd=tmp_path)
    assert_refused(done, STORE, "sqlite:///nowhere.db does not exist")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert_refused(
        refold_here("migrate", "--url", "sqlite:///nowhere/bank.db", cwd=tmp_path),
        STORE,
        "nowhere/bank.db cannot be opened: its folder does not exist",
    )


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "bank.db").write_text("This is not a database, but it is long enough to be read as one." * 100)
    for arguments in (["status"], ["migrate"], ["worker", "--app", "tests.domain:bank"]):
        done = refold(*arguments, "--url", "sqlite:///bank.db", cwd=tmp_path)
        assert_refused(done, DATA, "bank.db is not a SQLite database, or is damaged")


def test_a_database_of_another_program(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "bank.db")
    connection.execute("create table customers (id integer)")
    connection.close()
    for arguments in (["status"], ["migrate"]):
        done = refold_here(*arguments, "--url", "sqlite:///bank.db", cwd=tmp_path)
        assert_refused(done, DATA, "bank.db is a database of another program")


@SQLITE
def test_a_damaged_file(accounts: Project) -> None:
    path = accounts.folder / "bank.db"
    damaged = bytearray(path.read_bytes())
    for page in range(4096 * 2, len(damaged), 4096):
        damaged[page : page + 200] = os.urandom(200)
    path.write_bytes(damaged)
    done = accounts.refold("verify")
    assert done.code in (1, DATA), done
    assert "Traceback" not in done.err
    assert (done.out + done.err).count("damaged") or "WRONG    file" in done.out


@SQLITE
@pytest.mark.parametrize(("version", "advice"), [(0, "`refold migrate`"), (999, "or a newer one")])
def test_a_schema_of_another_version(version: int, advice: str, accounts: Project) -> None:
    connection = sqlite3.connect(accounts.folder / "bank.db")
    connection.execute(f"pragma user_version = {version}")
    connection.close()
    done = accounts.refold("status")
    assert_refused(done, STORE, f"has schema version {version}", advice)


@pytest.mark.parametrize("project", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_a_schema_from_the_future_on_postgres(accounts: Project) -> None:
    with psycopg.connect(accounts.url, autocommit=True) as connection:
        connection.execute("insert into refold.schema_version values (999)")
    for arguments in (["status"], ["migrate"], ["worker", "--once"]):
        assert_refused(accounts.refold(*arguments), STORE, "has schema version 999", "or a newer one")


@pytest.mark.slow
@SQLITE
def test_a_file_system_that_is_read_only(accounts: Project) -> None:
    # Permissions do not bind root; a file system that is mounted read-only binds everybody.
    folder = accounts.folder
    script = f'mount --bind "{folder}" "{folder}" && mount -o remount,ro,bind "{folder}" && cd "{folder}" && exec "$@"'
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, "bash"]
    if subprocess.run([*isolated, "true"], check=False, capture_output=True).returncode:
        isolated.remove("--user")
        isolated.remove("--map-root-user")
    if subprocess.run([*isolated, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a folder read-only")
    for arguments in (["rebuild", "account_summary"], ["worker"], ["import", "-"]):
        run = subprocess.run(
            [*isolated, *command(*arguments)], check=False, env=environment(), capture_output=True, text=True
        )
        assert_refused(
            Done(run.returncode, run.stdout, run.stderr), STORE, "cannot be opened for writing (Read-only file system)"
        )


@SQLITE
def test_a_disk_that_is_full(accounts: Project) -> None:
    # A limit on the size of files stands in for the disk; the log and its export are longer than it.
    accounts.refold("export", "log.jsonl")
    lines = (accounts.folder / "log.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    long = lines[1].replace('"owner":"alice"', f'"owner":"{"x" * 3_000_000}"')
    (accounts.folder / "long.jsonl").write_text("".join([lines[0], long, *lines[2:]]), encoding="utf-8")
    limited = ["bash", "-c", 'ulimit -f 2000; exec "$@"', "bash"]
    arguments = ["import", "long.jsonl", "--trust-changes", "--url", "sqlite:///target.db"]
    run = subprocess.run(
        [*limited, *command(*arguments)],
        check=False,
        cwd=accounts.folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert_refused(Done(run.returncode, run.stdout, run.stderr), STORE, "target.db", "full")
    assert accounts.refold("status", "--url", "sqlite:///target.db", "--json").json["head"] == 0
    assert accounts.refold(*arguments).code == 0


@pytest.mark.postgres
class TestPostgres:
    def test_looking_does_not_make_a_log(self, postgres18: PostgresServer, tmp_path: Path) -> None:
        url = postgres18.create_database("cli_empty")
        for arguments in (["status"], ["streams"], ["verify"], ["export", "log.jsonl"]):
            done = refold(*arguments, "--url", url, cwd=tmp_path)
            assert_refused(done, STORE, "cli_empty has schema version 0", "run `refold migrate`")
        with psycopg.connect(url) as connection:
            assert connection.execute("select count(*) from pg_namespace where nspname = 'refold'").fetchone() == (0,)
        postgres18.drop_database("cli_empty")

    def test_a_wrong_password(self, postgres18: PostgresServer, tmp_path: Path) -> None:
        url = postgres18.url().replace("postgres://", "postgresql://")
        host = url.rpartition("@")[2].partition("/")[0]
        with psycopg.connect(postgres18.url(), autocommit=True) as connection:
            connection.execute("drop role if exists clerk")
            connection.execute("create role clerk login password 'right'")
        done = refold("streams", "--url", f"postgresql://{WRONG_LOGIN}@{host}/postgres", cwd=tmp_path)
        if done.code == 0:
            pytest.fail("the test server does not ask for passwords")
        assert_refused(done, STORE, f"postgresql://clerk@{host}/postgres")
        assert "s3cret-guess" not in done.err

    def test_a_database_that_is_not_there(self, postgres18: PostgresServer, tmp_path: Path) -> None:
        done = refold("streams", "--url", postgres18.url("nowhere"), cwd=tmp_path)
        assert_refused(done, STORE, 'database "nowhere" does not exist', "create it first")

    def test_a_server_that_is_down(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        done = refold("streams", "--url", f"postgresql://clerk:s3cret@127.0.0.1:{port}/bank", cwd=tmp_path)
        assert_refused(done, STORE, f"postgresql://clerk@127.0.0.1:{port}/bank cannot be reached")
        assert "s3cret" not in done.err

    def test_a_parameter_that_is_not_one(self, postgres18: PostgresServer, tmp_path: Path) -> None:
        done = refold("streams", "--url", f"{postgres18.url()}?colour=red", cwd=tmp_path)
        assert_refused(done, USAGE, "colour")
