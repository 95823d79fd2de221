"""The bank with all its views, on real servers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.bank.events import FeeCharged, MoneyWithdrawn, TransferReceived, TransferSent
from examples.bank.full import app
from examples.bank.views import in_words

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.opensearch
@pytest.mark.neo4j
@pytest.mark.usefixtures("postgres18", "redis_server", "opensearch", "neo4j_server")
def test_the_whole_story(tmp_path: Path) -> None:
    """Two workers, one killed, a rebuild under load; every view answers, and verify is content."""
    chart = tmp_path / "volumes.png"
    command = [sys.executable, "-m", "examples.bank.demo_full", "--chart", str(chart)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "starting Postgres, Redis, OpenSearch and Neo4j …" in done.stdout  # what takes long is said before
    assert re.search(r"│ the largest balance   │ \d+: ", done.stdout)  # of an account, not of the till
    assert "one of two workers was killed" in done.stdout
    assert "everything that was checked holds" in done.stdout
    for definition in app.read_models.values():
        assert f"ok       read model {definition.name}" in done.stdout
        assert "at position 1,8" in done.stdout
    for definition in app.read_models.values():
        assert f"│ {definition.name} " in done.stdout  # all that are waited for are shown
    assert f"is drawn in {chart}" in done.stdout
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert re.search(r"AB/\d+: \d\d payers", done.stdout)
    assert re.search(r"│ 1 - AB/\d+ ", done.stdout)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (MoneyWithdrawn(amount=1, by="card"), "cash taken out by card"),  # type: ignore[arg-type]
        (TransferSent(amount=1, to_account="7", bank="AB"), "transfer to account 7 of bank AB"),  # type: ignore[arg-type]
        (
            TransferReceived(amount=1, from_account="7", purpose="pension"),  # type: ignore[arg-type]
            "transfer from account 7 of bank our own pension",
        ),
        (FeeCharged(amount=1, service="statement"), "fee for statement"),  # type: ignore[arg-type]
    ],
)
def test_movements_in_words(event: object, said: str) -> None:
    assert in_words(event) == said  # type: ignore[arg-type]
