"""How it goes: where everything stands now, and how it went in the last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from refold.operations.status import document_of as status_document
from refold.operations.status import status_of
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.samples import EVERY_SECONDS, Sample
from refold.server.security.identity import Access, Role

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["overview_of"]


class OverviewQuery(msgspec.Struct, frozen=True):
    """Samples with a number above `after`: those that one has not seen yet."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0


class Overview(msgspec.Struct, frozen=True):
    """The status now, and samples of this process, the oldest first, `every` so many seconds."""

    status: dict[str, Any]
    every: float
    samples: list[Sample]


def overview_of(server: Server) -> Sequence[Operation]:
    """The operation that the console's first page is made of."""

    async def overview(call: Call) -> Answer:
        context = call.context
        now = await status_of(context.store, context.projections.sink, server.app)
        return Answer(Overview(status_document(now), EVERY_SECONDS, server.samples.after(call.query.after)))

    return (
        Operation(
            method="GET",
            path="/operations/overview",
            name="overview",
            summary="The status, and how head, conflicts and projections moved in the last ten minutes.",
            group="Operations",
            access=Access(Role.READER),
            query=OverviewQuery,
            run=overview,
            answers={200: Said("How it goes.", Overview)},
        ),
    )
