"""What operators do with read models, over HTTP: pause and resume, rebuild and rollback, one row anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from refold.errors import DefinitionError
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
    followed_named,
)
from refold.server.jobs import Job, JobDocument
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["projections_of"]


class RebuildOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to rebuild: on so many processes (Postgres), from the start even where a killed rebuild could go on."""

    jobs: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    from_start: bool = False


class KeyOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row's key: one value for each field of the key, as text."""

    key: list[str]


class PositionReached(msgspec.Struct, frozen=True):
    """Where the read model stands."""

    position: int


def projections_of(server: Server) -> Iterable[Operation]:
    """The operations on one read model's projection."""

    async def pause(call: Call) -> Answer:
        changed = await call.context.projections.pause(
            followed_named(server, call), actor=call.identity.name, reason=call.body.reason
        )
        return Answer(Changed(changed))

    async def resume(call: Call) -> Answer:
        changed = await call.context.projections.resume(
            followed_named(server, call), actor=call.identity.name, reason=call.body.reason
        )
        return Answer(Changed(changed))

    async def rebuild(call: Call) -> Answer:
        definition, order, actor = definition_named(server, call), call.body, call.identity.name
        context = call.context

        async def work(job: Job) -> Any:
            def told(now: RebuildProgress) -> None:
                job.advance(now.done, now.total)

            async with recorded(context, "rebuild", definition.name, actor=actor) as details:
                details["position"] = await context.rebuild(
                    definition.cls, progress=told, resume=not order.from_start, jobs=order.jobs
                )
            return details

        return await begun_build(server, call, "rebuild", definition, work)

    async def rollback(call: Call) -> Answer:
        definition = definition_named(server, call)
        async with recorded(call.context, "rollback", definition.name, actor=call.identity.name) as details:
            details["position"] = position = await call.context.rollback(definition.cls)
        return Answer(PositionReached(position))

    async def refold(call: Call) -> Answer:
        definition = definition_named(server, call)
        try:
            key = definition.as_key(tuple(call.body.key))
        except (DefinitionError, msgspec.ValidationError) as problem:
            detail = f"{call.body.key} is no key of {definition.name}: {problem}"
            raise Problem("invalid", detail, field="$.key") from problem
        what = f"{definition.name} {' '.join(call.body.key)}"
        async with recorded(call.context, "refold", what, actor=call.identity.name):
            row = await call.context.refold(definition.cls, key)
        return Answer({"row": row})

    def deed(
        word: str,
        summary: str,
        run: Callable[[Call], Awaitable[Answer]],
        body: Any,
        status: int,
        said: Said,
        description: str = "",
        more_problems: tuple[str, ...] = (),
    ) -> Operation:
        return Operation(
            method="POST",
            path=f"/operations/projections/{{name}}/{word}",
            name=f"{word}_projection",
            summary=summary,
            description=description,
            group=OPERATIONS,
            access=OPERATOR,
            run=run,
            body=body,
            answers={status: said},
            problems=("not-found", "refused", "stopped", *more_problems),
        )

    yield deed(
        "pause",
        "Let a read model or hand-written projection stand still, until it is resumed.",
        pause,
        Reason,
        200,
        Said("Done.", Changed),
    )
    yield deed("resume", "Let one go on that is paused or has stopped.", resume, Reason, 200, Said("Done.", Changed))
    yield deed(
        "rebuild",
        "Fold a read model anew beside the one that is read, and switch at the end.",
        rebuild,
        RebuildOrder,
        202,
        Said("It has begun: the job.", JobDocument, LOCATION),
        "One that is under way in whatever process, or was paused, is told at once (`under-way`: by whom, since when, "
        "and what to do). Of two that are begun at the same moment, the job of one may fail instead.",
        ("under-way",),
    )
    yield deed(
        "rollback",
        "Put the rows from before the last rebuild back.",
        rollback,
        Nothing,
        200,
        Said("It is read as it was.", PositionReached),
    )
    yield deed("refold", "Fold one row anew, in its place.", refold, KeyOrder, 200, Said("The row.", dict[str, Any]))
