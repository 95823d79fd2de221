"""The snapshot of one stream: whether there is one, and how far it spares the folding."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from refold.server.api.tending import SnapshotDocument
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.security.identity import Access, Role

__all__ = ["snapshots_of"]


class SnapshotOfStream(msgspec.Struct, frozen=True):
    """The snapshot of a stream; None: its events are folded from the first."""

    snapshot: SnapshotDocument | None


def snapshots_of() -> Sequence[Operation]:
    """The operation that shows it."""

    async def show_snapshot(call: Call) -> Answer:
        stream = call.path["stream"]
        found = await call.context.store.load_snapshot(stream)
        if found is None:
            return Answer(SnapshotOfStream(None))
        size = len(found.data)
        shown = SnapshotDocument(found.stream, found.version, found.position, found.fingerprint, size)
        return Answer(SnapshotOfStream(shown))

    return (
        Operation(
            method="GET",
            path="/operations/snapshots/{stream}",
            name="show_snapshot",
            summary="The snapshot of a stream.",
            group="Operations",
            access=Access(Role.OPERATOR),
            run=show_snapshot,
            answers={200: Said("The snapshot.", SnapshotOfStream)},
        ),
    )
