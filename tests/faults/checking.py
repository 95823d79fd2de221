"""After the fault: everything that was promised must hold, on a fresh process, without a human."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from refold.app import Context
from refold.folds.engine import RowFold
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventStore
from refold.testing.history import check_history, check_subscription
from tests.domain import bank, inline_bank
from tests.faults.journal import attempts_in, seen_in

LEASE = 1.0
ROOT = Path(__file__).parents[2]


def begin(
    url: str,
    folder: Path,
    name: str,
    point: str = "-",
    occurrence: int = 1,
    action: str = "none",
    rounds: int = 12,
    *,
    rebuild: bool = True,
) -> Any:
    """Starts a workload process, which rebuilds the read model at its end or not."""
    command = [sys.executable, "-m", "tests.faults.workload", url, str(folder), name, point, str(occurrence), action]
    with (folder / f"{name}.stderr").open("w") as said:
        return subprocess.Popen(
            [*command, str(rounds), "rebuild" if rebuild else "-"],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stderr=said,
        )


async def log_of(store: EventStore) -> list[StoredEvent]:
    log: list[StoredEvent] = []
    while True:
        page = await store.read_log(after=len(log), limit=2000)
        log += page.events
        if page.scanned_to >= page.head:
            return log


async def check(url: str, folder: Path) -> int:
    """Fails unless all holds; gives the number of events in the log."""
    app = inline_bank if "inline" in folder.name else bank
    async with app.connect(url, lease=LEASE) as context:
        log = await log_of(context.store)
        # This module's assertions are not rewritten by pytest: what is wrong must be said.
        wrong = check_history(attempts_in(folder), log)
        assert not wrong, wrong
        for subscriber, seen in seen_in(folder).items():
            wrong = check_subscription(seen, log)
            assert not wrong, (subscriber, wrong)
        await _read_models_are_the_fold(context, log)
        await _notes_are_the_units(context, log)
        return len(log)


async def _read_models_are_the_fold(context: Context, log: list[StoredEvent]) -> None:
    for cls, definition in context.app.read_models.items():
        rows: dict[Any, Any] = {}
        RowFold(definition).fold(rows, [context.types.decode(event) for event in log])
        wanted = {key: row for key, row in rows.items() if row is not None}
        found = await context.find(cls, after=len(log), timeout=30)
        assert {definition.key_of(row): row for row in found} == wanted


async def _notes_are_the_units(context: Context, log: list[StoredEvent]) -> None:
    """A row of the user's own is there exactly when the events of its unit of work are."""
    async with context.transaction() as unit:
        notes = {row[0] for row in await unit.execute("select append_id from notes")}
    units = {event.append_id.hex() for event in log if event.stream.startswith("account-u")}
    assert notes == units


def checked(url: str, folder: Path) -> int:
    return asyncio.run(check(url, folder))
