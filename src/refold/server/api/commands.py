"""Commands over HTTP: what may be asked of the domain, one operation for each class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from refold.app import App
from refold.commands.receipt import Receipt
from refold.folds.aggregate import AggregateDefinition
from refold.messages.event import Command, Event
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem
from refold.server.security.identity import Access, Role

__all__ = ["CommandInfo", "CommandList", "Preview", "ReceiptDocument", "SaidEvent", "commands_of"]

_GROUP = "Commands"
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_HEADERS = {
    "Idempotency-Key": "The command's id: the same id again gives the first receipt, and nothing happens twice.",
    "Refold-Correlation-Id": "The conversation that the command belongs to.",
    "Refold-Causation-Id": "The message that caused it.",
}
POSITION = {"Refold-Position": "The consistency token: give it as Refold-After to read what this command did."}


class SaidEvent(msgspec.Struct, frozen=True):
    """An event that a command led to: its type, and its fields."""

    type: str
    payload: Any


class ReceiptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did. `token` is the consistency token."""

    command_id: UUID
    stream: str
    version: int
    position: int
    recorded_at: datetime
    events: list[SaidEvent]
    token: str


class Preview(msgspec.Struct, frozen=True):
    """What a command would do now: the events that it would append, at this version of its stream."""

    stream: str
    version: int
    events: list[SaidEvent]


class CommandInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A command that may be executed: `id_field` says which aggregate is meant, `schema` what its fields are."""

    name: str
    category: str
    id_field: str
    description: str
    schema: dict[str, Any]


class CommandList(msgspec.Struct, frozen=True):
    """The commands that the caller may execute."""

    commands: list[CommandInfo]


def commands_of(app: App) -> Sequence[Operation]:
    """Two operations for each command: do it, and say what it would do; and the list of all."""
    known: list[tuple[type[Command], AggregateDefinition]] = [
        (command, definition) for definition in app.aggregates.values() for command in definition.decides
    ]
    found = [each for command, definition in known for each in _command(command, definition)]
    infos = [_info(command, definition) for command, definition in known]

    async def list_commands(call: Call) -> Answer:
        scopes = call.identity.scopes(Role.COMMANDER)
        mine = [info for info in infos if scopes is None or info.name in scopes or info.category in scopes]
        return Answer(CommandList(mine))

    listing = Operation(
        method="GET",
        path="/commands",
        name="list_commands",
        summary="The commands that you may execute, with the schema of each.",
        group=_GROUP,
        access=Access(None),
        run=list_commands,
        answers={200: Said("The commands.", CommandList)},
    )
    return (*found, listing)


def _command(command: type[Command], definition: AggregateDefinition) -> Iterable[Operation]:
    name = command.__message_name__
    access = Access(Role.COMMANDER, (name, definition.category))

    async def execute(call: Call) -> Answer:
        receipt = await call.context.execute(
            call.body,
            actor=call.identity.name,
            command_id=_id(call, "Idempotency-Key"),
            correlation_id=_id(call, "Refold-Correlation-Id"),
            causation_id=_id(call, "Refold-Causation-Id"),
            traceparent=call.header("traceparent"),
        )
        return Answer(_document(receipt), headers={"Refold-Position": str(receipt.position)})

    async def dry_run(call: Call) -> Answer:
        stream, version, events = await call.context.dry_run(call.body)
        return Answer(Preview(stream, version, _said(events)))

    described = (command.__doc__ or "").strip() if command.__doc__ != Command.__doc__ else ""
    yield Operation(
        method="POST",
        path=f"/commands/{name}",
        name=f"execute_{name}",
        summary=f"Execute {name} on {_article(definition.category)}.",
        description=described,
        group=_GROUP,
        access=access,
        run=execute,
        body=command,
        headers=_HEADERS,
        answers={200: Said("It is done, durably: the receipt.", ReceiptDocument, POSITION)},
        problems=(
            "conflict", "rejected", "rejected-forbidden", "rejected-invalid", "idempotency-key-reused", "overloaded",
            "outcome-unknown",
        ),
    )  # fmt: skip
    yield Operation(
        method="POST",
        path=f"/commands/{name}/dry-run",
        name=f"dry_run_{name}",
        summary=f"Say what {name} would do now, and do nothing.",
        group=_GROUP,
        access=access,
        run=dry_run,
        body=command,
        answers={200: Said("The events that it would append.", Preview)},
        problems=("rejected", "rejected-forbidden", "rejected-invalid"),
    )


def _info(command: type[Command], definition: AggregateDefinition) -> CommandInfo:
    described = (command.__doc__ or "").strip() if command.__doc__ != Command.__doc__ else ""
    return CommandInfo(
        name=command.__message_name__,
        category=definition.category,
        id_field=definition.id_field,
        description=described,
        schema=msgspec.json.schema(command),
    )


def _id(call: Call, header: str) -> str | None:
    given = call.header(header)
    if given is not None and not _ID.fullmatch(given):
        raise Problem("invalid", f"{header} must be 1 to 200 printable ASCII characters without spaces", field=header)
    return given


def _document(receipt: Receipt) -> ReceiptDocument:
    return ReceiptDocument(
        command_id=receipt.command_id,
        stream=receipt.stream,
        version=receipt.version,
        position=receipt.position,
        recorded_at=receipt.timestamp,
        events=_said(receipt.events),
        token=str(receipt.position),
    )


def _said(events: Iterable[Event]) -> list[SaidEvent]:
    return [SaidEvent(type(event).__message_name__, event) for event in events]


def _article(category: str) -> str:
    return f"an {category}" if category[:1] in "aeiou" else f"a {category}"
