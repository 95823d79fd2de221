"""Traces by the real SDK of OpenTelemetry: one request can be followed from its command into the read models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from refold import Recorded
from refold.errors import ConfigurationError, Conflict, Rejected
from refold.store.append import NO_STREAM
from refold.store.event_store import EventStore
from refold.tracing import NO_TRACING, tracing_by
from tests.domain import AccountClosed, AccountSummary, DepositsPerDay, OpenAccount, bank
from tests.projections.stores import Added, Stock, shop, until

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Traces:
    """Spans that have ended, with a provider that nobody else has."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, name: str) -> Sequence[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    async def one(self, name: str) -> ReadableSpan:
        async def there() -> Sequence[ReadableSpan]:
            return self.named(name)

        (span,) = await until(there, f"the span {name!r}")
        assert isinstance(span, ReadableSpan)
        return span


@pytest.fixture
def traces() -> Traces:
    return Traces()


def trace_id(span: ReadableSpan) -> int:
    return span.get_span_context().trace_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def carried(recorded: Recorded[Any]) -> tuple[int, int, bool]:
    """Trace, span, and whether it is sampled, as the event's metadata say."""
    version, trace, span, flags = str(recorded.metadata.traceparent).split("-")
    assert version == "00"
    return int(trace, 16), int(span, 16), bool(int(flags, 16) & 1)


