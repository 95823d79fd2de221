"""Every page's code runs, and every link inside the project leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks_of
from tests.docs.databases import SHOWN_URL
from tests.docs.graphs import SHOWN_GRAPH_URL
from tests.docs.indexes import SHOWN_SEARCH_URL
from tests.docs.keys import SHOWN_REDIS_URL
from tests.docs.page import SHELL_LANGUAGES, check_data, runs_something
from tests.servers import Neo4jServer, OpenSearchServer, PostgresServer, RedisServer

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")] if path.exists())
LINK = re.compile(r"\]\((?!https?:|mailto:|#)(?P<target>[^)#\s]+)")
TIME_LIMIT_SECONDS = 300


def _needs_postgres(page: Path) -> bool:
    return SHOWN_URL.search(page.read_text(encoding="utf-8")) is not None


def _needs_opensearch(page: Path) -> bool:
    return SHOWN_SEARCH_URL.search(page.read_text(encoding="utf-8")) is not None


def _needs_redis(page: Path) -> bool:
    return SHOWN_REDIS_URL.search(page.read_text(encoding="utf-8")) is not None


def _needs_neo4j(page: Path) -> bool:
    return SHOWN_GRAPH_URL.search(page.read_text(encoding="utf-8")) is not None


def _runs_commands(page: Path) -> bool:
    """Each command is a process, and some wait for a worker or a server."""
    return any(block.language in SHELL_LANGUAGES and block.reason_not_to_run is None for block in blocks_of(page))


def _named(pages: list[Path]) -> list[object]:
    marks: dict[Path, list[pytest.MarkDecorator]] = {page: [] for page in pages}
    for page in pages:
        marks[page] += [pytest.mark.postgres] if _needs_postgres(page) else []
        marks[page] += [pytest.mark.opensearch] if _needs_opensearch(page) else []
        marks[page] += [pytest.mark.neo4j] if _needs_neo4j(page) else []
        marks[page] += [pytest.mark.redis] if _needs_redis(page) else []
        marks[page] += [pytest.mark.slow] if _runs_commands(page) else []
    return [pytest.param(page, id=str(page.relative_to(PROJECT)), marks=marks[page]) for page in pages]


def run_page(page: Path, *options: str, programs: str = "") -> None:
    path = os.pathsep.join(part for part in (programs, os.environ.get("PATH", os.defpath)) if part)
    command = [sys.executable, "-m", "tests.docs.page", str(page), *options]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "PATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
    )
    assert done.returncode == 0, f"{page} does not run:\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", _named(PAGES))
def test_the_code_of_a_page_runs(page: Path, request: pytest.FixtureRequest) -> None:
    options: list[str] = []
    programs = ""
    if _needs_postgres(page):
        server: PostgresServer = request.getfixturevalue("postgres18")
        options += ["--postgres", server.url()]
        # pg_dump refuses a server that is newer than itself.
        programs = str(server.installation.program("pg_dump").parent)
    if _needs_opensearch(page):
        search: OpenSearchServer = request.getfixturevalue("opensearch")
        options += ["--opensearch", search.url()]
    if _needs_redis(page):
        redis: RedisServer = request.getfixturevalue("redis_server")
        options += ["--redis", redis.url()]
    if _needs_neo4j(page):
        graph: Neo4jServer = request.getfixturevalue("neo4j_server")
        graph.start()
        graph.ask("MATCH (n) DETACH DELETE n")
        options += ["--neo4j", graph.url()]
    blocks = blocks_of(page)
    if options or runs_something(blocks):
        run_page(page, *options, programs=programs)
    else:  # no reason to start a process
        for block in blocks:
            check_data(block)


@pytest.mark.parametrize("page", _named(PAGES))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []
