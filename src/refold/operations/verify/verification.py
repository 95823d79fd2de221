"""All checks of one store, in order: the log first, then what is derived from it."""

from __future__ import annotations

from refold.app import App
from refold.operations.progress import Progress, unheard
from refold.operations.verify.findings import Check, Report
from refold.operations.verify.log import check_log
from refold.operations.verify.read_models import check_checkpoints, check_read_model
from refold.operations.verify.snapshots import check_snapshots
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["verify"]

_PROMISES = {
    "file": "the database file is sound",
    "guards": "the database refuses to change events",
    "tags": "the index of tags has exactly the tags that events carry",
}


async def verify(store: EventStore, sink: Sink | None, app: App | None, *, progress: Progress = unheard) -> Report:
    """Checks the log, and, with an app, that its events can be read and that snapshots and read models equal the fold.

    Reads only, and may run while the application does: what is appended meanwhile is left for the next time.
    """
    head = (await store.head()).position
    checks = await _check_store(store)
    if all(check.ok for check in checks if check.name == "file"):
        checks += await check_log(store, None if app is None else app.types, head, progress)
        if sink is not None:
            checks.append(await check_checkpoints(store, sink))
        if app is not None:
            checks.append(await check_snapshots(store, app.aggregates.values(), app.types, head, progress))
        if app is not None and sink is not None:
            checkpoints = {checkpoint.name: checkpoint for checkpoint in await sink.checkpoints()}
            for definition in app.read_models.values():
                checkpoint = checkpoints.get(definition.name)
                checks.append(await check_read_model(store, sink, definition, checkpoint, app.types, progress))
    return Report(store.name, head, checks)


async def _check_store(store: EventStore) -> list[Check]:
    checks = []
    for part, flaws in (await store.flaws()).items():
        check = Check(part, _PROMISES[part])
        for flaw in flaws:
            check.found(flaw.where, flaw.problem)
        checks.append(check)
    return checks
