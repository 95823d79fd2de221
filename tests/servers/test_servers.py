"""The servers that other tests stand on: they start, crash, come back on the same port, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.servers import OpenSearchServer, PgBouncer, PostgresServer, ports
from tests.servers.postgres import clear_abandoned
from tests.servers.processes import alive, wait_until

ROOT = Path(__file__).parents[2]


def numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]


def store_number(url: str, number: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (n integer)")
        connection.execute("INSERT INTO numbers VALUES (%s)", (number,))


def test_a_fresh_database_is_empty_and_real(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def test_passwords_are_checked(postgres_server: PostgresServer) -> None:
    wrong = postgres_server.url().replace(postgres_server.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


@pytest.mark.parametrize("crash", ["kill", "immediate", "fast"])
def test_what_was_committed_survives_a_crash_on_the_same_port(own_postgres: PostgresServer, crash: str) -> None:
    url = own_postgres.create_database("crashes")
    store_number(url, 1)
    if crash == "kill":
        own_postgres.kill()
    elif crash == "immediate":
        own_postgres.stop("immediate")
    else:
        own_postgres.stop("fast")
    assert not own_postgres.running
    with pytest.raises(psycopg.OperationalError):
        numbers(url)
    own_postgres.start()
    store_number(url, 2)
    assert numbers(url) == [1, 2]


def test_settings_are_postgres_defaults_unless_given(own_postgres: PostgresServer) -> None:
    own_postgres.configure({"log_line_prefix": "it's %p "})
    own_postgres.restart()
    with own_postgres.connect() as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW log_line_prefix").fetchone() == ("it's %p ",)


def test_connections_can_be_cut_by_name(own_postgres: PostgresServer) -> None:
    with psycopg.connect(own_postgres.url(), application_name="victim") as victim, own_postgres.connect() as other:
        assert own_postgres.terminate_backends(application_name="victim") == 1
        assert own_postgres.backend_pids() == [other.info.backend_pid]
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")


def test_removing_ends_the_process_and_deletes_the_data(own_postgres: PostgresServer) -> None:
    pid = own_postgres.pid
    assert pid is not None
    own_postgres.remove()
    assert not alive(pid)
    assert not own_postgres.folder.exists()


def test_pgbouncer_changes_the_server_connection_between_transactions(
    fresh_database: str, pgbouncer: PgBouncer
) -> None:
    name = fresh_database.rsplit("/", 1)[1]
    with (
        psycopg.connect(pgbouncer.url(name), prepare_threshold=None, autocommit=True) as first,
        psycopg.connect(pgbouncer.url(name), prepare_threshold=None, autocommit=True) as second,
    ):
        backends = {
            row[0]
            for connection in (first, second, first, second)
            for row in connection.execute("SELECT pg_backend_pid()").fetchall()
        }
    assert len(backends) == 1  # two clients, one after the other, share one server connection


def test_pgbouncer_comes_back_on_its_port(pgbouncer: PgBouncer) -> None:
    pgbouncer.restart()
    with psycopg.connect(pgbouncer.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


ABANDON = """
import time
from tests.servers import PostgresServer
server = PostgresServer.create("postgres18")
server.start()
print(server.pid, server.folder, flush=True)
time.sleep(600)
"""


@pytest.mark.postgres
def test_what_a_killed_session_left_behind_is_cleared_by_the_next(postgres18: PostgresServer) -> None:
    with subprocess.Popen([sys.executable, "-c", ABANDON], stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        pid, folder = session.stdout.readline().split()
        clear_abandoned(Path(folder).parent)
        assert alive(int(pid)), "the session lives, its server is left alone"
        os.kill(session.pid, signal.SIGKILL)
    clear_abandoned(Path(folder).parent)
    wait_until(lambda: not alive(int(pid)), "the abandoned server to end", timeout=10)
    assert not Path(folder).exists()
    assert postgres18.running, "this session's servers are left alone"


@pytest.mark.opensearch
@pytest.mark.slow
def test_opensearch_keeps_what_it_has_acknowledged_on_the_same_port(own_opensearch: OpenSearchServer) -> None:
    own_opensearch.ask("PUT", "/numbers/_doc/1", {"n": 1})
    own_opensearch.kill()
    assert not own_opensearch.running
    with pytest.raises(OSError, match=r"refused|reset"):
        own_opensearch.ask("GET", "/")
    own_opensearch.start()
    assert own_opensearch.ask("GET", "/numbers/_doc/1")["_source"] == {"n": 1}
    own_opensearch.stop()
    assert not own_opensearch.running


def test_a_port_is_given_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its server does not listen yet."""
    monkeypatch.setattr(ports, "CANDIDATES", range(14_000, 14_100))
    given = []
    with pytest.raises(OSError, match="no free port"):
        while True:
            given.append(ports.free_port())
    elsewhere = "from tests.servers import ports; ports.CANDIDATES = range(14_000, 14_100); print(ports.free_port())"
    done = subprocess.run([sys.executable, "-c", elsewhere], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "no free port" in done.stderr
    assert given
    assert len(set(given)) == len(given)
