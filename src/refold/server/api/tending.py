"""What operators do, over HTTP: status, pause and resume, rebuild and rollback, parked keys, verify, snapshots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from refold.app import Context
from refold.errors import ConfigurationError, DefinitionError
from refold.folds.read_model import ReadModelDefinition, read_model_of
from refold.messages.recorded import from_microseconds
from refold.operations.status import document_of as status_document
from refold.operations.status import status_of
from refold.operations.verify import verify
from refold.operations.verify.findings import Report
from refold.operations.verify.manner import Sample
from refold.projections.parking.records import ParkedKey, RequestKind, from_text
from refold.projections.rebuild import RebuildProgress
from refold.server.api.documents import EventDocument, documents_of
from refold.server.jobs import Job, JobDocument
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem
from refold.server.security.identity import Access, Role

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = [
    "LOCATION",
    "OPERATOR",
    "Changed",
    "Reason",
    "SnapshotDocument",
    "begun_job",
    "definition_named",
    "tending_of",
]

_GROUP = "Operations"
OPERATOR = Access(Role.OPERATOR)
_ASKED_SECONDS = 10.0
Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000)]


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; it is kept in the log of operations."""

    reason: Annotated[str, msgspec.Meta(max_length=2_000)] = ""


class RebuildOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to rebuild: on so many processes (Postgres), from the start even where a killed rebuild could go on."""

    jobs: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    from_start: bool = False


class VerifyOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to check: all, or a sample of so many percent; `online` leaves room to an application that works."""

    sample: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    online: bool = True


class KeyOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row's key: one value for each field of the key, as text."""

    key: list[str]


class Changed(msgspec.Struct, frozen=True):
    """Whether anything has changed: False when it was so already."""

    changed: bool


class PositionReached(msgspec.Struct, frozen=True):
    """Where the read model stands."""

    position: int


class JobList(msgspec.Struct, frozen=True):
    """The jobs of this process, the newest first."""

    jobs: list[JobDocument]


class ParkedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A parked key: which event failed, and how; and what was asked for it."""

    read_model: str
    key: str
    position: int
    stream: str
    type: str
    error: str
    attempts: int
    since: datetime
    request: str
    requested_by: str


class ParkedList(msgspec.Struct, frozen=True):
    """Parked keys, in the order of their positions."""

    parked: list[ParkedDocument]


class WaitingDocument(msgspec.Struct, frozen=True):
    """A parked key and the events that wait behind it: the first is the one that failed."""

    parked: ParkedDocument
    events: list[EventDocument]
    more: bool


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


class WaitingQuery(msgspec.Struct, frozen=True):
    """How many of the events that wait."""

    limit: Limit = 20


class ParkedQuery(msgspec.Struct, frozen=True):
    """Those of one read model, or of all."""

    read_model: str = ""


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


def tending_of(server: Server) -> Sequence[Operation]:
    """What operators do."""
    return (*_looking(server), *_projections(server), *_parked(), *_jobs(server), *_snapshots())


def definition_named(server: Server, call: Call) -> ReadModelDefinition:
    """The read model that is named in the path. Raises `Problem`."""
    try:
        return read_model_of(server.app.read_model_named(call.path["name"]))
    except ConfigurationError as problem:
        raise Problem("not-found", str(problem)) from problem


def _looking(server: Server) -> Iterable[Operation]:
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
        group=_GROUP,
        access=Access(Role.READER),
        run=status,
        answers={200: Said("The status.", dict[str, Any])},
    )
    yield Operation(
        method="GET",
        path="/operations/log",
        name="list_operations",
        summary="What operators did and what was refused, the newest first.",
        group=_GROUP,
        access=OPERATOR,
        query=OperationsQuery,
        run=operations,
        answers={200: Said("A page of the log of operations.", OperationList)},
    )


def _projections(server: Server) -> Iterable[Operation]:
    async def pause(call: Call) -> Answer:
        definition = definition_named(server, call)
        changed = await call.context.projections.operator.pause(
            definition, actor=call.identity.name, reason=call.body.reason
        )
        return Answer(Changed(changed))

    async def resume(call: Call) -> Answer:
        definition = definition_named(server, call)
        changed = await call.context.projections.operator.resume(
            definition, actor=call.identity.name, reason=call.body.reason
        )
        return Answer(Changed(changed))

    async def rebuild(call: Call) -> Answer:
        definition, order, actor = definition_named(server, call), call.body, call.identity.name
        context = call.context

        async def work(job: Job) -> Any:
            def told(now: RebuildProgress) -> None:
                job.advance(now.done, now.total)

            position = await context.rebuild(
                definition.cls, progress=told, resume=not order.from_start, jobs=order.jobs
            )
            await _record(context, "rebuild", definition.name, actor, {"position": position})
            return {"position": position}

        return begun_job(server, "rebuild", definition.name, actor, work)

    async def rollback(call: Call) -> Answer:
        definition = definition_named(server, call)
        position = await call.context.rollback(definition.cls)
        await _record(call.context, "rollback", definition.name, call.identity.name, {"position": position})
        return Answer(PositionReached(position))

    async def refold(call: Call) -> Answer:
        definition = definition_named(server, call)
        try:
            key = definition.as_key(tuple(call.body.key))
        except (DefinitionError, msgspec.ValidationError) as problem:
            detail = f"{call.body.key} is no key of {definition.name}: {problem}"
            raise Problem("invalid", detail, field="$.key") from problem
        row = await call.context.refold(definition.cls, key)
        await _record(call.context, "refold", f"{definition.name} {' '.join(call.body.key)}", call.identity.name, {})
        return Answer({"row": row})

    def deed(
        word: str, summary: str, run: Callable[[Call], Awaitable[Answer]], body: Any, status: int, said: Said
    ) -> Operation:
        return Operation(
            method="POST",
            path=f"/operations/projections/{{name}}/{word}",
            name=f"{word}_projection",
            summary=summary,
            group=_GROUP,
            access=OPERATOR,
            run=run,
            body=body,
            records=True,
            answers={status: said},
            problems=("not-found", "refused", "stopped"),
        )

    yield deed(
        "pause", "Let a read model stand still, until it is resumed.", pause, Reason, 200, Said("Done.", Changed)
    )
    yield deed(
        "resume", "Let a read model go on that is paused or has stopped.", resume, Reason, 200, Said("Done.", Changed)
    )
    yield deed(
        "rebuild",
        "Fold a read model anew beside the one that is read, and switch at the end.",
        rebuild,
        RebuildOrder,
        202,
        Said("It has begun: the job.", JobDocument, LOCATION),
    )
    yield deed(
        "rollback",
        "Put the rows from before the last rebuild back.",
        rollback,
        msgspec.defstruct("Nothing", [], frozen=True, forbid_unknown_fields=True),
        200,
        Said("It is read as it was.", PositionReached),
    )
    yield deed("refold", "Fold one row anew, in its place.", refold, KeyOrder, 200, Said("The row.", dict[str, Any]))


LOCATION = {"Location": "Where to look how far it is."}


def begun_job(server: Server, kind: str, target: str, actor: str, work: Callable[[Job], Awaitable[Any]]) -> Answer:
    """Begins a job, and says which. Raises `Refused`."""
    job = server.jobs.begin(kind, target, actor, work)
    return Answer(job.document(), 202, {"Location": f"/operations/jobs/{job.id}"})


async def _record(context: Context, what: str, target: str, actor: str, details: dict[str, Any]) -> None:
    await context.projections.record_operation(what, target, actor=actor, details=details)


def _parked() -> Iterable[Operation]:
    async def list_parked(call: Call) -> Answer:
        found = await call.context.projections.operator.parked(call.query.read_model)
        return Answer(ParkedList([_parked_document(each) for each in found]))

    def definition_and_key(call: Call) -> tuple[ReadModelDefinition, Any]:
        name = call.path["name"]
        try:
            definition = read_model_of(call.context.app.read_model_named(name))
            return definition, from_text(definition, call.path["key"])
        except ConfigurationError as problem:
            raise Problem("not-found", str(problem)) from problem
        except (msgspec.MsgspecError, ValueError, TypeError) as problem:
            raise Problem("not-found", f"{name} has no parked key {call.path['key']!r}") from problem

    async def show(call: Call) -> Answer:
        definition, key = definition_and_key(call)
        waiting = await call.context.projections.operator.waiting(definition, key, call.query.limit)
        return Answer(WaitingDocument(_parked_document(waiting.parked), documents_of(waiting.events), waiting.more))

    def deal(kind: RequestKind, summary: str) -> Operation:
        async def run(call: Call) -> Answer:
            definition, key = definition_and_key(call)
            done = await call.context.projections.operator.ask(
                definition,
                key,
                kind,
                actor=call.identity.name,
                reason=call.body.reason,
                timeout=_ASKED_SECONDS,
            )
            return Answer({"done": done.details.get("done"), "details": done.details})

        return Operation(
            method="POST",
            path=f"/operations/parked/{{name}}/{{key}}/{kind}",
            name=f"{kind}_parked",
            summary=summary,
            group=_GROUP,
            access=OPERATOR,
            run=run,
            body=Reason,
            records=True,
            answers={200: Said("What came of it.", dict[str, Any])},
            problems=("not-found", "refused", "stopped"),
        )

    yield Operation(
        method="GET",
        path="/operations/parked",
        name="list_parked",
        summary="The parked keys of one read model, or of all.",
        group=_GROUP,
        access=OPERATOR,
        query=ParkedQuery,
        run=list_parked,
        answers={200: Said("The parked keys.", ParkedList)},
    )
    yield Operation(
        method="GET",
        path="/operations/parked/{name}/{key}",
        name="show_parked",
        summary="A parked key, and the events that wait behind it.",
        group=_GROUP,
        access=OPERATOR,
        query=WaitingQuery,
        run=show,
        answers={200: Said("What waits.", WaitingDocument)},
        problems=("not-found",),
    )
    yield deal("retry", "Try the event that failed once more, through today's code.")
    yield deal("release", "Fold all that waits, through today's code.")
    yield deal("skip", "Leave the event that failed out, for a reason, and go on.")


def _parked_document(parked: ParkedKey) -> ParkedDocument:
    return ParkedDocument(
        read_model=parked.name,
        key=parked.key,
        position=parked.position,
        stream=parked.stream,
        type=parked.type,
        error=parked.error,
        attempts=parked.attempts,
        since=from_microseconds(parked.since),
        request=parked.request,
        requested_by=parked.requested_by,
    )


def _jobs(server: Server) -> Iterable[Operation]:
    async def begin_verify(call: Call) -> Answer:
        order, context, actor = call.body, call.context, call.identity.name

        async def work(job: Job) -> Any:
            report = await verify(
                context.store,
                context.projections.sink,
                server.app,
                sample=None if order.sample is None else Sample(order.sample, order.seed),
                online=order.online,
                progress=lambda _, done, total: job.advance(done, total),
            )
            await _record(context, "verify", report.store, actor, {"ok": report.ok})
            return {"ok": report.ok, **_report(report)}

        return begun_job(server, "verify", "everything" if order.sample is None else f"{order.sample:g} %", actor, work)

    async def list_jobs(call: Call) -> Answer:
        return Answer(JobList([job.document() for job in server.jobs.all()]))

    def job_of(call: Call) -> Job:
        job = server.jobs.find(call.path["id"])
        if job is None:
            raise Problem("not-found", "this process has no such job: it was begun in another, or before a restart")
        return job

    async def show_job(call: Call) -> Answer:
        return Answer(job_of(call).document())

    async def cancel_job(call: Call) -> Answer:
        job = job_of(call)
        if job.running and job.task is not None:
            job.task.cancel()
            await _record(call.context, f"{job.kind}: cancel", job.target, call.identity.name, {})
        return Answer(job.document(), 202)

    common: dict[str, Any] = {"group": _GROUP, "access": OPERATOR}
    yield Operation(
        method="POST",
        path="/operations/verify",
        name="verify",
        summary="Check that log, snapshots and read models agree.",
        body=VerifyOrder,
        run=begin_verify,
        records=True,
        answers={202: Said("It has begun: the job.", JobDocument, LOCATION)},
        problems=("refused",),
        **common,
    )
    yield Operation(
        method="GET",
        path="/operations/jobs",
        name="list_jobs",
        summary="The jobs of this process, the newest first.",
        run=list_jobs,
        answers={200: Said("The jobs.", JobList)},
        **common,
    )
    yield Operation(
        method="GET",
        path="/operations/jobs/{id}",
        name="show_job",
        summary="How far a job is, and what came of it.",
        run=show_job,
        answers={200: Said("The job.", JobDocument)},
        problems=("not-found",),
        **common,
    )
    yield Operation(
        method="DELETE",
        path="/operations/jobs/{id}",
        name="cancel_job",
        summary="Cancel a job that runs.",
        run=cancel_job,
        records=True,
        answers={202: Said("The job; it ends soon.", JobDocument)},
        problems=("not-found",),
        **common,
    )


def _report(report: Report) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report, enc_hook=str)
    for check, document in zip(report.checks, plain["checks"], strict=True):
        document["ok"] = check.ok
    return plain


def _snapshots() -> Iterable[Operation]:
    async def list_snapshots(call: Call) -> Answer:
        query: SnapshotsQuery = call.query
        found = await call.context.store.snapshots(after=query.after, limit=query.limit + 1)
        shown = [
            SnapshotDocument(each.stream, each.version, each.position, each.fingerprint, len(each.data))
            for each in found[: query.limit]
        ]
        return Answer(SnapshotList(shown, shown[-1].stream if len(found) > query.limit else None))

    async def drop_snapshot(call: Call) -> Answer:
        stream = call.path["stream"]
        await call.context.store.drop_snapshot(stream)
        await _record(call.context, "snapshot: drop", stream, call.identity.name, {})
        return Answer(None, 204)

    yield Operation(
        method="GET",
        path="/operations/snapshots",
        name="list_snapshots",
        summary="The snapshots, in order of their streams' ids.",
        group=_GROUP,
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
        group=_GROUP,
        access=OPERATOR,
        run=drop_snapshot,
        records=True,
        answers={204: Said("It is forgotten.")},
    )
