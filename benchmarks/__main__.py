"""`python -m benchmarks [NAME …]`: run all benchmarks, or some, print their tables and write their results."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console

from benchmarks import machine, page, results, table
from benchmarks.databases import Databases
from benchmarks.environments import SCRATCH
from benchmarks.plan import Benchmark, Scale
from benchmarks.rounds import measure
from benchmarks.suite import (
    append,
    append_aging,
    append_sqlite,
    commands,
    hot_account,
    http,
    latency,
    load,
    read_log,
    read_models,
    rebuild,
)
from benchmarks.suite import console as web_console
from benchmarks.summary import Summary, summarize

MODULES = (
    append,
    append_sqlite,
    hot_account,
    commands,
    read_log,
    rebuild,
    latency,
    load,
    append_aging,
    read_models,
    http,
    web_console,
)
BENCHMARKS: dict[str, Benchmark] = {module.BENCHMARK.name: module.BENCHMARK for module in MODULES}

FAILED = 1
MISSED = 3


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(list(BENCHMARKS)))
@click.option("--rounds", type=click.IntRange(1), help="Rounds of which the median is taken (3; quick: 1).")
@click.option("--quick", is_flag=True, help="Small and short, to see that all works. The numbers mean little.")
@click.option("--only", multiple=True, metavar="CONTENDER", help="Only this contender (may be given again).")
@click.option("--list", "listing", is_flag=True, help="List the benchmarks and their contenders.")
@click.option("--show", is_flag=True, help="Print the tables of the last results, without running anything.")
@click.option("--write-docs", is_flag=True, help="Write the last results into docs/benchmarks.md.")
def main(
    names: tuple[str, ...],
    rounds: int | None,
    quick: bool,
    only: tuple[str, ...],
    listing: bool,
    show: bool,
    write_docs: bool,
) -> None:
    """Measure Refold beside its peers and beside the raw database.

    Exit codes: 0 all targets reached, 1 something failed, 2 wrong usage, 3 a target was missed.
    """
    console = Console(width=None if sys.stdout.isatty() else 160)
    chosen = [BENCHMARKS[name] for name in names or BENCHMARKS]
    known = {contender.key for benchmark in chosen for contender in benchmark.contenders}
    if unknown := sorted(set(only) - known):
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(sorted(known))}", param_hint="--only")
    if listing:
        _list(console)
    elif write_docs:
        for line in page.publish():
            console.print(line)
    elif show:
        for summary in filter(None, (results.load(benchmark.name) for benchmark in chosen)):
            table.show(summary, console)
    else:
        sys.exit(_run(chosen, Scale(quick), rounds or (1 if quick else 3), only, console))


def _list(console: Console) -> None:
    for benchmark in BENCHMARKS.values():
        console.print(f"{benchmark.name:<14} {benchmark.title}", highlight=False)
        for contender in benchmark.contenders:
            console.print(f"{'':<14}   {contender.key:<22} {contender.title}", style="dim", highlight=False)


def _run(chosen: list[Benchmark], scale: Scale, rounds: int, only: tuple[str, ...], console: Console) -> int:
    SCRATCH.mkdir(exist_ok=True)
    about = machine.describe(SCRATCH)
    if machine.is_busy(about):
        console.print(
            f"load average {about['load_before']}: something else uses this machine; the numbers will show it",
            style="yellow",
        )
    if scale.quick:
        console.print(
            "quick: logs are shorter than the cases' names say, and times too short to mean much", style="yellow"
        )
    errors = Console(stderr=True, highlight=False)
    summaries = []
    with Databases() as databases:
        for benchmark in chosen:
            how = {**_how(scale, rounds), "only": list(only), "machine": about}
            readings = measure(benchmark, scale, rounds, databases, only, errors.print)
            summary = summarize(benchmark, readings, how)
            results.save(summary)
            table.show(summary, console)
            summaries.append(summary)
    return _exit_code(summaries)


def _how(scale: Scale, rounds: int) -> dict[str, Any]:
    return {"started": datetime.now(UTC).isoformat(timespec="seconds"), "rounds": rounds, "quick": scale.quick}


def _exit_code(summaries: list[Summary]) -> int:
    rows = [row for summary in summaries for row in summary.rows]
    if any(row.failure is not None for row in rows):
        return FAILED
    return MISSED if any(goal.reached is False for row in rows for goal in row.goals) else 0


if __name__ == "__main__":
    main()
