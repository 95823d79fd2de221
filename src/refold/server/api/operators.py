"""What the operations of operators have in common: who may, what is said, how a job is begun and a deed kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from refold.app import Context
from refold.errors import ConfigurationError
from refold.folds.read_model import ReadModel, ReadModelDefinition, read_model_of
from refold.projections.rebuild_under_way import paused_rebuild, running_rebuild
from refold.server.jobs import Job
from refold.server.operation import Answer, Call
from refold.server.problems import Problem
from refold.server.security.identity import Access, Role

if TYPE_CHECKING:
    from refold.server.asgi import Server

T = TypeVar("T")

__all__ = [
    "LOCATION",
    "OPERATIONS",
    "OPERATOR",
    "Changed",
    "Limit",
    "Nothing",
    "Reason",
    "begun_build",
    "begun_job",
    "definition_named",
    "followed_named",
    "record",
]

OPERATIONS = "Operations"
OPERATOR = Access(Role.OPERATOR)
LOCATION = {"Location": "Where to look how far it is."}
Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000)]


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; it is kept in the log of operations."""

    reason: Annotated[str, msgspec.Meta(max_length=2_000, pattern=r"^[^\x00]*$")] = ""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to be said."""


class Changed(msgspec.Struct, frozen=True):
    """Whether anything has changed: False when it was so already."""

    changed: bool


def definition_named(server: Server, call: Call) -> ReadModelDefinition:
    """The read model that is named in the path. Raises `Problem`."""
    return read_model_of(_found(call, server.app.read_model_named))


def followed_named(server: Server, call: Call) -> type[ReadModel] | str:
    """The read model that is named in the path, or the name itself of a hand-written projection. Raises `Problem`."""
    return _found(call, server.app.followed_named)


def _found(call: Call, named: Callable[[str], T]) -> T:
    try:
        return named(call.path["name"])
    except ConfigurationError as problem:
        raise Problem("not-found", str(problem)) from problem


def begun_job(server: Server, call: Call, kind: str, target: str, work: Callable[[Job], Awaitable[Any]]) -> Answer:
    """Begins a job, and says which. Raises `Problem` when the same is under way, and `Refused` when too many are."""
    job = server.jobs.begin(kind, target, call.identity.name, work)
    return Answer(job.document(), 202, {"Location": f"{call.root}/operations/jobs/{job.id}"})


async def begun_build(
    server: Server, call: Call, kind: str, definition: ReadModelDefinition, work: Callable[[Job], Awaitable[Any]]
) -> Answer:
    """Begins a job that builds beside a read model's rows, unless one is known to do so, in whatever process. Raises
    `Problem`, `Refused`.

    Two that ask at the same moment may both find nobody: the job of the later one fails then, and says why.
    """
    sink = call.context.projections.sink
    if paused := await paused_rebuild(sink, definition):
        raise Problem("under-way", paused)
    server.jobs.refuse_second(kind, definition.name)  # it knows more than a lease: the job, and who began it
    if running := await running_rebuild(sink, definition):
        raise Problem("under-way", running)
    return begun_job(server, call, kind, definition.name, work)


async def record(context: Context, what: str, target: str, actor: str, details: dict[str, Any]) -> None:
    """Keeps what an operator did in the log of operations."""
    await context.projections.record_operation(what, target, actor=actor, details=details)
