"""Opening what a replay reads: a file, or a store that is only read."""

from __future__ import annotations

from pathlib import Path

from refold.app import App
from refold.app.stores import open_store
from refold.operations.progress import Progress, unheard
from refold.operations.replay.recorded_log import ExportLog, StoreLog
from refold.operations.replay.replaying import replay
from refold.operations.replay.report import ReplayReport
from refold.store.group_commit import Limits

__all__ = ["replay_source"]


async def replay_source(
    source: str,
    app: App,
    *,
    folder: Path,
    baseline: Path | None = None,
    save: Path | None = None,
    every: int = 1,
    shown: int = 5,
    progress: Progress = unheard,
) -> ReplayReport:
    """Replays an export (a file, looked for in `folder`) or the log of a store (a URL). See `replay`.

    Raises what opening the store raises.
    """
    if not source.startswith("sqlite:") and "://" not in source:
        log = ExportLog(folder / source)
        return await replay(log, app, baseline=baseline, save=save, every=every, shown=shown, progress=progress)
    store = await open_store(source, limits=Limits(), listen_url=None, read_only=True)
    try:
        return await replay(
            StoreLog(store), app, baseline=baseline, save=save, every=every, shown=shown, progress=progress
        )
    finally:
        await store.close()
