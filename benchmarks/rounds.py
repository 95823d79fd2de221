"""Runs the runs: each in a process and a database of its own, all contenders in turn, round after round."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

from benchmarks.databases import Databases, ask
from benchmarks.environments import ROOT, Prepared, environment
from benchmarks.plan import Arguments, Benchmark, Environment, Run, Scale, Seed

Report = Callable[[str], None]


class RunFailed(Exception):
    """A run gave no number, or one that must not be believed; the text says why."""


@dataclass
class Readings:
    """What one contender gave in one case, round by round."""

    run: Run
    answers: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None

    def values(self, figure: str) -> list[float]:
        """One figure's values, in the order of the rounds."""
        return [float(answer[figure]) for answer in self.answers if answer.get(figure) is not None]


def measure(
    benchmark: Benchmark, scale: Scale, rounds: int, databases: Databases, only: Sequence[str], report: Report
) -> list[Readings]:
    """All runs of a benchmark, interleaved: each round goes once through all of them, so that a slow minute hits
    every contender.
    """
    readings = [Readings(run) for run in benchmark.runs(scale) if not only or run.contender in only]
    for number in range(1, rounds + 1):
        for reading in readings:
            if reading.failure is not None:
                continue
            name = f"{benchmark.name}: {reading.run.case}, {benchmark.title_of(reading.run.contender)}"
            report(f"{name} (round {number} of {rounds})")
            try:
                reading.answers.append(perform(reading.run, databases))
            except RunFailed as failure:
                reading.failure = str(failure)
                report(f"{name}: {failure}")
    return readings


def perform(run: Run, databases: Databases) -> dict[str, Any]:
    """One run on a fresh database. Raises RunFailed when the runner fails or what it stored is not what it says."""

    def write_seed(seed: Seed, url: str) -> None:
        call(seed.module, seed.environment, {**seed.arguments, "url": url}, timeout=3600)

    with databases.fresh(run.store, run.seed, write_seed) as url:
        arguments = {**run.arguments, "url": url}
        if run.module.endswith("pgbench"):
            arguments["program"] = str(databases.server.installation.program("pgbench"))
        if run.peer is not None:
            arguments["python"] = str(_prepared(run.peer).python)
        answer = call(run.module, run.environment, arguments, timeout=run.timeout)
        for check in run.checks:
            expected = answer[check.expected] if isinstance(check.expected, str) else check.expected
            try:
                found = ask(run.store, url, check.sql)
            except (psycopg.Error, sqlite3.Error) as problem:
                raise RunFailed(f"{check.sql}: {problem}") from problem
            if Decimal(str(found)) != Decimal(str(expected)):
                raise RunFailed(f"{check.sql} gives {found}, and the contender says {expected}")
    note = _prepared(run.peer or run.environment).note
    return {**answer, "note": note} if note else answer


def call(module: str, where: Environment, arguments: Arguments, *, timeout: float) -> dict[str, Any]:
    """One call of a runner in a process of its own: JSON to its standard input, JSON from the last line of its
    output.
    """
    command = [str(_prepared(where).python), "-m", module]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PG", "POSTGRES_"))
    }
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env=inherited,
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as problem:
        raise RunFailed(f"{module} did not end within {timeout:g} s") from problem
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        end = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise RunFailed(f"{module} ended with exit code {done.returncode}:\n{end}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _prepared(name: Environment) -> Prepared:
    try:
        return environment(name)
    except RuntimeError as problem:
        raise RunFailed(f"its environment could not be made: {problem}") from problem
