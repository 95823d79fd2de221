"""All checks of one store, in order: the log first, then what is derived from it."""

from __future__ import annotations

from refold.app import App
from refold.operations.progress import Progress, unheard
from refold.operations.verify.checkpoints import check_checkpoints
from refold.operations.verify.findings import Check, Report
from refold.operations.verify.log import check_log, check_sampled_log
from refold.operations.verify.manner import Pace, Sample
from refold.operations.verify.read_models import ReadModelVerification
from refold.operations.verify.sampled_rows import sampled_streams
from refold.operations.verify.snapshots import check_snapshots
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["verify"]

_PROMISES = {
    "file": "the database file is sound",
    "guards": "the database refuses to change events",
    "tags": "the index of tags has exactly the tags that events carry",
}


async def verify(
    store: EventStore,
    sink: Sink | None,
    app: App | None,
    *,
    sample: Sample | None = None,
    online: bool = False,
    progress: Progress = unheard,
) -> Report:
    """Checks the log, and, with an app, that its events can be read and that snapshots and read models equal the fold.

    Reads only, and may run while the application does: what is appended meanwhile is left for the next time. `online`
    leaves more room to it: smaller pages, and rests between them. With a `sample`, only that part is looked at.
    """
    pace = Pace(online=online)
    types = None if app is None else app.types
    head = (await store.head()).position
    streams: list[str] = []
    if sample is None:
        checks = await _check_store(store)
    else:
        whole = Check("file, guards and tags", "")
        whole.skipped = "left out of a sample, because they are only seen as a whole"
        checks = [whole]
    if all(check.ok for check in checks if check.name == "file"):
        if sample is None:
            checks += await check_log(store, types, head, pace, progress)
        else:
            streams = await sampled_streams(store, sample, pace)
            checks += await check_sampled_log(store, types, head, sample, streams, pace, progress)
        if sink is not None:
            checks.append(await check_checkpoints(store, await sink.checkpoints()))
        if app is not None:
            checks.append(await check_snapshots(store, app.aggregates.values(), app.types, sample, pace, progress))
        if app is not None and sink is not None:
            comparing = ReadModelVerification(store, sink, app.types, sample, streams, pace, progress)
            checks += [await comparing.check(definition) for definition in app.read_models.values()]
    if sample is None:
        return Report(store.name, head, checks)
    return Report(store.name, head, checks, sample.percent, sample.seed)


async def _check_store(store: EventStore) -> list[Check]:
    checks = []
    for part, flaws in (await store.flaws()).items():
        check = Check(part, _PROMISES[part])
        for flaw in flaws:
            check.found(flaw.where, flaw.problem)
        checks.append(check)
    return checks
