"""Parked keys over HTTP: which there are, what waits behind one, and dealing with it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from refold.errors import ConfigurationError, DefinitionError
from refold.folds.read_model import ReadModelDefinition, read_model_of
from refold.messages.recorded import from_microseconds
from refold.projections.parking.records import ParkedKey, RequestKind, from_text
from refold.server.api.documents import EventDocument, documents_of
from refold.server.api.operators import OPERATIONS, OPERATOR, Limit, Reason
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem

__all__ = ["parked_of"]

_ASKED_SECONDS = 10.0


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


class WaitingQuery(msgspec.Struct, frozen=True):
    """How many of the events that wait."""

    limit: Limit = 20


class ParkedQuery(msgspec.Struct, frozen=True):
    """Those of one read model, or of all."""

    read_model: str = ""


def parked_of() -> Iterable[Operation]:
    """The operations on parked keys."""

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
        except (DefinitionError, msgspec.MsgspecError, ValueError, TypeError) as problem:
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
            group=OPERATIONS,
            access=OPERATOR,
            run=run,
            body=Reason,
            answers={200: Said("What came of it.", dict[str, Any])},
            problems=("not-found", "refused", "stopped"),
        )

    yield Operation(
        method="GET",
        path="/operations/parked",
        name="list_parked",
        summary="The parked keys of one read model, or of all.",
        group=OPERATIONS,
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
        group=OPERATIONS,
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
