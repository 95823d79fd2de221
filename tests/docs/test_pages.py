"""Every page's code runs, and every link inside the project leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.databases import SHOWN_URL
from tests.servers import PostgresServer

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")] if path.exists())
LINK = re.compile(r"\]\((?!https?:|mailto:|#)(?P<target>[^)#\s]+)")
TIME_LIMIT_SECONDS = 300


def _needs_postgres(page: Path) -> bool:
    return SHOWN_URL.search(page.read_text(encoding="utf-8")) is not None


def _named(pages: list[Path]) -> list[object]:
    marks = {page: [pytest.mark.postgres] if _needs_postgres(page) else [] for page in pages}
    return [pytest.param(page, id=str(page.relative_to(PROJECT)), marks=marks[page]) for page in pages]


def run_page(page: Path, *options: str) -> None:
    command = [sys.executable, "-m", "tests.docs.page", str(page), *options]
    done = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True, timeout=TIME_LIMIT_SECONDS)
    assert done.returncode == 0, f"{page} does not run:\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", _named(PAGES))
def test_the_code_of_a_page_runs(page: Path, request: pytest.FixtureRequest) -> None:
    if _needs_postgres(page):
        server: PostgresServer = request.getfixturevalue("postgres18")
        run_page(page, "--postgres", server.url())
    else:
        run_page(page)


@pytest.mark.parametrize("page", _named(PAGES))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []
