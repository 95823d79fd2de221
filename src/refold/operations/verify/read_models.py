"""Whether each read model equals the fold of the log up to its checkpoint, row by row, also while it moves."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec

from refold.errors import RefoldError
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes, encode_json
from refold.messages.recorded import StoredEvent
from refold.operations.pages import log_pages
from refold.operations.progress import Progress
from refold.operations.verify.findings import Check
from refold.operations.verify.parts import Part, passes
from refold.projections.checkpoint import Checkpoint
from refold.projections.conditions import All, Any_, Comparison, Condition, Not, Order
from refold.projections.parking.gate import Gate, open_gate
from refold.projections.sink import Query, Sink
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["check_checkpoints", "check_read_model"]

_PAGE = 10_000
_KEYS = 500


async def check_checkpoints(store: EventStore, sink: Sink) -> Check:
    """Whether every checkpoint belongs to this log: one that is ahead, or elsewhere, is from another backup."""
    check = Check("checkpoints", "no checkpoint is ahead of the log, or of another log")
    for checkpoint in await sink.checkpoints():
        check.looked_at += 1
        # Looked up after the checkpoint: meanwhile the log can only have grown.
        head = (await store.head()).position
        where = f"checkpoint of {checkpoint.name} at {checkpoint.position}"
        if checkpoint.position > head:
            check.found(where, f"it is ahead of the log, which ends at {head}: was the log restored from a backup?")
        elif checkpoint.position and checkpoint.append_id:
            page = await store.read_log(after=checkpoint.position - 1, limit=1)
            if page.events and page.events[0].append_id.hex() != checkpoint.append_id.replace("-", ""):
                check.found(where, "the log has another event at its position: it belongs to another history")
    return check


async def check_read_model(
    store: EventStore,
    sink: Sink,
    definition: ReadModelDefinition,
    checkpoint: Checkpoint | None,
    types: EventTypes,
    progress: Progress,
) -> Check:
    """Folds the log anew, and compares each row. A read model that cannot be compared is skipped, with the reason."""
    check = Check(f"read model {definition.name}", "its rows equal the fold of the log up to its checkpoint")
    if checkpoint is None:
        check.skipped = "it has not been filled yet; a worker does that"
    elif checkpoint.fingerprint != definition.fingerprint:
        check.skipped = f"it was filled by another definition; run `refold rebuild {definition.name}`"
    elif checkpoint.position > (await store.head()).position:
        check.skipped = "its checkpoint is ahead of the log"
    else:
        part: Part[RowKey, Any]
        for part in passes():
            comparison = _Comparison(store, sink, definition, types, check, part, progress)
            try:
                await comparison.run(checkpoint.position)
            except RefoldError as problem:
                check.found(f"the fold of {definition.name}", str(problem))
                return check
            part.report(check)
    return check


class _Comparison:
    """One part of one read model: its rows folded anew, up to where the sink's own rows are."""

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        definition: ReadModelDefinition,
        types: EventTypes,
        check: Check,
        part: Part[RowKey, Any],
        progress: Progress,
    ) -> None:
        self._store = store
        self._sink = sink
        self._definition = definition
        self._types = types
        self._check = check
        self._part = part
        self._progress = progress
        self._fold = RowFold(definition)
        self._position = 0
        self._gate = Gate((), ())
        self._changed: set[RowKey] = set()
        self._wanted = EventFilter(
            matching=(Matching(types=tuple(event.__message_name__ for event in definition.evolves)),)
        )

    async def run(self, position: int) -> None:
        # A parked row is right when it equals the fold of what came before the event that failed.
        self._gate = await self._gate_now()
        await self._advance(position)
        unseen = set(self._part.remembered)
        # Rows that come behind today's last one are left out: a projection may add them faster than they are looked at.
        end = await self._last_key()
        beyond: RowKey | None = None
        while end is not None:
            position, rows = await self._page(beyond, end)
            self._changed |= self._gate.differing(await self._gate_now())
            await self._advance(position)
            self._compare(position, rows)
            unseen -= rows.keys()
            if len(rows) < _PAGE:
                break
            beyond = next(reversed(rows))
        # What was not met: rows that are missing, and, while the projection runs, rows that came behind our back.
        waiting = sorted(unseen, key=repr)
        for start in range(0, len(waiting), _KEYS):
            keys = waiting[start : start + _KEYS]
            answer = await self._sink.read(self._definition, keys, None)
            self._changed |= self._gate.differing(await self._gate_now())
            await self._advance(answer.position)
            self._compare(answer.position, {key: answer.rows.get(key) for key in keys if key not in answer.seen})

    async def _gate_now(self) -> Gate:
        return await open_gate(self._sink.records, self._definition, self._definition.name)

    async def _last_key(self) -> RowKey | None:
        order = tuple(Order(name, True) for name in self._definition.key)
        rows = (await self._sink.read(self._definition, (), Query(None, order, 1))).found
        return self._definition.key_of(rows[0]) if rows else None

    async def _page(self, beyond: RowKey | None, end: RowKey) -> tuple[int, dict[RowKey, ReadModel | None]]:
        """The next rows by their keys, and the position at which they were read."""
        order = tuple(Order(name, False) for name in self._definition.key)
        where: Condition = Not(_after(self._definition, end))
        if beyond is not None:
            where = All((_after(self._definition, beyond), where))
        answer = await self._sink.read(self._definition, (), Query(where, order, _PAGE))
        return answer.position, {self._definition.key_of(row): row for row in answer.found}

    async def _advance(self, position: int) -> None:
        """Folds what the projection has seen and this fold has not."""
        if position <= self._position:
            return
        pages = log_pages(self._store, after=self._position, until=position, where=self._wanted)
        async with aclosing(pages):
            async for page in pages:
                await asyncio.to_thread(self._fold_page, page)
                if page:
                    self._progress(f"verify {self._definition.name}", page[-1].position, position)
        self._position = position

    def _fold_page(self, page: list[StoredEvent]) -> None:
        part = self._part
        events = [self._types.decode(event) for event in page]
        try:
            passes = self._gate.passes if self._gate else None
            touched = self._fold.fold(part.remembered, events, only=part.has, passes=passes)
        except RefoldError:
            raise
        except Exception as problem:
            raise RefoldError(
                f"an evolve method failed between positions {page[0].position} and {page[-1].position}: {problem!r}"
            ) from problem
        for key in touched:
            if part.remembered[key] is None:
                del part.remembered[key]
        part.shrink()

    def _compare(self, position: int, rows: dict[RowKey, ReadModel | None]) -> None:
        if position < self._position:
            self._check.found(
                self._definition.name, "its checkpoint went back while it was looked at (a rebuild?); verify it again"
            )
            return
        for key, row in rows.items():
            # What was parked or let go meanwhile was folded by other rules here.
            if not self._part.has(key) or key in self._changed:
                continue
            self._check.looked_at += 1
            folded = self._part.remembered.get(key)
            if row == folded:
                continue
            where = f"row {', '.join(f'{name}={value}' for name, value in zip(self._definition.key, key, strict=True))}"
            if row is None:
                self._part.note(key, where, "it is missing; the fold has it")
            elif folded is None:
                self._part.note(key, where, "the fold does not have it")
            else:
                differing = _differing(row, folded)
                if differing:
                    self._part.note(key, where, differing)


def _differing(row: ReadModel, folded: ReadModel) -> str:
    """Which fields differ, and how; nothing when they are the same once written and read."""
    there, anew = (msgspec.json.decode(encode_json(each), type=type(row)) for each in (row, folded))
    fields = [name for name in row.__struct_fields__ if getattr(there, name) != getattr(anew, name)]
    return "; ".join(
        f"{name} is {_shown(getattr(there, name))}, the fold says {_shown(getattr(anew, name))}" for name in fields
    )


def _shown(value: Any) -> str:
    text = encode_json(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"


def _after(definition: ReadModelDefinition, key: RowKey) -> Condition:
    """The rows that come after a key."""
    alternatives: list[Condition] = []
    same: list[Condition] = []
    for name, value in zip(definition.key, key, strict=True):
        alternatives.append(All((*same, Comparison(name, ">", value))))
        same.append(Comparison(name, "=", value))
    return Any_(tuple(alternatives))
