"""Metrics of a context in Prometheus' text format. Labels name read models, states and outcomes, and nothing else.

`refold.operations.monitor.Monitor.metrics` gives them; docs/how-to/watch-lag.md says what each is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

import refold
from refold.app import Context
from refold.errors import MissingExtra
from refold.operations.status import STATES, ProjectionStatus, Status
from refold.projections.sink import building, previous, read_model_of_table
from refold.store.counts import BATCH_SIZES, counts_of

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

__all__ = ["MetricsText", "Seen"]

_EACH = ("projection", "shard")


class Seen(msgspec.Struct, frozen=True):
    """What a monitor knows now. `fresh`: the status is new enough to be told; ages are seconds."""

    context: Context
    status: Status | None
    fresh: bool
    age: float
    store_up: bool
    loop_age: float
    ready: bool


class MetricsText:
    """Writes metrics, by a registry of its own. Raises `MissingExtra` without `prometheus_client`."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, generate_latest
        except ImportError:
            raise MissingExtra("metrics need prometheus_client; run `pip install 'refold[metrics]'`") from None
        self._new_registry = CollectorRegistry
        self._text_of = generate_latest

    def of(self, seen: Seen) -> str:
        """The text of what was seen."""
        registry = self._new_registry(auto_describe=False)
        registry.register(_Collector(seen))
        return self._text_of(registry).decode()


class _Collector:
    """The metrics of one moment."""

    def __init__(self, seen: Seen) -> None:
        from prometheus_client import core

        self._core = core
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """All metrics. Those of which nothing is known now have no value, rather than an old one."""
        yield from self._process()
        yield from self._appends()
        yield from self._work()
        status = self._seen.status if self._seen.fresh else None
        yield from self._log(status)
        each = [] if status is None else [p for p in status.projections if not _is_kept(p.name)]
        # One that has shards is told of by these alone.
        divided = {p.name.partition(":")[0] for p in each if ":" in p.name}
        each = [p for p in each if p.name not in divided]
        suffix = building("")
        yield from self._projections([p for p in each if not p.name.partition(":")[0].endswith(suffix)])
        yield from self._rebuilds([p for p in each if p.name.partition(":")[0].endswith(suffix)], status)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
        return self._core.GaugeMetricFamily(f"refold_{name}", text, labels=labels)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> CounterMetricFamily:
        return self._core.CounterMetricFamily(f"refold_{name}", text, labels=labels)

    def _value(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        return self._core.GaugeMetricFamily(f"refold_{name}", text, value=value)

    def _process(self) -> Iterator[Metric]:
        seen = self._seen
        build = self._gauge("build_info", "The version of Refold; always 1.", ["version"])
        build.add_metric([refold.__version__], 1)
        yield build
        yield self._value("ready", "Whether the work of this process moves (1), as /readyz says.", seen.ready)
        yield self._value("store_up", "Whether the store answered when it was last asked.", seen.store_up)
        age = self._gauge("status_age_seconds", "How long ago the store answered last.")
        if seen.status is not None:
            age.add_metric([], seen.age)
        yield age
        yield self._value("event_loop_age_seconds", "How long ago the event loop turned last.", seen.loop_age)

    def _appends(self) -> Iterator[Metric]:
        appends = self._counter("appends", "Appends of this process, by what became of them.", ["outcome"])
        events = self._counter("events_appended", "Events that this process has stored.")
        waiting = self._gauge("append_queue_depth", "Appends of this process that wait for their commit.")
        sizes = self._core.HistogramMetricFamily(
            "refold_commit_batch_appends", "Appends that shared a commit, of this process."
        )
        counts = counts_of(self._seen.context.store)
        if counts is not None:
            for outcome, number in counts.appends.items():
                appends.add_metric([outcome], number)
            events.add_metric([], counts.events)
            waiting.add_metric([], counts.waiting)
            total, buckets = 0, []
            for bound, number in zip((*map(str, BATCH_SIZES), "+Inf"), list(counts.sizes), strict=True):
                total += number
                buckets.append((bound, float(total)))
            sizes.add_metric([], buckets, sum_value=counts.batched)
        yield from (appends, events, waiting, sizes)

    def _work(self) -> Iterator[Metric]:
        """What this process itself has done, whatever the store says."""
        projections = self._seen.context.projections
        folded = self._counter("projection_events_folded", "Events folded by this process.", _EACH)
        failures = self._counter("projection_failures", "Attempts to go on that failed in this process.", _EACH)
        for name, counts in sorted(projections.counts.items()):
            folded.add_metric(_labels(name), counts.events)
            failures.add_metric(_labels(name), counts.failures)
        owner = self._gauge("projection_owner", "Whether this process moves the projection (1).", _EACH)
        stalled = self._gauge("projection_stalled", "Whether this process should move it, and it stands still.", _EACH)
        still = {each.name for each in projections.stalled()}
        for name, projection in sorted(projections.running().items()):
            owner.add_metric(_labels(name), projection.owns)
            stalled.add_metric(_labels(name), name in still)
        yield from (folded, failures, owner, stalled)

    def _log(self, status: Status | None) -> Iterator[Metric]:
        head = self._gauge("head_position", "The last position of the log.")
        recorded = self._gauge("head_recorded_timestamp_seconds", "When the last event was recorded (Unix time).")
        if status is not None:
            head.add_metric([], status.head)
            if status.head:
                recorded.add_metric([], status.recorded_at / 1_000_000)
        yield from (head, recorded)

    def _projections(self, projections: Sequence[ProjectionStatus]) -> Iterator[Metric]:
        position = self._gauge("projection_position", "The last position that it has seen.", _EACH)
        lag = self._gauge("projection_lag_events", "Positions of the log that it has not seen.", _EACH)
        seconds = self._gauge("projection_lag_seconds", "Age of the first event that it has not seen.", _EACH)
        moved = self._gauge(
            "projection_last_progress_timestamp_seconds", "When its checkpoint last moved (Unix time).", _EACH
        )
        owned = self._gauge("projection_owned", "Whether any process holds it (1).", _EACH)
        state = self._gauge(
            "projection_state", "The state that it is in (1), as `refold status` says.", [*_EACH, "state"]
        )
        for each in projections:
            labels = _labels(each.name)
            position.add_metric(labels, each.position)
            lag.add_metric(labels, each.lag)
            seconds.add_metric(labels, each.lag_seconds)
            if each.moved_at:
                moved.add_metric(labels, each.moved_at / 1_000_000)
            owned.add_metric(labels, bool(each.owner))
            for name in STATES:
                state.add_metric([*labels, name.replace(" ", "_")], each.state == name)
        yield from (position, lag, seconds, moved, owned, state)

    def _rebuilds(self, tables: Sequence[ProjectionStatus], status: Status | None) -> Iterator[Metric]:
        position = self._gauge("rebuild_position", "How far the next version that is built has come.", _EACH)
        progress = self._gauge("rebuild_progress_ratio", "Which part of the log a rebuild has folded, 0 to 1.", _EACH)
        for each in tables:
            labels = _labels(each.name)
            position.add_metric(labels, each.position)
            head = 0 if status is None else status.head
            progress.add_metric(labels, min(1.0, each.position / head) if head else 0.0)
        yield from (position, progress)


def _is_kept(checkpoint: str) -> bool:
    return checkpoint.partition(":")[0].endswith(previous(""))


def _labels(checkpoint: str) -> list[str]:
    """Read model and shard of a checkpoint's name."""
    return [read_model_of_table(checkpoint), checkpoint.partition(":")[2]]
