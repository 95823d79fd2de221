"""The alerts and the dashboard of docs/ops name what there is, and do what they say."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from refold.app import App
from refold.operations.monitor import Monitor
from refold.operations.status import STATES
from refold.store.counts import OUTCOMES
from refold.testing.memory import MemoryStore
from tests.operations.asking import names_in

FOLDER = Path(__file__).parents[2] / "docs" / "ops"
ALERTS = FOLDER / "alerts.yml"
TESTS = FOLDER / "alerts.test.yml"
DASHBOARD = FOLDER / "grafana.json"
PAGE = FOLDER.parent / "how-to" / "watch-lag.md"
_NAME = re.compile(r"\brefold_\w+")
_CHOICE = re.compile(r'\b(state|outcome)=~?"([^"]*)"')


@pytest.fixture(scope="module")
def names() -> set[str]:
    """All series that there can be."""

    async def text() -> str:
        async with App("nothing").connect(MemoryStore()) as context, Monitor(context) as monitor:
            return monitor.metrics()

    return names_in(asyncio.run(text()))


def expressions() -> list[str]:
    """Those of the dashboard."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return panels + [each["definition"] for each in dashboard["templating"]["list"] if "definition" in each]


def test_every_metric_of_the_alerts_exists(names: set[str]) -> None:
    for file in (ALERTS, TESTS):
        used = set(_NAME.findall(file.read_text(encoding="utf-8")))
        assert len(used) > 5
        assert used - names == set()


def test_every_metric_of_the_dashboard_exists_and_is_shown(names: set[str]) -> None:
    used = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert used - names == set()
    assert names - used == set()


def test_every_metric_is_explained(names: set[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    said = set(_NAME.findall(page))
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    assert families - said == set()
    assert said - families - names == set()


def test_states_and_outcomes_are_those_that_there_are() -> None:
    known = {"state": {state.replace(" ", "_") for state in STATES}, "outcome": set(OUTCOMES)}
    found = 0
    for text in (ALERTS.read_text(encoding="utf-8"), TESTS.read_text(encoding="utf-8"), *expressions()):
        for label, values in _CHOICE.findall(text):
            assert set(values.split("|")) <= known[label]
            found += 1
    assert found > 5


def test_every_alert_is_tested() -> None:
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    tested = set(re.findall(r"alertname: (\w+)", TESTS.read_text(encoding="utf-8")))
    assert len(alerts) > 5
    assert set(alerts) == tested


@pytest.mark.prometheus
@pytest.mark.parametrize("arguments", [("check", "rules", ALERTS), ("test", "rules", TESTS)])
def test_the_alerts_are_right_by_promtool(
    checking_rules: Callable[..., subprocess.CompletedProcess[str]], arguments: tuple[str | Path, ...]
) -> None:
    done = checking_rules(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.prometheus
def test_the_expressions_of_the_dashboard_can_be_read(
    checking_rules: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions())
        if not expression.startswith("label_values(")
    ]
    assert len(rules) > 20
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = checking_rules("check", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr
