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


_LONGEST = 1200.0
"""Seconds that the tests of one break may take. What only hangs has not said what is wrong."""


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
SHARDS = "tests/projections/test_shards.py"
FOLLOWING = "tests/projections/test_following.py"
BEFORE_APPENDING = (
    "-- Appending. One call takes a batch of appends, decides each of them, and answers for each of them.\n"
)
# The lock is held for the drawing alone, as a sequence holds its own, so that the positions of a batch are neighbours.
DRAWN_FROM_A_SEQUENCE = """create sequence @schema@.positions;
create function @schema@.drawn(many integer) returns bigint language plpgsql volatile as $$
declare
    first bigint;
begin
    perform pg_advisory_lock(@lock@);
    first := nextval('@schema@.positions');
    perform setval('@schema@.positions', first + many - 1);
    perform pg_advisory_unlock(@lock@);
    return first - 1;
end
$$;
"""

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
        "Postgres: positions from a sequence, under the lock (what is rolled back leaves a gap)",
        POSTGRES,
        BEFORE_APPENDING,
        "create sequence @schema@.positions;\n" + BEFORE_APPENDING,
        ("tests/projections/test_inline.py", "tests/faults/test_nemesis.py::test_writers_that_are_killed"),
        (
            ("head + n.number, recorded, n.occurred", "nextval('@schema@.positions'), recorded, n.occurred"),
            ("head := head + 1;", "head := nextval('@schema@.positions');"),
            ("head + 1, recorded, event_occurred", "nextval('@schema@.positions'), recorded, event_occurred"),
            (
                "    head := coalesce(head, 0);\n",
                "    select case when p.is_called then p.last_value else 0 end into head from @schema@.positions p;\n",
            ),
        ),
    ),
    Mutation(
        "Postgres: positions from a sequence in place of the lock (a later one is seen first)",
        POSTGRES,
        BEFORE_APPENDING,
        DRAWN_FROM_A_SEQUENCE + BEFORE_APPENDING,
        (EIGHT,),
        (
            ("and pg_try_advisory_xact_lock(@lock@)", "and true"),
            (" perform pg_advisory_xact_lock(@lock@);", " perform 1;"),
            (
                "\n    head := coalesce(head, 0);\n    recorded",
                "\n    head := @schema@.drawn(cardinality(of_append));\n    recorded",
            ),
            ("\n        head := coalesce(head, 0);", "\n        head := @schema@.drawn(1);"),
        ),
    ),
    Mutation(
        "Postgres: any isolation level",
        POSTGRES,
        "if current_setting('transaction_isolation') <> 'read committed' then",
        "if false then",
        ("tests/store/postgres/test_guards.py",),
    ),
    Mutation(
        "Postgres: events may be changed",
        "src/refold/store/postgres/migrations/0001_log.sql",
        "create trigger events_are_immutable before update or delete or truncate on @schema@.events",
        "create trigger events_are_immutable before truncate on @schema@.events",
        ("tests/store/postgres/test_guards.py",),
    ),
    Mutation(
        "Postgres: the checkpoint moves outside of the transaction of its rows",
        "src/refold/projections/sinks/postgres.py",
        '        faults.at("projection.before_write")\n        answer = await run(shape.writing(new), parameters)\n',
        "        moved = await run(\n"
        '            f"update {self._checkpoints} set position = $1, append_id = $2 "\n'
        '            "where name = $3 and position = $4 and epoch = $5 returning 1",\n'
        "            parameters[:5],\n"
        "        )\n"
        "        if not moved:\n            return False\n"
        '        faults.at("projection.before_write")\n'
        "        answer = await run(shape.writing(new), (*parameters[:3], move.after, *parameters[4:]))\n",
        ("tests/faults/test_sweep.py::test_postgres[projection.before_write-kill]",),
    ),
    Mutation(
        "SQLite: events may be changed (the trigger is gone)",
        "src/refold/store/sqlite/migrations/0001_log.sql",
        "create trigger events_are_not_updated before update on events\n"
        "begin\n"
        "    select raise(abort, 'events are never changed: append one that says what is different now');\n"
        "end;\n",
        "",
        ("tests/store/sqlite/test_guards.py",),
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
        "            if not moved(connection, move.of(table), move):\n                return False\n",
        "            if not moved(connection, move.of(table), move):\n                return False\n"
        '            connection.execute("commit")\n            connection.execute("begin")\n',
        ("tests/faults/test_sweep.py::test_sqlite[projection.checkpoint_moved-kill]",),
    ),
    Mutation(
        "Postgres: a checkpoint moves whoever owns it",
        "src/refold/projections/sinks/postgres_rows.py",
        "where name = $3 and position = $4 and epoch = $5 returning 1",
        "where name = $3 and $4 >= 0 and $5 >= 0 returning 1",
        (
            "tests/faults/test_nemesis.py::test_a_worker_that_stands_still_past_its_lease_is_fenced",
            "tests/projections/test_processes.py",
        ),
    ),
    Mutation(
        "A checkpoint is the last position that matched",
        "src/refold/projections/feed.py",
        "                found.append(types.decode(stored))\n",
        "                found.append(types.decode(stored))\n                last = stored\n                continue\n",
        (f"{FOLLOWING}::test_a_receipt_returns_though_nothing_matches[sqlite]",),
        (("            last = stored\n    except", "    except"),),
    ),
    Mutation(
        "A checkpoint is believed whatever the log says",
        "src/refold/projections/projection.py",
        "    if checkpoint.position == 0:\n        return\n",
        "    return\n",
        ("tests/projections/test_processes.py::test_a_log_of_an_older_backup",),
    ),
    Mutation(
        "A failing event is skipped",
        "src/refold/projections/folding.py",
        "                self._touched |= self._fold.fold("
        "self._rows, events, only=self._only, seen=self._seen, passes=passes)\n",
        "                try:\n"
        "                    self._touched |= self._fold.fold("
        "self._rows, events, only=self._only, seen=self._seen, passes=passes)\n"
        "                except Exception:\n                    pass\n",
        (f"{FOLLOWING}::test_an_event_that_cannot_be_folded",),
    ),
    Mutation(
        "A changed definition goes on with the old rows",
        "src/refold/projections/projection.py",
        "if left is not None and left.fingerprint != self.definition.fingerprint:",
        "if False:",
        (f"{FOLLOWING}::test_an_event_that_cannot_be_folded", "tests/projections/test_releases.py"),
        (("if checkpoint.fingerprint != self.definition.fingerprint:", "if False:"),),
    ),
    Mutation(
        "A snapshot is believed without its proof",
        "src/refold/commands/loading.py",
        "        if not _ends_at(at_version, snapshot.position, snapshot.append_id):",
        "        if False:",
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
    Mutation(
        "The server: anybody may do everything",
        "src/refold/server/security/identity.py",
        "        if access.role is None:\n            return True",
        "        if True:\n            return True",
        ("tests/server/test_security.py",),
    ),
    Mutation(
        "The server: a page of another site may act",
        "src/refold/server/security/guard.py",
        "    if request.method in _SAFE:\n        return",
        "    if True:\n        return",
        ("tests/server/test_security.py",),
    ),
    Mutation(
        "The server: a revoked key goes on",
        "src/refold/server/security/keys.py",
        "        if stamp == self._seen:\n",
        "        if self._seen is not None:\n",
        ("tests/server/test_security.py",),
    ),
    Mutation(
        "The server: the actor is whoever a header says",
        "src/refold/server/api/commands.py",
        "actor=call.identity.name,",
        'actor=call.header("Refold-Actor") or call.identity.name,',
        ("tests/server/test_commands.py",),
    ),
    Mutation(
        "The server: a read does not wait for its token",
        "src/refold/server/api/reading.py",
        "    if token is None:\n        return None",
        "    if True:\n        return None",
        ("tests/server/test_read_models.py",),
    ),
    Mutation(
        "The server: a page begins with the last row of the page before",
        "src/refold/server/api/cursors.py",
        '"<" if order.descending else ">"',
        '"<=" if order.descending else ">="',
        ("tests/server/test_read_models.py",),
    ),
    Mutation(
        "The live log is read twice when two come at the same moment",
        "src/refold/server/tail.py",
        "            self._reading = asyncio.create_task",
        "            await self._store.head()\n            self._reading = asyncio.create_task",
        ("tests/server/test_live.py",),
    ),
    Mutation(
        "The live log: who comes back goes on at its end",
        "src/refold/server/api/live.py",
        "        after = _last_seen(call)",
        "        after = None if _last_seen(call) else None",
        ("tests/server/test_client.py",),
    ),
    Mutation(
        "Postgres: leases go by the clock of the process",
        "src/refold/projections/sinks/postgres_checkpoints.py",
        "set lease_until = {NOW} + $2 from free",
        "set lease_until = {__import__('time').time_ns() // 1000} + $2 from free",
        (f"{SHARDS}::test_a_clock_that_is_a_day_off",),
    ),
    Mutation(
        "A shard writes rows of the others",
        "src/refold/projections/folding.py",
        "self._only = shard.has if shard != WHOLE else None",
        "self._only = None",
        (f"{SHARDS}::test_each_way_of_reading",),
    ),
    Mutation(
        "Shards come together that have seen different positions",
        "src/refold/projections/resharding.py",
        "                await self._bring_up(group)",
        "                pass",
        (f"{SHARDS}::test_killed_while_it_is_divided_anew",),
    ),
    Mutation(
        "A receipt waits for all shards",
        "src/refold/projections/reads.py",
        "if key is None or shard.has(key):",
        "if True:",
        (f"{SHARDS}::test_a_receipt_waits_for_the_shard_of_its_row_alone",),
    ),
    Mutation(
        "One of several keys that are read together fails the others",
        "src/refold/projections/shared_reads.py",
        "if len(waiting) > 1 and not isinstance(problem, StoreUnavailable):",
        "if False:",
        ("tests/projections/test_shared_reads.py",),
    ),
    Mutation(
        "Of rows that are read together, each is taken to be as old as the oldest",
        "src/refold/projections/reads.py",
        "reached = answer.seen.get(keys[0], answer.position)",
        "reached = answer.position",
        (f"{SHARDS}::test_a_receipt_waits_for_the_shard_of_its_row_alone",),
    ),
    Mutation(
        "A rule may change the state that the next commands are decided on",
        "src/refold/commands/decision.py",
        "if before != after or lengths",
        "if before is None and lengths",
        ("tests/commands/test_execute.py",),
    ),
    Mutation(
        "Streams of one id are shared out by their whole names",
        "src/refold/store/postgres/shares.py",
        "hashtext({_ID})",
        "hashtext(e.stream)",
        ("tests/projections/test_shares.py::test_the_same_rows",),
    ),
    Mutation(
        "Stopped is kept only where the process goes on",
        "src/refold/projections/projection.py",
        "        while True:  # once at least: whoever saw it stop may be ending this process already",
        "        while not self._stopping.is_set():",
        ("tests/projections/test_following.py::test_one_that_stops_while_its_process_ends_is_known_to_have_stopped",),
    ),
    Mutation(
        "Postgres: a unit of work is judged by its transaction's id, though the log could tell",
        "src/refold/store/postgres/transaction.py",
        "        if results:\n            first",
        "        if False:\n            first",
        ("tests/commands/test_units_in_a_crash.py",),
    ),
    Mutation(
        "Postgres: a transaction's id means the same after a crash",
        "src/refold/store/postgres/transaction.py",
        " and {_LIFE} = $2 then",
        " and $2 <> '' then",
        ("tests/commands/test_units_in_a_crash.py",),
    ),
    Mutation(
        "What a later version wrote is read as today's",
        "src/refold/messages/event_types.py",
        "        if stored.schema_version > version:\n",
        "        if False:\n",
        ("tests/projections/test_upcasting.py",),
    ),
    Mutation(
        "A fold reads an older version as it stands",
        "src/refold/folds/engine.py",
        "decode(stored.payload) if stored.schema_version == version else self._types.decode_event(stored)",
        "decode(stored.payload)",
        ("tests/projections/test_upcasting.py",),
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
        timeout=_LONGEST,
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
        except (LookupError, subprocess.TimeoutExpired) as problem:
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
