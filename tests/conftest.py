"""Fixtures for all tests: real servers, each started once per session when the first test asks for it."""

import itertools
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import (
    Neo4jServer,
    OpenSearchServer,
    PgBouncer,
    PostgresServer,
    Prometheus,
    RedisServer,
    Unavailable,
    find_chromium,
    find_neo4j,
    find_opensearch,
    find_pgbouncer,
    find_postgres,
    find_prometheus,
    find_redis,
    promtool,
)
from tests.servers.installations import POSTGRES_NAMES
from tests.servers.postgres import FAST_AND_UNSAFE
from tests.untested import MISSING, skip_loudly

_database_numbers = itertools.count(1)

# How long an example takes says how busy the machine is, and several tests may run at a time.
settings.register_profile("refold", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("refold")


def pytest_report_header() -> list[str]:
    """Say with which servers the tests run."""
    lines = []
    for name in POSTGRES_NAMES:
        try:
            installation = find_postgres(name)
            lines.append(f"{name}: {installation} ({installation.folder})")
        except Unavailable as reason:
            lines.append(f"{name}: NOT FOUND, {reason}")
    try:
        lines.append(f"pgbouncer: {find_pgbouncer()}")
    except Unavailable as reason:
        lines.append(f"pgbouncer: NOT FOUND, {reason}")
    try:
        lines.append(f"redis: {find_redis()}")
    except Unavailable as reason:
        lines.append(f"redis: NOT FOUND, {reason}")
    try:
        lines.append(f"opensearch: {find_opensearch()}")
    except Unavailable as reason:
        lines.append(f"opensearch: NOT FOUND, {reason}")
    try:
        lines.append(f"neo4j: {find_neo4j()}")
    except Unavailable as reason:
        lines.append(f"neo4j: NOT FOUND, {reason}")
    try:
        lines.append(f"prometheus: {find_prometheus()}")
    except Unavailable as reason:
        lines.append(f"prometheus: NOT FOUND, {reason}")
    try:
        lines.append(f"chromium: {find_chromium()}")
    except Unavailable as reason:
        lines.append(f"chromium: NOT FOUND, {reason}")
    return lines


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Say loudly, below everything else, what could not be tested for want of a server, or of data."""
    yield
    for name, reason in MISSING.items():
        terminalreporter.write_sep("!", f"NOT TESTED WITH {name.upper()}", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)


def _without(name: str, reason: Unavailable) -> NoReturn:
    """Give a test up for want of a server: a loud skip, but a failure in CI, where no gap may look like success."""
    if os.environ.get("CI"):
        MISSING[name] = str(reason)
        pytest.fail(f"{name} is needed in CI, and is not on this machine", pytrace=False)
    skip_loudly(name, str(reason))


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, PostgresServer]]:
    servers: dict[str, PostgresServer] = {}
    yield servers
    for server in servers.values():
        server.remove()


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.postgres) for name in POSTGRES_NAMES])
def postgres_server(request: pytest.FixtureRequest, _servers: dict[str, PostgresServer]) -> PostgresServer:
    """A running Postgres, shared by the whole session, once per version, with fsync off.

    For crashes, restarts and durability take a server of your own: `own_postgres`.
    """
    return _shared(request.param, _servers)


@pytest.fixture(scope="session")
def postgres18(_servers: dict[str, PostgresServer]) -> PostgresServer:
    """The same server as `postgres_server`, for tests to which the version does not matter."""
    return _shared("postgres18", _servers)


def _shared(name: str, servers: dict[str, PostgresServer]) -> PostgresServer:
    if name not in servers:
        try:
            server = PostgresServer.create(name, settings=FAST_AND_UNSAFE)
        except Unavailable as reason:
            _without(name, reason)
        server.start()
        servers[name] = server
    return servers[name]


@pytest.fixture
def fresh_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database, dropped after the test; once per Postgres version."""
    name = f"test_{next(_database_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_postgres18(postgres18: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database, for tests to which the version of Postgres does not matter."""
    name = f"test_{next(_database_numbers)}"
    yield postgres18.create_database(name)
    postgres18.drop_database(name)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.postgres) for name in POSTGRES_NAMES])
def own_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A running Postgres of the test's own, with fsync on, which it may stop, kill and configure; once per version."""
    try:
        server = PostgresServer.create(request.param)
    except Unavailable as reason:
        _without(request.param, reason)
    with server:
        yield server


@pytest.fixture(scope="session")
def _bouncers() -> Iterator[dict[int, PgBouncer]]:
    bouncers: dict[int, PgBouncer] = {}
    yield bouncers
    for bouncer in bouncers.values():
        bouncer.remove()


@pytest.fixture
def pgbouncer(postgres_server: PostgresServer, _bouncers: dict[int, PgBouncer]) -> PgBouncer:
    """A running pgbouncer in transaction mode in front of `postgres_server`: `pgbouncer.url(database)`."""
    if postgres_server.port not in _bouncers:
        try:
            bouncer = PgBouncer.create(postgres_server)
        except Unavailable as reason:
            _without("pgbouncer", reason)
        bouncer.start()
        _bouncers[postgres_server.port] = bouncer
    return _bouncers[postgres_server.port]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A running Redis, shared by the whole session; take a prefix of your own: `redis_server.url("mine")`."""
    with _redis() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A running Redis of the test's own, which it may stop, kill and empty."""
    with _redis() as server:
        yield server


def _redis() -> RedisServer:
    try:
        return RedisServer.create()
    except Unavailable as reason:
        _without("redis", reason)


@pytest.fixture(scope="session")
def opensearch() -> Iterator[OpenSearchServer]:
    """A running OpenSearch, shared by the whole session; take a prefix of your own: `opensearch.url("mine")`."""
    with _opensearch() as server:
        yield server


@pytest.fixture
def own_opensearch() -> Iterator[OpenSearchServer]:
    """A running OpenSearch of the test's own, which it may stop, kill and fill up."""
    with _opensearch() as server:
        yield server


def _opensearch() -> OpenSearchServer:
    try:
        return OpenSearchServer.create()
    except Unavailable as reason:
        _without("opensearch", reason)


@pytest.fixture(scope="session")
def neo4j_server() -> Iterator[Neo4jServer]:
    """A Neo4j, shared by the whole session. A test may empty it and stop it: take its URL from a fixture that does the
    first, and starts it.
    """
    try:
        server = Neo4jServer.create()
    except Unavailable as reason:
        _without("neo4j", reason)
    with server:
        yield server


@pytest.fixture
def scraping() -> Iterator[Callable[..., Prometheus]]:
    """Starts a Prometheus that scrapes these addresses, and knows these rules: `scraping("127.0.0.1:9464",
    rules=path)`. Its tests have the mark `prometheus`.
    """
    with ExitStack() as stack:

        def start(*targets: str, rules: Path | None = None) -> Prometheus:
            try:
                server = Prometheus.create(*targets, rules=rules)
            except Unavailable as reason:
                _without("prometheus", reason)
            return stack.enter_context(server)

        yield start


@pytest.fixture
def checking_rules() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs promtool. Its tests have the mark `prometheus`."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        try:
            return promtool(*arguments)
        except Unavailable as reason:
            _without("prometheus", reason)

    return run
