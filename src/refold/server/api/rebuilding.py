"""Rebuilds over HTTP, besides beginning one: what it would change, and letting one that runs stand, go on, or end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from refold.folds.read_model import ReadModel
from refold.operations.recording import recorded
from refold.projections.rebuild import RebuildProgress
from refold.server.api.operators import (
    LOCATION,
    OPERATIONS,
    OPERATOR,
    Changed,
    Nothing,
    Reason,
    begun_build,
    definition_named,
)
from refold.server.jobs import Job, JobDocument
from refold.server.operation import Answer, Call, Operation, Said

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["rebuilding_of"]

_SHOWN = 50
"""Rows of each kind that a comparison shows and explains."""
_BASE = "/operations/projections/{name}"


def rebuilding_of(server: Server) -> Sequence[Operation]:
    """The operations."""

    async def compare(call: Call) -> Answer:
        definition, context, actor = definition_named(server, call), call.context, call.identity.name

        async def work(job: Job) -> Any:
            def told(now: RebuildProgress) -> None:
                job.advance(now.done, now.total)

            async with recorded(context, "rebuild: compare", definition.name, actor=actor):
                diff = await context.compare_rebuild(definition.cls, shown=_SHOWN, progress=told)
            plain: dict[str, Any] = msgspec.to_builtins(diff, enc_hook=str)
            return plain

        return await begun_build(server, call, "compare", definition, work)

    async def pause(call: Call, read_model: type[ReadModel]) -> bool:
        return await call.context.projections.pause_rebuild(
            read_model, actor=call.identity.name, reason=call.body.reason
        )

    async def resume(call: Call, read_model: type[ReadModel]) -> bool:
        return await call.context.projections.resume_rebuild(
            read_model, actor=call.identity.name, reason=call.body.reason
        )

    async def cancel(call: Call, read_model: type[ReadModel]) -> bool:
        return await call.context.projections.cancel_rebuild(
            read_model, actor=call.identity.name, reason=call.body.reason
        )

    return (
        Operation(
            method="POST",
            path=f"{_BASE}/compare",
            name="compare_projection",
            summary="Say which rows a rebuild would change, and why; nothing is switched.",
            description="The job's result has the numbers of rows, the first of each kind, and the event behind each.",
            group=OPERATIONS,
            access=OPERATOR,
            body=Nothing,
            run=compare,
            answers={202: Said("It has begun: the job.", JobDocument, LOCATION)},
            problems=("not-found", "refused", "under-way"),
        ),
        _order(server, "pause", "Let a rebuild stand still, whatever process it is in, until it is resumed.", pause),
        _order(server, "resume", "Let a paused rebuild go on.", resume),
        _order(server, "cancel", "End a rebuild, also one that was killed; nothing of it is left.", cancel),
    )


def _order(
    server: Server, word: str, summary: str, obey: Callable[[Call, type[ReadModel]], Awaitable[bool]]
) -> Operation:
    async def run(call: Call) -> Answer:
        return Answer(Changed(await obey(call, definition_named(server, call).cls)))

    return Operation(
        method="POST",
        path=f"{_BASE}/rebuild/{word}",
        name=f"{word}_rebuild",
        summary=summary,
        group=OPERATIONS,
        access=OPERATOR,
        body=Reason,
        run=run,
        answers={200: Said("Done.", Changed)},
        problems=("not-found", "refused", "stopped"),
    )
