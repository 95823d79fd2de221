"""Jobs over HTTP: beginning to verify, looking how far a job is, ending one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from refold.operations.recording import recorded
from refold.operations.verify import verify
from refold.operations.verify.findings import Report
from refold.operations.verify.manner import Sample
from refold.server.api.operators import LOCATION, OPERATIONS, OPERATOR, begun_job, record
from refold.server.jobs import Job, JobDocument
from refold.server.operation import Answer, Call, Operation, Said

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["verifying_of"]

_OF_ITS_PROCESS = (
    "A job belongs to the process that began it: other servers do not know it, and it is forgotten when that process "
    "ends."
)


class VerifyOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to check: all, or a sample of so many percent; `online` leaves room to an application that works."""

    sample: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    online: bool = True


class JobList(msgspec.Struct, frozen=True):
    """The jobs of this process (host and number), the newest first; those of other servers are not among them."""

    process: str
    jobs: list[JobDocument]


def verifying_of(server: Server) -> Iterable[Operation]:
    """The operations on jobs."""

    async def begin_verify(call: Call) -> Answer:
        order, context, actor = call.body, call.context, call.identity.name

        async def work(job: Job) -> Any:
            async with recorded(context, "verify", context.store.name, actor=actor) as details:
                report = await verify(
                    context.store,
                    context.projections.sink,
                    server.app,
                    sample=None if order.sample is None else Sample(order.sample, order.seed),
                    online=order.online,
                    progress=lambda _, done, total: job.advance(done, total),
                )
                details["ok"] = report.ok
            return {"ok": report.ok, **_report(report)}

        return begun_job(server, call, "verify", "everything" if order.sample is None else f"{order.sample:g} %", work)

    async def list_jobs(call: Call) -> Answer:
        return Answer(JobList(server.jobs.process, [job.document() for job in server.jobs.all()]))

    async def show_job(call: Call) -> Answer:
        return Answer(server.jobs.find(call.path["id"]).document())

    async def cancel_job(call: Call) -> Answer:
        job = server.jobs.find(call.path["id"])
        if job.running and job.task is not None:
            job.task.cancel()
            await record(call.context, f"{job.kind}: cancel", job.target, call.identity.name, {})
        return Answer(job.document(), 202)

    common: dict[str, Any] = {"group": OPERATIONS, "access": OPERATOR}
    yield Operation(
        method="POST",
        path="/operations/verify",
        name="verify",
        summary="Check that log, snapshots and read models agree.",
        body=VerifyOrder,
        run=begin_verify,
        answers={202: Said("It has begun: the job.", JobDocument, LOCATION)},
        problems=("refused", "under-way"),
        **common,
    )
    yield Operation(
        method="GET",
        path="/operations/jobs",
        name="list_jobs",
        summary="The jobs of this process, the newest first.",
        description=_OF_ITS_PROCESS,
        run=list_jobs,
        answers={200: Said("The jobs.", JobList)},
        **common,
    )
    yield Operation(
        method="GET",
        path="/operations/jobs/{id}",
        name="show_job",
        summary="How far a job is, and what came of it.",
        description=_OF_ITS_PROCESS,
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
        description=_OF_ITS_PROCESS,
        run=cancel_job,
        answers={202: Said("The job; it ends soon.", JobDocument)},
        problems=("not-found",),
        **common,
    )


def _report(report: Report) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report, enc_hook=str)
    for check, document in zip(report.checks, plain["checks"], strict=True):
        document["ok"] = check.ok
    return plain
