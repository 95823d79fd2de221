"""Breaks the library on purpose, one promise at a time, and requires that a test notices.

    python -m tests.faults.mutations [--write] [NAME …]

Works on a copy. `--write` puts the table into docs/reliability.md. Exit code 1: a break went unnoticed, or could not be
made.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- mutations: begin -->", "<!-- mutations: end -->"


class Mutation(msgspec.Struct, frozen=True):
    """A break: what is said of it, where, what is replaced by what (everywhere in the file), and the tests that may
    notice.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    also: tuple[tuple[str, str], ...] = ()

    def made_in(self, text: str) -> str:
        """The broken file. Raises `LookupError` when there is nothing to break."""
        for old, new in ((self.old, self.new), *self.also):
            if old not in text:
                raise LookupError(f"{self.file} does not hold {old[:60]!r}")
            text = text.replace(old, new)
        return text


POSTGRES = "src/refold/store/postgres/migrations/0002_append.sql"
CONTRACT = "tests/contract/test_stores.py"
EIGHT = "tests/faults/test_nemesis.py::test_eight_that_begin_together_on_an_empty_database"
FOLLOWING = "tests/projections/test_following.py"

MUTATIONS = [
    Mutation(
        "Postgres: no lock",
        POSTGRES,
        "and pg_try_advisory_xact_lock(@lock@)",
        "and true",
        (EIGHT,),
        ((" perform pg_advisory_xact_lock(@lock@);", " perform 1;"),),
    ),
    Mutation(
        "Postgres: the lock in the statement that reads the head",
        POSTGRES,
        "        and pg_try_advisory_xact_lock(@lock@)\n    ) is not true then\n        perform @schema@.lock_log();\n"
        "    end if;\n\n    select e.position, e.recorded_at into head, recorded from @schema@.events e "
        "order by e.position desc limit 1;",
        "    ) is null then\n        return null;\n    end if;\n\n"
        "    select e.position, e.recorded_at into head, recorded from (select @schema@.lock_log()) l "
        "left join lateral (select * from @schema@.events order by position desc limit 1) e on true;",
        (EIGHT,),
    ),
    Mutation(
        "Postgres: positions with gaps, as a sequence leaves them",
        POSTGRES,
        "    head := coalesce(head, 0);",
        "    head := coalesce(head, 0) + 1;",
        (f"{CONTRACT}::TestPostgres",),
    ),
    Mutation(
        "Postgres: any isolation level",
        POSTGRES,
        "if current_setting('transaction_isolation') <> 'read committed' then",
        "if false then",
        ("tests/store/postgres",),
    ),
    Mutation(
        "Postgres: events may be changed",
        "src/refold/store/postgres/migrations/0001_log.sql",
        "create trigger events_are_immutable before update or delete or truncate on @schema@.events",
        "create trigger events_are_immutable before truncate on @schema@.events",
        ("tests/store/postgres", "tests/operations"),
    ),
    Mutation(
        "SQLite: expected versions are not checked",
        "src/refold/store/sqlite/committing.py",
        "if part.expected != actual and",
        "if False and",
        (f"{CONTRACT}::TestSqliteInMemory",),
    ),
    Mutation(
        "SQLite: a repeated append is stored again",
        "src/refold/store/sqlite/committing.py",
        "first = self._results.get(append.id) or find_append(self._connection, append.id.bytes)",
        "first = None",
        (f"{CONTRACT}::TestSqliteInMemory",),
    ),
    Mutation(
        "SQLite: acknowledged, and rolled back",
        "src/refold/store/sqlite/committing.py",
        'connection.execute("commit")',
        'connection.execute("rollback")',
        (f"{CONTRACT}::TestSqliteInMemory",),
    ),
    Mutation(
        "A filtered read says that it scanned more than it did",
        "src/refold/store/sqlite/reading.py",
        "edge = low if backward else high",
        "edge = low if backward else end",
        (f"{CONTRACT}::TestSqliteFile",),
    ),
    Mutation(
        "SQLite: the checkpoint moves in a transaction of its own",
        "src/refold/projections/sinks/sqlite.py",
        "            if not _moved(connection, table, move):\n                return False\n",
        "            if not _moved(connection, table, move):\n                return False\n"
        '            connection.execute("commit")\n            connection.execute("begin")\n',
        ("tests/faults/test_sweep.py::test_sqlite",),
    ),
    Mutation(
        "Postgres: a checkpoint moves whoever owns it",
        "src/refold/projections/sinks/postgres_rows.py",
        "where name = $3 and position = $4 and epoch = $5 returning 1",
        "where name = $3 and $4 >= 0 and $5 >= 0 returning 1",
        ("tests/faults/test_nemesis.py::test_a_worker_that_stands_still_past_its_lease_is_fenced", "tests/projections"),
    ),
    Mutation(
        "A checkpoint is the last position that matched",
        "src/refold/projections/feed.py",
        "                found.append(types.decode(stored))\n",
        "                found.append(types.decode(stored))\n                last = stored\n                continue\n",
        (FOLLOWING,),
        (("            last = stored\n    except", "    except"),),
    ),
    Mutation(
        "A checkpoint is believed whatever the log says",
        "src/refold/projections/projection.py",
        "    if checkpoint.position == 0:\n        return\n",
        "    return\n",
        (FOLLOWING,),
    ),
    Mutation(
        "A failing event is skipped",
        "src/refold/projections/folding.py",
        "                self._touched |= self._fold.fold(self._rows, batch.events[start : start + _EVENTS_AT_ONCE])\n",
        "                try:\n"
        "                    self._touched |= "
        "self._fold.fold(self._rows, batch.events[start : start + _EVENTS_AT_ONCE])\n"
        "                except ValueError:\n                    pass\n",
        (FOLLOWING,),
    ),
    Mutation(
        "A changed definition goes on with the old rows",
        "src/refold/projections/projection.py",
        "if checkpoint.fingerprint != self.definition.fingerprint:",
        "if False:",
        (FOLLOWING,),
    ),
    Mutation(
        "A snapshot is believed without its proof",
        "src/refold/commands/loading.py",
        "        if not at_version or (",
        "        if False and (",
        ("tests/commands/test_loading.py",),
    ),
    Mutation(
        "A refusal rests on a state that may be outdated",
        "src/refold/commands/handler.py",
        "            except Rejected:\n",
        "            except Rejected:\n                raise\n",
        ("tests/commands/test_execute.py",),
    ),
    Mutation(
        "What was decided on top of a failed append is kept",
        "src/refold/commands/live.py",
        "        self._staged.clear()\n        self._drop_tip()\n        self.stale = True\n",
        "        self._staged.clear()\n        self._drop_tip()\n",
        ("tests/commands/test_execute.py",),
    ),
]


