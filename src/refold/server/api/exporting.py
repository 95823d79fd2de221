"""Who changed what when, to take away: events and operations as CSV or JSON Lines, however many there are."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from refold.messages.recorded import StoredEvent, from_microseconds
from refold.operations.log_search import Wanted, WantedTest, search_log
from refold.server.api.documents import document_of
from refold.server.api.events import filter_of, position_before
from refold.server.operation import Call, Operation, Said, Stream
from refold.server.security.identity import Access, Role
from refold.store.event_store import EventFilter, EventStore

__all__ = ["exporting_of", "harmless"]

_PAGE = 500
_CSV = "text/csv; charset=utf-8"
_LINES = "application/jsonl"

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical", enc_hook=str)


class ExportQuery(msgspec.Struct, frozen=True):
    """Which events: as for the log; those of one `stream` alone."""

    stream: str | None = None
    type: list[str] = []
    category: list[str] = []
    tag: list[str] = []
    actor: str | None = None
    correlation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


class OperationsExportQuery(msgspec.Struct, frozen=True):
    """What was done by one `actor`, or by all."""

    actor: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None


def harmless(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe in front."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def exporting_of() -> Sequence[Operation]:
    """The operations that export: each thing in each form."""
    return tuple(each for form in ("csv", "jsonl") for each in (_events_as(form), _operations_as(form)))


_DESCRIBED = {
    "csv": "However long it is: it comes as it is read. "
    "What a spreadsheet could take for a formula has an apostrophe in front.",
    "jsonl": "However long it is: it comes as it is read.",
}
_KINDS = {"csv": _CSV, "jsonl": _LINES}
_NAMES = {"csv": "CSV", "jsonl": "JSON Lines"}


def _events_as(form: str) -> Operation:
    columns = (
        "recorded_at", "occurred_at", "actor", "type", "stream", "version", "position", "command", "correlation_id",
        "causation_id", "event_id", "payload",
    )  # fmt: skip

    async def export_events(call: Call) -> Stream:
        query: ExportQuery = call.query
        store = call.context.store
        first = 1 if query.since is None else await position_before(store, query.since) + 1
        last = None if query.until is None else await position_before(store, query.until)
        pages = _log(store, query, first, last) if query.stream is None else _stream(store, query, first, last)
        pieces = _table(pages, columns, _event_cells) if form == "csv" else _lines(pages, document_of)
        return _attached(pieces, _KINDS[form], f"events.{form}")

    return Operation(
        method="GET",
        path=f"/events/export.{form}",
        name=f"export_events_{form}",
        summary=f"Events as {_NAMES[form]}: who changed what when.",
        description=_DESCRIBED[form],
        group="Events",
        access=Access(Role.READER),
        query=ExportQuery,
        run=export_events,
        answers={200: Said("The events, in the order of the log.", kind=_KINDS[form])},
    )


def _operations_as(form: str) -> Operation:
    columns = ("at", "actor", "operation", "target", "reason", "details", "number")

    async def export_operations(call: Call) -> Stream:
        pages = _operations(call, call.query.actor)
        if form == "csv":
            return _attached(_table(pages, columns, _operation_cells), _CSV, "operations.csv")
        lines = _lines(pages, _operation_document)
        return _attached(lines, _LINES, "operations.jsonl")

    return Operation(
        method="GET",
        path=f"/operations/export.{form}",
        name=f"export_operations_{form}",
        summary=f"The log of operations as {_NAMES[form]}.",
        description=_DESCRIBED[form],
        group="Operations",
        access=Access(Role.OPERATOR),
        query=OperationsExportQuery,
        run=export_operations,
        answers={200: Said("What was done and refused, the newest first.", kind=_KINDS[form])},
    )


def _attached(pieces: AsyncIterator[bytes], kind: str, name: str) -> Stream:
    return Stream(pieces, kind, {"Content-Disposition": f'attachment; filename="{name}"'})


def _asked(query: ExportQuery) -> tuple[EventFilter, Wanted]:
    wanted = Wanted(actor=query.actor, correlation_id=query.correlation_id, text=query.text)
    return filter_of(query.type, query.tag, query.category), wanted


async def _log(
    store: EventStore, query: ExportQuery, first: int, last: int | None
) -> AsyncIterator[Sequence[StoredEvent]]:
    where, wanted = _asked(query)
    after: int | None = 0
    while after is not None:
        page = await search_log(store, where, wanted, after=after, limit=_PAGE, first=first, last=last)
        yield page.events
        after = page.next


async def _stream(
    store: EventStore, query: ExportQuery, first: int, last: int | None
) -> AsyncIterator[Sequence[StoredEvent]]:
    assert query.stream is not None
    where, wanted = _asked(query)
    test = WantedTest(wanted)
    after = 0
    while page := await store.read_stream(query.stream, after=after, limit=_PAGE):
        yield [
            event
            for event in page
            if first <= event.position and (last is None or event.position <= last)
            if where.fits(event) and test.fits(event)
        ]
        after = page[-1].version


async def _operations(call: Call, actor: str | None) -> AsyncIterator[Sequence[Any]]:
    before = 0
    while page := await call.context.projections.operator.operations(before=before, limit=_PAGE):
        yield [each for each in page if actor in (None, each.actor)]
        before = page[-1].number
        if before <= 1:
            return


def _event_cells(stored: StoredEvent) -> tuple[object, ...]:
    event = document_of(stored)
    metadata = event.metadata
    return (
        event.recorded_at.isoformat(), event.occurred_at.isoformat(), metadata.actor, event.type, event.stream,
        event.version, event.position, metadata.command, metadata.correlation_id, metadata.causation_id, event.event_id,
        stored.payload.decode(),
    )  # fmt: skip


def _operation_document(each: Any) -> dict[str, Any]:
    at = from_microseconds(each.at)
    return {
        "at": at, "actor": each.actor, "operation": each.operation, "target": each.target, "reason": each.reason,
        "details": dict(each.details), "number": each.number,
    }  # fmt: skip


def _operation_cells(each: Any) -> tuple[object, ...]:
    details = _encoder.encode(dict(each.details)).decode()
    at = from_microseconds(each.at).isoformat()
    return (at, each.actor, each.operation, each.target, each.reason, details, each.number)


async def _lines(pages: AsyncIterator[Sequence[Any]], document: Any) -> AsyncIterator[bytes]:
    async for page in pages:
        if page:
            yield b"".join(_encoder.encode(document(each)) + b"\n" for each in page)


async def _table(pages: AsyncIterator[Sequence[Any]], columns: Iterable[str], cells: Any) -> AsyncIterator[bytes]:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    async for page in pages:
        writer.writerows([harmless(cell) for cell in cells(each)] for each in page)
        yield written.getvalue().encode()
        written.seek(0)
        written.truncate()
    yield written.getvalue().encode()
