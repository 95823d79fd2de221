"""Replay tests as tests of pytest: one for each aggregate and each read model of an app, over a recorded log.

pytest loads this module in every project that has Refold installed. So it imports nothing until a project asks for it:

    [tool.pytest.ini_options]
    refold_app = "bank.app:app"
    refold_log = "tests/recorded.jsonl"           # an export, or a store's URL
    refold_baseline = "tests/recorded.baseline"

`pytest --refold-update-baseline` writes the baseline anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from refold.operations.replay import ReplayReport

__all__ = [
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_terminal_summary",
    "refold_replay",
]

_RENEW = "--refold-update-baseline"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The settings of pytest's configuration file, and the option that renews the baseline."""
    parser.addini("refold_app", "The app whose folds are tested, as in bank.app:app.")
    parser.addini("refold_log", "The recorded log: a file that `refold export` wrote, or a store's URL.")
    parser.addini("refold_baseline", "The file of digests that states are compared with.")
    parser.addini("refold_every", "With a new baseline: look at states after each so many positions.", default="1")
    parser.getgroup("refold").addoption(
        _RENEW, action="store_true", help="write refold_baseline anew from what the app makes of refold_log"
    )


def pytest_configure(config: pytest.Config) -> None:
    """The mark of the collected tests: `-m refold_replay` runs them alone."""
    config.addinivalue_line("markers", "refold_replay: folds a recorded log by today's code (collected by Refold)")


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds the tests, where a project asks for them, unless the run is about single files."""
    asked = config.getini("refold_app") or config.getini("refold_log") or config.getini("refold_baseline")
    if not asked:
        if config.getoption(_RENEW):
            raise pytest.UsageError(f"{_RENEW} needs refold_app, refold_log and refold_baseline in the configuration")
        return
    if any("::" in argument or argument.endswith(".py") for argument in config.args):
        return
    from refold_pytest.collecting import collected

    items += collected(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says where a new baseline was written."""
    saved = config.stash.get(SAVED, None)
    if saved is not None:
        terminalreporter.write_line(f"refold: the baseline was written anew: {saved}")


@pytest.fixture(scope="session")
def refold_replay(request: pytest.FixtureRequest) -> ReplayReport:
    """The report of the replay of `refold_log`, for tests of your own. It is run once, whoever asks."""
    from refold_pytest.collecting import run_of

    return run_of(request.config).report


SAVED: pytest.StashKey[str] = pytest.StashKey()
"""The baseline that this run wrote."""