async def test_a_request_is_followed_into_the_read_models(store: EventStore, traces: Traces) -> None:
    async with bank.connect(store, tracer_provider=traces.provider) as context:
        with traces.tracer.start_as_current_span("request") as request:
            receipt = await context.execute(OpenAccount(account_id="1", owner="alice"))
        assert await context.get(AccountSummary, "1", after=receipt) is not None
        (recorded,) = await context.history("account-1")
        command, append = await traces.one("execute OpenAccount"), await traces.one("append")
        fold = await traces.one("fold account_summary")
    inside = request.get_span_context()
    assert trace_id(command) == trace_id(append) == inside.trace_id
    assert (parent_of(command), parent_of(append)) == (inside.span_id, command.get_span_context().span_id)
    # What the event carries is the span of its command.
    assert carried(recorded) == (inside.trace_id, command.get_span_context().span_id, True)
    # A page holds events of many traces, so it is none of them's child, and links to each.
    assert fold.parent is None
    assert [link.context.span_id for link in fold.links] == [command.get_span_context().span_id]
    assert trace_id(fold) != inside.trace_id
    assert (append.kind, fold.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert command.attributes == {"refold.command": "OpenAccount"}
    assert fold.attributes is not None
    assert fold.attributes["refold.events"] == 1
    assert fold.attributes["refold.last_position"] == receipt.position
    # A read model that wants no such event has nothing to tell.
    assert traces.named("fold deposits_per_day") == []
    assert DepositsPerDay in bank.read_models


async def test_a_page_links_to_each_trace_once(store: EventStore, traces: Traces) -> None:
    async with shop.connect(store, projections=False, tracer_provider=traces.provider) as context:
        for number in range(3):
            with traces.tracer.start_as_current_span(f"request {number}"):
                await context.append(f"stock-{number}", [Added(count=1), Added(count=2)])
    async with shop.connect(store, tracer_provider=traces.provider) as context:
        await context.find(Stock, after=6)
        fold = await traces.one("fold stock")
    requests = {trace_id(span) for number in range(3) for span in traces.named(f"request {number}")}
    assert len(fold.links) == 3
    assert {link.context.trace_id for link in fold.links} == requests


async def test_a_trace_that_is_given_is_kept_and_continued(store: EventStore, traces: Traces) -> None:
    async with bank.connect(store, tracer_provider=traces.provider) as context:
        await context.execute(OpenAccount(account_id="1", owner="alice"), traceparent=GIVEN)
        (recorded,) = await context.history("account-1")
        command = await traces.one("execute OpenAccount")
    assert recorded.metadata.traceparent == GIVEN
    assert f"{trace_id(command):032x}" == GIVEN.split("-")[1]
    assert f"{parent_of(command):016x}" == GIVEN.split("-")[2]


async def test_a_trace_that_is_none_harms_nothing(store: EventStore, traces: Traces) -> None:
    async with bank.connect(store, tracer_provider=traces.provider) as context:
        receipt = await context.execute(OpenAccount(account_id="1", owner="alice"), traceparent="rubbish")
        assert await context.get(AccountSummary, "1", after=receipt) is not None
        assert (await traces.one("fold account_summary")).links == ()


async def test_what_else_vendors_say_of_a_trace_goes_along(traces: Traces) -> None:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

    far = SpanContext(1, 2, True, TraceFlags(1), TraceState([("vendor", "x1")]))
    async with bank.connect("sqlite:///:memory:", tracer_provider=traces.provider) as context:
        with trace.use_span(NonRecordingSpan(far)):
            receipt = await context.execute(OpenAccount(account_id="1", owner="alice"))
        (recorded,) = await context.history("account-1")
        assert recorded.metadata.tracestate == "vendor=x1"
        await context.find(AccountSummary, after=receipt)
        (link,) = (await traces.one("fold account_summary")).links
        assert link.context.trace_state.get("vendor") == "x1"


async def test_a_refusal_is_an_answer_and_an_error_is_an_error(store: EventStore, traces: Traces) -> None:
    async with bank.connect(store, tracer_provider=traces.provider) as context:
        await context.execute(OpenAccount(account_id="1", owner="alice"))
        traces.exporter.clear()
        with pytest.raises(Rejected):
            await context.execute(OpenAccount(account_id="1", owner="bob"))
        with pytest.raises(Conflict):
            await context.append("account-1", [AccountClosed()], expected=NO_STREAM)
    (command,) = traces.named("execute OpenAccount")
    assert command.status.status_code is StatusCode.UNSET
    assert command.attributes is not None
    assert command.attributes["refold.rejected"] == "this account is open already"
    (append,) = traces.named("append")
    assert append.status.status_code is StatusCode.ERROR
    assert append.events[0].name == "exception"


async def test_commands_of_a_unit_of_work_carry_the_trace(store: EventStore, traces: Traces) -> None:
    async with bank.connect(store, projections=False, tracer_provider=traces.provider) as context:
        with traces.tracer.start_as_current_span("request") as request:
            async with context.transaction() as unit:
                await unit.command(OpenAccount(account_id="1", owner="alice"))
        (recorded,) = await context.history("account-1")
    inside = request.get_span_context()
    assert carried(recorded) == (inside.trace_id, inside.span_id, True)


async def test_a_rebuild_is_one_trace(store: EventStore, traces: Traces) -> None:
    async with shop.connect(store, projections=False, tracer_provider=traces.provider) as context:
        await context.append("stock-a", [Added(count=1)])
        await context.rebuild(Stock)
    rebuild, fold = await traces.one("rebuild stock"), await traces.one("fold stock")
    assert parent_of(fold) == rebuild.get_span_context().span_id
    assert len(fold.links) == 1


async def test_projections_are_not_part_of_the_trace_in_which_the_app_was_connected(traces: Traces) -> None:
    with traces.tracer.start_as_current_span("start"):
        async with shop.connect("sqlite:///:memory:", tracer_provider=traces.provider) as context:
            await context.append("stock-a", [Added(count=1)])
            await context.find(Stock, after=1)
            assert (await traces.one("fold stock")).parent is None


async def test_tasks_do_not_mix_their_traces(traces: Traces) -> None:
    async with bank.connect("sqlite:///:memory:", tracer_provider=traces.provider) as context:

        async def one(number: int) -> tuple[int, str]:
            with traces.tracer.start_as_current_span("request") as request:
                await context.execute(OpenAccount(account_id=str(number), owner="alice"))
                return number, f"{request.get_span_context().trace_id:032x}"

        asked = dict(await asyncio.gather(*(one(number) for number in range(50))))
        async for recorded in context.events():
            traceparent = recorded.metadata.traceparent
            assert traceparent is not None
            assert traceparent.split("-")[1] == asked[int(recorded.stream_key)]


async def test_what_is_not_sampled_says_so_in_the_event() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF)
    async with bank.connect("sqlite:///:memory:", tracer_provider=provider) as context:
        await context.execute(OpenAccount(account_id="1", owner="alice"))
        (recorded,) = await context.history("account-1")
    assert carried(recorded)[2] is False


async def test_without_a_provider_nothing_is_traced_or_kept() -> None:
    assert tracing_by() is NO_TRACING
    async with bank.connect("sqlite:///:memory:") as context:
        await context.execute(OpenAccount(account_id="1", owner="alice"))
        (recorded,) = await context.history("account-1")
    assert recorded.metadata.traceparent is None
    assert b"trace" not in recorded.stored.metadata


async def test_what_is_no_provider_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no tracer provider"):
        async with bank.connect("sqlite:///:memory:", tracer_provider="jaeger"):
            pass
