"""Whether each read model equals the fold of the log up to its checkpoint, row by row, also while it moves."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from refold.errors import ProjectionStopped, RefoldError
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.operations.progress import Progress
from refold.operations.verify.comparison import Comparison, WentBack
from refold.operations.verify.findings import Check
from refold.operations.verify.manner import Pace, Sample
from refold.operations.verify.parts import Part, passes
from refold.operations.verify.sampled_rows import SampledRows, follows_streams
from refold.projections.checkpoint import Checkpoint
from refold.projections.parking.gate import Gate, open_gate
from refold.projections.shards import shards_of
from refold.projections.sink import Sink, lives_elsewhere, rows_elsewhere
from refold.store.event_store import EventStore

__all__ = ["ReadModelVerification"]

_TRIES = 3


class ReadModelVerification(msgspec.Struct, frozen=True):
    """Compares read models with the fold of the log. One that cannot be compared is skipped, with the reason.

    `streams` are those of the sample.
    """

    store: EventStore
    sink: Sink
    types: EventTypes
    sample: Sample | None
    streams: Sequence[str]
    pace: Pace
    progress: Progress

    async def check(self, definition: ReadModelDefinition) -> Check:
        """Compares one read model. Where its rows go back or are replaced meanwhile, it begins again."""
        check = _new_check(definition)
        for _ in range(_TRIES):
            check = _new_check(definition)
            checkpoint = await self.sink.checkpoint(definition.name)
            check.skipped = self._not_in_sample(definition) or await self._reason_to_skip(definition, checkpoint)
            if check.skipped is not None or checkpoint is None:
                return check
            try:
                await self._compare(definition, checkpoint.position, check)
            except (WentBack, ProjectionStopped):
                continue
            except RefoldError as problem:
                check.found(f"the fold of {definition.name}", str(problem))
            return check
        check = _new_check(definition)
        check.skipped = f"its rows went back or were replaced {_TRIES} times while it was looked at; verify it again"
        return check

    def _not_in_sample(self, definition: ReadModelDefinition) -> str | None:
        # Its events would all have to be read for the fewest of its rows: over many samples, each has its turn.
        name = b"read model %b" % definition.name.encode()
        if self.sample is None or follows_streams(definition) or self.sample.has(name):
            return None
        return "not in this sample: its rows gather events of many streams, so it is compared as a whole or not at all"

    async def _reason_to_skip(self, definition: ReadModelDefinition, checkpoint: Checkpoint | None) -> str | None:
        if checkpoint is None:
            return "it has not been filled yet; a worker does that"
        if lives_elsewhere(checkpoint):
            return rows_elsewhere(checkpoint)
        if checkpoint.fingerprint != definition.fingerprint:
            return f"it was filled by another definition; run `refold rebuild {definition.name}`"
        if checkpoint.position > (await self.store.head()).position:
            return "its checkpoint is ahead of the log"
        return None

    async def _compare(self, definition: ReadModelDefinition, position: int, check: Check) -> None:
        gate = await open_gate(self.sink.records, definition, definition.name)
        if gate.parked:
            many = gate.parked != 1
            check.notes.append(
                f"{gate.parked:,} {'rows are' if many else 'row is'} parked; "
                f"{'they are compared as far as they are' if many else 'it is compared as far as it is'}"
            )
        if self.sample is not None and follows_streams(definition):
            await SampledRows(
                self.store, self.sink, definition, self.types, self.sample, self.streams, self.pace, self.progress
            ).compare(check)
            return
        suspects: set[RowKey] = set()
        part: Part[RowKey, ReadModel | None]
        # Shards are at different positions, so each is compared by itself.
        shards = shards_of(max(1, len(await self.sink.shards(definition.name))))
        for shard in shards:
            for part in passes(chosen=shard.has) if len(shards) > 1 else passes():
                await self._comparison(definition, gate, check, part).run(position)
                suspects.update(part.noted_keys())
        if suspects:
            # Looked at once more, from the beginning: a row may have been parked or let go at the wrong moment.
            again = _new_check(definition)
            gate = await open_gate(self.sink.records, definition, definition.name)

            def suspected(key: RowKey) -> bool:
                return key in suspects

            for shard in shards:
                for part in passes(chosen=suspected):
                    await self._comparison(definition, gate, again, part).look_at(filter(shard.has, suspects))
                    moved = gate.differing(await open_gate(self.sink.records, definition, definition.name))
                    again.uncompared += len(part.noted_keys() & moved)
                    part.report(check, but=moved)
            check.uncompared += again.uncompared

    def _comparison(
        self, definition: ReadModelDefinition, gate: Gate, check: Check, part: Part[RowKey, ReadModel | None]
    ) -> Comparison:
        return Comparison(self.store, self.sink, definition, self.types, gate, check, part, self.pace, self.progress)


def _new_check(definition: ReadModelDefinition) -> Check:
    return Check(f"read model {definition.name}", "its rows equal the fold of the log up to its checkpoint")
