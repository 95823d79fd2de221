"""A sample of the rows of a read model whose rows each follow streams: only those streams are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from functools import partial
from operator import eq

import msgspec

from refold.errors import DefinitionError, RefoldError
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import StoredEvent
from refold.operations.progress import Progress
from refold.operations.verify.findings import Check
from refold.operations.verify.manner import Pace, Sample, chosen_id, chosen_stream
from refold.operations.verify.rows import difference_of, row_text
from refold.operations.verify.waiting import decoded
from refold.projections.parking.gate import Gate, open_gate
from refold.projections.row_pages import row_pages
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["SampledRows", "follows_streams", "sampled_streams"]

_STREAMS = 1_000
_KEYS = 200
_EVENTS = 2_000
_LOOKS = 3


def follows_streams(definition: ReadModelDefinition) -> bool:
    """Whether a row's key says of which streams its events are."""
    return all(handler.key is None for handler in definition.evolves.values())


async def stream_pages(store: EventStore, pace: Pace) -> AsyncGenerator[list[str], None]:
    """The names of all streams."""
    after = ""
    while page := await store.streams(after=after, limit=_STREAMS):
        after = page[-1].stream
        yield [info.stream for info in page]
        await pace.rest()


async def sampled_streams(store: EventStore, sample: Sample, pace: Pace) -> list[str]:
    """The streams of a sample."""
    chosen: list[str] = []
    async for page in stream_pages(store, pace):
        chosen += [stream for stream in page if chosen_stream(sample, stream)]
    return chosen


class SampledRows:
    """The rows of a sample, each folded from its own streams, up to where the row is."""

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        definition: ReadModelDefinition,
        types: EventTypes,
        sample: Sample,
        streams: Iterable[str],
        pace: Pace,
        progress: Progress,
    ) -> None:
        self._store = store
        self._sink = sink
        self._definition = definition
        self._types = types
        self._sample = sample
        self._listed = streams
        self._pace = pace
        self._progress = progress
        self._fold = RowFold(definition)
        self._wanted = {event.__message_name__ for event in definition.evolves}

    async def compare(self, check: Check) -> None:
        """Compares them. What differs is looked at again: a stream may have come since they were listed."""
        keys = {key async for key in self._rows_there()}
        wrong: dict[RowKey, str] = {}
        for look in range(_LOOKS):
            # Those that were listed at first may not be all of a row: then it differs, and is looked at again.
            streams = self._by_key(self._listed) if not look else await self._streams_of(keys)
            gate = await open_gate(self._sink.records, self._definition, self._definition.name)
            wrong = await self._differing(sorted(keys | streams.keys(), key=repr), streams, gate, check, look == 0)
            keys = set(wrong)
            if not wrong:
                return
        for key, problem in wrong.items():
            check.found(row_text(self._definition, key), problem)

    async def _rows_there(self) -> AsyncGenerator[RowKey, None]:
        async with aclosing(row_pages(self._sink, self._definition, self._pace)) as pages:
            async for answer in pages:
                for row in answer.found:
                    key = self._definition.key_of(row)
                    if self._chosen(key):
                        yield key

    async def _streams_of(self, keys: Collection[RowKey]) -> dict[RowKey, list[str]]:
        """All streams of these rows."""
        found: dict[RowKey, list[str]] = defaultdict(list)
        async for page in stream_pages(self._store, self._pace):
            for key, streams in self._by_key(page).items():
                if key in keys:
                    found[key] += streams
        return found

    def _by_key(self, streams: Iterable[str]) -> dict[RowKey, list[str]]:
        found: dict[RowKey, list[str]] = defaultdict(list)
        for stream in streams:
            try:
                found[self._definition.as_key(stream.partition("-")[2])].append(stream)
            except (DefinitionError, msgspec.ValidationError):
                continue  # a stream of other events, whose ids are no keys
        return found

    def _chosen(self, key: RowKey) -> bool:
        return chosen_id(self._sample, str(msgspec.to_builtins(key[0])))

    async def _differing(
        self, keys: list[RowKey], streams: dict[RowKey, list[str]], gate: Gate, check: Check, first: bool
    ) -> dict[RowKey, str]:
        wrong: dict[RowKey, str] = {}
        for start in range(0, len(keys), _KEYS):
            some = keys[start : start + _KEYS]
            answer = await self._sink.read(self._definition, some, None)
            for key in some:
                position = max(answer.position, answer.seen.get(key, 0))
                folded = await self._folded(key, streams.get(key, []), position, gate)
                row = answer.rows.get(key)
                if first and (row is not None or folded is not None):
                    check.looked(position)
                problem = difference_of(row, folded)
                if problem:
                    wrong[key] = problem
            self._progress(f"verify {self._definition.name}", start + len(some), len(keys))
            await self._pace.rest()
        return wrong

    async def _folded(self, key: RowKey, streams: list[str], position: int, gate: Gate) -> ReadModel | None:
        state: dict[RowKey, ReadModel | None] = {}
        passes = gate.passes if gate else None
        async for page in self._events(streams, position):
            wanted = [event for event in page if event.type in self._wanted]
            events = decoded(wanted, self._types, self._definition, gate)
            try:
                self._fold.fold(state, events, only=partial(eq, key), passes=passes)
            except RefoldError:
                raise
            except Exception as problem:
                raise RefoldError(
                    f"an evolve method failed on {', '.join(streams)} up to position {position}: {problem!r}"
                ) from problem
        return state.get(key)

    async def _events(self, streams: list[str], until: int) -> AsyncGenerator[list[StoredEvent], None]:
        """The events of a row up to a position, in the order of the log."""
        several: list[StoredEvent] = []
        for stream in streams:
            after = 0
            while page := await self._store.read_stream(stream, after=after, limit=_EVENTS):
                after = page[-1].version
                events = [event for event in page if event.position <= until]
                if len(streams) == 1:
                    yield events
                else:
                    several += events
                if len(events) < len(page):
                    break
        if several:
            yield sorted(several, key=lambda event: event.position)
