"""Traces by OpenTelemetry: spans for commands, appends, folds and rebuilds, and the trace context in events' metadata.

It needs `refold[otel]` and a tracer provider. Without either everything here does nothing, and costs nearly nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from refold.errors import ConfigurationError, Rejected
from refold.messages.metadata import decode_metadata
from refold.messages.recorded import Recorded

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Tracer

__all__ = ["NO_TRACING", "Tracing", "tracing_by"]

_NOTHING: AbstractContextManager[None] = nullcontext()
_LINKS = 128
"""Links of one span, at most: what OpenTelemetry itself keeps unless it is told otherwise."""


class Tracing:
    """Traces nothing. What is asked for is a block to be done inside of a span."""

    def __repr__(self) -> str:
        return "NO_TRACING"

    def command(self, name: str, traceparent: str | None) -> AbstractContextManager[None]:
        """The execution of a command. Without a current span it belongs to the trace of `traceparent`, when given."""
        return _NOTHING

    def append(self, events: int) -> AbstractContextManager[None]:
        """Storing events."""
        return _NOTHING

    def fold(
        self, read_model: str, page: Sequence[Recorded[Any]], wanted: Container[type]
    ) -> AbstractContextManager[None]:
        """Folding those events of a page that are wanted, if any; linked to the traces in which they came to be."""
        return _NOTHING

    def rebuild(self, read_model: str) -> AbstractContextManager[None]:
        """A rebuild."""
        return _NOTHING

    def carried(self) -> tuple[str | None, str | None]:
        """The current span's `traceparent` and `tracestate`, as events carry them; None where there is no such."""
        return None, None


NO_TRACING = Tracing()


def tracing_by(provider: Any = None) -> Tracing:
    """Tracing by a tracer provider, or by the one that the process has set; none when it has not set any.

    Raises `ConfigurationError` for a provider that is none.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        if provider is None:
            return NO_TRACING
        raise ConfigurationError("a tracer provider needs `pip install 'refold[otel]'`") from None
    if provider is None:
        provider = trace.get_tracer_provider()
        if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
            return NO_TRACING
    elif not isinstance(provider, trace.TracerProvider):
        raise ConfigurationError(f"{provider!r} is no tracer provider of OpenTelemetry")
    return _Traced(provider.get_tracer("refold"))


class _Traced(Tracing):
    """Traces by a tracer of OpenTelemetry."""

    def __repr__(self) -> str:
        return f"tracing by {self._tracer!r}"

    def __init__(self, tracer: Tracer) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def command(self, name: str, traceparent: str | None) -> AbstractContextManager[None]:
        parent = None
        if traceparent is not None and not self._trace.get_current_span().get_span_context().is_valid:
            parent = self._context_of(traceparent, None)
        return _Span(self, f"execute {name}", {"refold.command": name}, "internal", parent)

    def append(self, events: int) -> AbstractContextManager[None]:
        return _Span(self, "append", {"refold.events": events}, "producer")

    def fold(
        self, read_model: str, page: Sequence[Recorded[Any]], wanted: Container[type]
    ) -> AbstractContextManager[None]:
        events = [recorded for recorded in page if type(recorded.event) in wanted]
        if not events:
            return _NOTHING
        attributes = {
            "refold.read_model": read_model,
            "refold.events": len(events),
            "refold.first_position": events[0].position,
            "refold.last_position": events[-1].position,
        }
        return _Span(self, f"fold {read_model}", attributes, "consumer", links=self._links(events))

    def rebuild(self, read_model: str) -> AbstractContextManager[None]:
        return _Span(self, f"rebuild {read_model}", {"refold.read_model": read_model}, "internal")

    def carried(self) -> tuple[str | None, str | None]:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent"), carrier.get("tracestate")

    def _links(self, events: Iterable[Recorded[Any]]) -> list[Link]:
        """To the spans that wrote the events, each once, the newest when there are too many."""
        found: dict[str, str | None] = {}
        for recorded in events:
            if b'"traceparent"' in recorded.stored.metadata:
                metadata = decode_metadata(recorded.stored.metadata)
                if metadata.traceparent is not None:
                    found[metadata.traceparent] = metadata.tracestate
        links = []
        for traceparent, tracestate in list(found.items())[-_LINKS:]:
            context = self._trace.get_current_span(self._context_of(traceparent, tracestate)).get_span_context()
            if context.is_valid:
                links.append(self._trace.Link(context))
        return links

    def _context_of(self, traceparent: str, tracestate: str | None) -> Context:
        from opentelemetry.context import Context

        carrier = {"traceparent": traceparent} | ({} if tracestate is None else {"tracestate": tracestate})
        return self._propagator.extract(carrier, Context())

    def start(
        self, name: str, attributes: dict[str, Any], kind: str, parent: Context | None, links: Sequence[Link]
    ) -> Any:
        """A span that has begun, as the current one's child."""
        return self._tracer.start_span(
            name,
            context=parent,
            kind=self._trace.SpanKind[kind.upper()],
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        )


class _Span(AbstractContextManager[None]):
    """A span for the time of a block, and the current one inside of it."""

    def __init__(
        self,
        tracing: _Traced,
        name: str,
        attributes: dict[str, Any],
        kind: str,
        parent: Context | None = None,
        links: Sequence[Link] = (),
    ) -> None:
        self._tracing = tracing
        self._begin = (name, attributes, kind, parent, links)

    def __enter__(self) -> None:
        from opentelemetry import context, trace

        self._span = self._tracing.start(*self._begin)
        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        from opentelemetry import context
        from opentelemetry.trace import Status, StatusCode

        context.detach(self._token)
        if isinstance(problem, Rejected):
            # The domain's answer, and no failure of the system.
            self._span.set_attribute("refold.rejected", problem.reason)
        elif problem is not None:
            self._span.record_exception(problem)
            self._span.set_status(Status(StatusCode.ERROR, f"{type(problem).__name__}: {problem}"))
        self._span.end()
