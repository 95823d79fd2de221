"""Snapshots over HTTP: which there are, that of one stream, and forgetting one."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from refold.server.api.operators import OPERATIONS, OPERATOR, Limit, record
from refold.server.operation import Answer, Call, Operation, Said
from refold.store.event_store import Snapshot

__all__ = ["snapshots_of"]


class SnapshotsQuery(msgspec.Struct, frozen=True):
    """Snapshots of streams after a stream's id."""

    after: str = ""
    limit: Limit = 100


class SnapshotDocument(msgspec.Struct, frozen=True):
    """A snapshot: of which stream, at which version, and of which definition."""

    stream: str
    version: int
    position: int
    fingerprint: str
    bytes: int


class SnapshotList(msgspec.Struct, frozen=True):
    """Snapshots in order of their streams' ids. `next` goes on; None: these were the last."""

    snapshots: list[SnapshotDocument]
    next: str | None


class SnapshotOfStream(msgspec.Struct, frozen=True):
    """The snapshot of a stream; None: its events are folded from the first."""

    snapshot: SnapshotDocument | None


def snapshots_of() -> Iterable[Operation]:
    """The operations on snapshots."""

    async def list_snapshots(call: Call) -> Answer:
        query: SnapshotsQuery = call.query
        found = await call.context.store.snapshots(after=query.after, limit=query.limit + 1)
        shown = [_document(each) for each in found[: query.limit]]
        return Answer(SnapshotList(shown, shown[-1].stream if len(found) > query.limit else None))

    async def show_snapshot(call: Call) -> Answer:
        stream = call.path["stream"]
        found = await call.context.store.load_snapshot(stream)
        return Answer(SnapshotOfStream(None if found is None else _document(found)))

    async def drop_snapshot(call: Call) -> Answer:
        stream = call.path["stream"]
        await call.context.store.drop_snapshot(stream)
        await record(call.context, "snapshot: drop", stream, call.identity.name, {})
        return Answer(None, 204)

    yield Operation(
        method="GET",
        path="/operations/snapshots",
        name="list_snapshots",
        summary="The snapshots, in order of their streams' ids.",
        group=OPERATIONS,
        access=OPERATOR,
        query=SnapshotsQuery,
        run=list_snapshots,
        answers={200: Said("A page of snapshots.", SnapshotList)},
    )
    yield Operation(
        method="DELETE",
        path="/operations/snapshots/{stream}",
        name="drop_snapshot",
        summary="Forget a stream's snapshot; the next load folds its events.",
        group=OPERATIONS,
        access=OPERATOR,
        run=drop_snapshot,
        answers={204: Said("It is forgotten.")},
    )
    yield Operation(
        method="GET",
        path="/operations/snapshots/{stream}",
        name="show_snapshot",
        summary="The snapshot of a stream.",
        group=OPERATIONS,
        access=OPERATOR,
        run=show_snapshot,
        answers={200: Said("The snapshot.", SnapshotOfStream)},
    )


def _document(snapshot: Snapshot) -> SnapshotDocument:
    return SnapshotDocument(
        snapshot.stream, snapshot.version, snapshot.position, snapshot.fingerprint, len(snapshot.data)
    )
