"""How everything stands, and what operators did, over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from refold.messages.recorded import from_microseconds
from refold.operations.status import document_of as status_document
from refold.operations.status import status_of
from refold.server.api.operators import OPERATIONS, OPERATOR, Limit
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.security.identity import Access, Role

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["status_operations"]


class OperationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did, or was refused."""

    number: int
    at: datetime
    actor: str
    operation: str
    target: str
    reason: str
    details: dict[str, Any]


class OperationList(msgspec.Struct, frozen=True):
    """What was done, the newest first. `next` goes on with older ones; None: there are none."""

    operations: list[OperationDocument]
    next: int | None


class OperationsQuery(msgspec.Struct, frozen=True):
    """Those with a number below `before` (0: from the newest)."""

    before: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    limit: Limit = 100


def status_operations(server: Server) -> Iterable[Operation]:
    """The operations that show them."""

    async def status(call: Call) -> Answer:
        context = call.context
        now = await status_of(context.store, context.projections.sink, server.app)
        return Answer(status_document(now))

    async def operations(call: Call) -> Answer:
        query: OperationsQuery = call.query
        found = await call.context.projections.operator.operations(before=query.before, limit=query.limit + 1)
        shown = [
            OperationDocument(
                number=each.number,
                at=from_microseconds(each.at),
                actor=each.actor,
                operation=each.operation,
                target=each.target,
                reason=each.reason,
                details=dict(each.details),
            )
            for each in found[: query.limit]
        ]
        return Answer(OperationList(shown, shown[-1].number if len(found) > query.limit else None))

    yield Operation(
        method="GET",
        path="/operations/status",
        name="status",
        summary="Where everything stands: the log's head, and each projection's state, lag and owner.",
        group=OPERATIONS,
        access=Access(Role.READER),
        run=status,
        answers={200: Said("The status.", dict[str, Any])},
    )
    yield Operation(
        method="GET",
        path="/operations/log",
        name="list_operations",
        summary="What operators did and what was refused, the newest first.",
        group=OPERATIONS,
        access=OPERATOR,
        query=OperationsQuery,
        run=operations,
        answers={200: Said("A page of the log of operations.", OperationList)},
    )
