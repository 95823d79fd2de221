"""The tests that are collected, and the one run over the log that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from refold.app import App
from refold.cli.replay import failure_lines, fold_lines
from refold.cli.user_app import find_app
from refold.errors import RefoldError
from refold.operations.replay import FoldReport, ReplayReport, replay_source
from refold_pytest import SAVED

__all__ = ["Replay", "collected", "run_of"]

_NAMES = ("refold_app", "refold_log", "refold_baseline")


class Replay:
    """One run over the log, made when the first test asks for it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder = config.rootpath if config.inipath is None else config.inipath.parent
        named = {name: str(config.getini(name)) for name in _NAMES}
        missing = [name for name, value in named.items() if not value]
        if missing:
            raise pytest.UsageError(
                f"{', '.join(missing)} must be set too, beside {', '.join(set(named) - set(missing))}"
            )
        every = str(config.getini("refold_every"))
        if not every.isdigit() or int(every) < 1:
            raise pytest.UsageError(f"refold_every = {every!r} must be a number of positions, 1 or more")
        self._every = int(every)
        self._log = named["refold_log"]
        self._baseline = self._folder / named["refold_baseline"]
        try:
            self.app: App = find_app(named["refold_app"], self._folder)
        except RefoldError as problem:
            raise pytest.UsageError(f"refold_app: {problem}") from problem
        self._renew = bool(config.getoption("--refold-update-baseline"))
        self._found: ReplayReport | RefoldError | None = None

    @property
    def report(self) -> ReplayReport:
        """What was found. Raises `RefoldError` when the log or the baseline cannot be used."""
        if self._found is None:
            try:
                # In a thread of its own: whoever asks may be on an event loop, or keep one for later.
                with ThreadPoolExecutor(1) as thread:
                    self._found = thread.submit(lambda: asyncio.run(self._replay())).result()
            except RefoldError as problem:
                self._found = problem
        if isinstance(self._found, RefoldError):
            raise self._found
        return self._found

    async def _replay(self) -> ReplayReport:
        there = self._baseline.exists()
        if not there and not self._renew:
            raise MissingBaseline(f"there is no {self._baseline}; write it with pytest --refold-update-baseline")
        report = await replay_source(
            self._relative(self._log),
            self.app,
            folder=self._folder,
            baseline=None if self._renew else self._baseline,
            save=self._baseline if self._renew else None,
            every=self._every,
        )
        if report.saved is not None:
            self._config.stash[SAVED] = report.saved
        return report

    def _relative(self, log: str) -> str:
        """A SQLite file is meant from where the configuration is."""
        name = log.removeprefix("sqlite:///")
        return log if name == log or name.startswith((":memory:", "/")) else f"sqlite:///{self._folder / name}"


class MissingBaseline(RefoldError):
    """There is no baseline yet."""


_RUN: pytest.StashKey[Replay] = pytest.StashKey()


def run_of(config: pytest.Config) -> Replay:
    """The run of this session."""
    if _RUN not in config.stash:
        config.stash[_RUN] = Replay(config)
    return config.stash[_RUN]


def collected(session: pytest.Session) -> list[pytest.Item]:
    """One test that the app has lost nothing, one that every event can be decoded, one for each aggregate and read
    model.
    """
    collector = _Collector.from_parent(session, name="refold-replay", nodeid="refold-replay")
    return list(collector.collect())


class _Collector(pytest.Collector):
    def collect(self) -> Iterator[pytest.Item]:
        app = run_of(self.config).app
        yield _AppItem.from_parent(self, name="app")
        yield _EventsItem.from_parent(self, name="events")
        for category in sorted(definition.category for definition in app.aggregates.values()):
            yield _FoldItem.from_parent(self, name=f"aggregate {category}")
        for name in sorted(definition.name for definition in app.read_models.values()):
            yield _FoldItem.from_parent(self, name=f"read model {name}")


class _Differs(Exception):
    """A test failed; its text is for people."""


class _Item(pytest.Item):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_marker("refold_replay")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What a person needs to know, and no traceback."""
        if isinstance(excinfo.value, (_Differs, RefoldError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What the test is called when it fails."""
        return self.path, None, f"replay of {self.name}"


class _AppItem(_Item):
    def runtest(self) -> None:
        """Fails when the app has lost an aggregate or a read model."""
        gone = [f"{fold.kind} {fold.name}" for fold in run_of(self.config).report.folds if fold.gone]
        if gone:
            raise _Differs(
                f"the baseline has {', '.join(gone)}, the app has not; is that meant? then renew the baseline"
            )


class _EventsItem(_Item):
    def runtest(self) -> None:
        """Fails when an event cannot be decoded."""
        report = run_of(self.config).report
        if report.undecodable:
            raise _Differs("\n".join(failure_lines(report.unread, report.undecodable)))


class _FoldItem(_Item):
    def runtest(self) -> None:
        """Fails when a state differs, or could not be folded."""
        report = run_of(self.config).report
        fold = next(each for each in report.folds if f"{each.kind} {each.name}" == self.name)
        if not fold.ok:
            raise _Differs("\n".join([_sum(fold, report), *fold_lines(fold)]))


def _sum(fold: FoldReport, report: ReplayReport) -> str:
    if fold.differing:
        return f"{fold.differing:,} of {fold.compared or 0:,} states differ from {report.baseline}"
    return f"{fold.failed:,} of {fold.states:,} states could not be folded" if fold.failed else "it cannot be compared"
