"""A worker that is watched by a real Prometheus, hangs, stops, and loses its store."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.project import Project
from tests.cli.runner import assert_refused
from tests.cli.test_running import poison
from tests.domain import DepositMoney, bank
from tests.operations.asking import ask, text_of, value
from tests.servers import Prometheus
from tests.servers.processes import wait_until

ALERTS = Path(__file__).parents[2] / "docs" / "ops" / "alerts.yml"


@contextmanager
def worker(project: Project, *options: str) -> Iterator[str]:
    """A worker, and where it can be asked."""
    process = project.start("worker", "--metrics", "0", *options)
    assert process.stdout is not None
    try:
        served = re.search(r"serving (http://127\.0\.0\.1:\d+)/metrics", process.stdout.readline())
        assert served is not None
        yield served[1]
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.mark.prometheus
async def test_prometheus_sees_how_a_worker_is_doing(accounts: Project, scraping: Callable[..., Prometheus]) -> None:
    if accounts.url.startswith("postgresql"):
        async with bank.connect(accounts.absolute_url, projections=False) as context:
            with worker(accounts) as url:
                server = scraping(url.removeprefix("http://"), rules=ALERTS)
                wait_until(lambda: server.value("refold_head_position") == 6, "the first scrape", timeout=20)
                for _ in range(4):
                    await context.execute(DepositMoney(account_id="42", amount=Decimal(1)))
                wait_until(
                    lambda: server.value('refold_projection_position{projection="account_summary"}') == 10,
                    "the projection to be seen at the head",
                    timeout=20,
                )
                assert server.value('refold_projection_lag_events{projection="account_summary"}') == 0
                folded = 'sum by (projection) (refold_projection_events_folded_total{projection="account_summary"})'
                assert server.value(folded) == 4
                assert server.value('increase(refold_projection_events_folded_total{projection="account_summary"}[1m])')
                assert server.value("refold_ready") == 1
            wait_until(lambda: server.value("up") == 0, "the death of the worker to be seen", timeout=20)
    else:
        with worker(accounts) as url:
            server = scraping(url.removeprefix("http://"), rules=ALERTS)
            wait_until(lambda: server.value("refold_head_position") == 6, "the first scrape", timeout=20)
            assert server.value('refold_projection_position{projection="account_summary"}') == 6
            assert server.value("refold_store_up") == 1


@pytest.mark.prometheus
async def test_a_projection_that_stops_raises_an_alert(accounts: Project, scraping: Callable[..., Prometheus]) -> None:
    await poison(accounts)
    with worker(accounts) as url:
        server = scraping(url.removeprefix("http://"), rules=ALERTS)
        wait_until(lambda: "RefoldProjectionStopped" in server.alerts(), "the alert", timeout=30)
        # The other one may have raised it, when this one had not stopped yet.
        failed = 'refold_projection_failures_total{projection="account_summary"}'
        wait_until(lambda: server.value(failed) == 1, "this one to be seen to have stopped too", timeout=30)
        assert server.value("refold_ready") == 0
        code, ready = ask(url, "/readyz")
        assert code == 503
        assert "read model account_summary has stopped (stopped): no event class is named 'MoneyBurnt'" in str(ready)


HANGING = '''
"""The bank, with a fold that does not come back."""

from refold import App, ReadModel, evolve
from tests.domain import Account, MoneyDeposited


class Hanging(ReadModel, key="account_id"):
    account_id: str
    count: int = 0

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        while True:
            self.count += 1


app = App("bank", aggregates=[Account], read_models=[Hanging])
'''


@pytest.mark.slow
def test_a_fold_without_an_end_is_called_in_time(accounts: Project) -> None:
    (accounts.folder / "hanging.py").write_text(HANGING, encoding="utf-8")
    with worker(accounts, "--app", "hanging:app", "--patience", "1") as url:
        wait_until(lambda: ask(url, "/livez")[0] == 503, "the endless loop to be seen", timeout=30)
        wait_until(lambda: "read model hanging is stalled" in str(ask(url, "/readyz")), "its name", timeout=30)
        text = text_of(url)
        assert value(text, "refold_projection_stalled", projection="hanging") == 1
        age = value(text, "refold_event_loop_age_seconds")
        assert age is not None
        assert age > 1


@pytest.mark.parametrize(
    ("option", "said"), [("nowhere", "is no address"), ("127.0.0.1:99999", "is no address"), ("", "is no address")]
)
def test_an_address_that_is_none_is_refused_at_once(project: Project, option: str, said: str) -> None:
    assert_refused(project.refold("worker", "--metrics", option), 2, said)


def test_a_port_that_is_taken_is_refused(accounts: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = accounts.refold("worker", "--metrics", str(taken.getsockname()[1]))
    assert_refused(done, 2, "cannot be served", "choose another")