def copied() -> Path:
    """A copy of what the tests need."""
    folder = Path(tempfile.mkdtemp(prefix="refold-mutation-"))
    for name in ("src", "tests", "examples", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(source, folder / name)
    return folder


def caught(mutation: Mutation) -> str | None:
    """The test that noticed, None when none did. Raises `LookupError` when the break cannot be made."""
    folder = copied()
    try:
        path = folder / mutation.file
        text = path.read_text()
        path.write_text(mutation.made_in(text))
        done = run_tests(folder, mutation.tests)
        found = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
        if done.returncode == 0:
            return None
        if found is None:
            raise LookupError(f"the tests did not run: {done.stdout[-400:]}{done.stderr[-400:]}")
        return found[1]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_tests(folder: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Runs tests of a copy, up to the first that fails."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder / 'src'}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def unbroken(mutations: list[Mutation]) -> str:
    """What fails without any break, so that no test is credited with noticing what it always says. Empty: nothing."""
    folder = copied()
    try:
        done = run_tests(folder, tuple(dict.fromkeys(test for mutation in mutations for test in mutation.tests)))
        return "" if done.returncode == 0 else done.stdout[-2000:]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    chosen = [name for name in sys.argv[1:] if not name.startswith("--")]
    rows: list[str] = []
    unnoticed = 0
    mutations = [each for each in MUTATIONS if not chosen or any(part in each.name for part in chosen)]
    if failing := unbroken(mutations):
        print(f"the tests fail without any break, and so they prove nothing:\n{failing}")
        return 1
    for mutation in mutations:
        try:
            test = caught(mutation)
        except LookupError as problem:
            test = None
            print(f"{mutation.name}: could not be made: {problem}")
        print(f"{mutation.name}: {test or 'NOT NOTICED'}", flush=True)
        unnoticed += test is None
        rows.append(f"| {mutation.name} | `{(test or 'not noticed').replace('tests/', '', 1)}` |")
    if "--write" in sys.argv and not chosen:
        table = "\n".join(["| what was broken | the test that failed |", "|---|---|", *rows])
        text = PAGE.read_text()
        PAGE.write_text(text[: text.index(BEGIN) + len(BEGIN)] + "\n" + table + "\n" + text[text.index(END) :])
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
