"""Whether each snapshot is the fold of its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from refold.errors import DecodeError, FoldFailed, UnknownEvent
from refold.folds.aggregate import AggregateDefinition
from refold.folds.engine import AggregateFold
from refold.messages.event_types import EventTypes, encode_json
from refold.messages.recorded import StoredEvent, category_of
from refold.operations.progress import Progress
from refold.operations.verify.findings import Check
from refold.operations.verify.manner import Pace, Sample
from refold.store.event_store import EventStore, Snapshot

__all__ = ["check_snapshots"]

_PAGE = 500
_EVENTS = 2_000


async def check_snapshots(
    store: EventStore,
    aggregates: Iterable[AggregateDefinition],
    types: EventTypes,
    sample: Sample | None,
    pace: Pace,
    progress: Progress,
) -> Check:
    """Folds the stream of every snapshot anew. One of an older definition is passed over, as loading does."""
    check = Check("snapshots", "each snapshot equals the fold of its stream")
    by_category = {definition.category: definition for definition in aggregates}
    after = ""
    while page := await store.snapshots(after=after, limit=_PAGE):
        after = page[-1].stream
        for snapshot in page:
            if sample is not None and not sample.has(b"snapshot %b" % snapshot.stream.encode()):
                continue
            check.looked_at += 1
            definition = by_category.get(category_of(snapshot.stream))
            problem = await _problem_of(store, snapshot, definition, types)
            if problem is not None:
                check.found(f"snapshot of {snapshot.stream} at version {snapshot.version}", problem)
            await pace.rest()
        progress("verify snapshots", check.looked_at, 0)
    return check


async def _problem_of(
    store: EventStore, snapshot: Snapshot, definition: AggregateDefinition | None, types: EventTypes
) -> str | None:
    last = await store.read_stream(snapshot.stream, after=snapshot.version - 1, limit=1)
    if not last or last[0].version != snapshot.version:
        return f"it is ahead of the log: the stream ends at version {await store.stream_version(snapshot.stream)}"
    if (last[0].position, last[0].append_id) != (snapshot.position, snapshot.append_id):
        return "the log has another event at its version: it was folded from another history"
    if definition is None or definition.fingerprint != snapshot.fingerprint:
        return None
    try:
        kept = msgspec.json.decode(snapshot.data, type=definition.cls)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        return f"it cannot be read: {problem}"
    try:
        state = await _folded(store, snapshot, definition, types)
    except (DecodeError, FoldFailed, UnknownEvent) as problem:
        return f"its stream cannot be folded: {problem}"
    if kept == msgspec.json.decode(encode_json(state), type=definition.cls):
        return None
    differing = [name for name in definition.cls.__struct_fields__ if getattr(kept, name) != getattr(state, name)]
    return f"it differs from the fold in {', '.join(differing) or 'its form'}"


async def _folded(store: EventStore, snapshot: Snapshot, definition: AggregateDefinition, types: EventTypes) -> Any:
    fold = AggregateFold[Any](definition, types)
    state: Any = definition.cls()
    after = 0
    while after < snapshot.version:
        limit = min(_EVENTS, snapshot.version - after)
        page: list[StoredEvent] = await store.read_stream(snapshot.stream, after=after, limit=limit)
        if not page:
            break
        state = await asyncio.to_thread(fold.fold, state, page)
        after = page[-1].version
    return state
