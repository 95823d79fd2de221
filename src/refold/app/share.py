"""One process of a rebuild in several: `python -m refold.app.share`, spoken to by `refold.app.shares`."""

from __future__ import annotations

import asyncio
import importlib
import sys
import zlib
from collections import OrderedDict
from functools import reduce
from typing import cast

import msgspec

from refold.app.shares import Answer, Order, Task
from refold.app.stores import open_store, sink_of
from refold.errors import ProjectionStopped, RefoldError, UnknownEvent, unexpected_in_words
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey, read_model_of
from refold.messages.event_types import EventTypes
from refold.messages.recorded import StoredEvent
from refold.projections.checkpoint import Move
from refold.projections.giving_way import GiveWay, go_last
from refold.projections.parking.gate import Gate, open_gate
from refold.projections.rebuild_orders import RebuildOrders
from refold.projections.sink import Sink, building
from refold.store.event_store import EventStore, LogPage, LogReader, SharedLog
from refold.store.group_commit import Limits

_ROWS_KEPT = 50_000
_ROWS_UNWRITTEN = 20_000


class _Work:
    """The keys of one share, folded up to where it is told."""

    def __init__(self, task: Task, definition: ReadModelDefinition, store: EventStore, sink: Sink, gate: Gate) -> None:
        self._passes = gate.passes if gate else None
        self._task = task
        self._definition = definition
        self._store = store
        self._sink = sink
        self._types = EventTypes(definition.evolves)
        self._wanted = frozenset(event.__message_name__ for event in definition.evolves)
        self._known = frozenset(task.known)
        self._fold = RowFold(definition)
        self._rows: OrderedDict[RowKey, ReadModel | None] = OrderedDict()
        self._touched: set[RowKey] = set()
        self._position = 0
        self._orders = RebuildOrders(sink, definition, task.epoch)
        # Where a row has its stream's id, other shares' events need not even be read.
        self._by_stream = definition.key_types == (str,) and all(
            handler.key is None for handler in definition.evolves.values()
        )

    def _is_mine(self, text: str) -> bool:
        return zlib.crc32(text.encode()) % self._task.of == self._task.number

    def _has(self, key: RowKey) -> bool:
        return self._by_stream or self._is_mine(repr(key))

    def _takes(self, event: StoredEvent) -> bool:
        if event.type not in self._wanted:
            if event.type not in self._known:
                raise UnknownEvent(event.type, event.position, event.stream)
            return False
        return True

    async def go(self, until: int) -> None:
        """Folds up to a position, and writes. Raises what the fold raises."""
        reader = await self._opened()
        give_way = GiveWay()
        reading = _page(reader, self._position, until, give_way.page)
        try:
            while self._position < until:
                page = await reading
                more, ahead = page.scanned_to < until, not give_way.active
                if more and ahead:
                    # The next page is fetched while this one is folded.
                    reading = _page(reader, page.scanned_to, until, give_way.page)
                folded = page.scanned_to - self._position
                await self._take(page)
                _say(Answer(self._position))
                await self._orders.obey(self._write)
                await give_way.rest(folded, page.head)
                if more and not ahead:
                    reading = _page(reader, page.scanned_to, until, give_way.page)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await reader.close()
        await self._write()
        _say(Answer(self._position, done=True))

    async def _opened(self) -> LogReader:
        if not self._by_stream:
            return await self._store.open_reader()
        # Only where processes can share a log are there several.
        return await cast("SharedLog", self._store).open_share(self._task.number, self._task.of)

    async def _take(self, page: LogPage) -> None:
        events = [self._types.decode(event) for event in page.events if self._takes(event)]
        mine = [key for key in self._fold.keys(events) if self._has(key)]
        missing = [key for key in mine if key not in self._rows]
        if missing:
            loaded = await self._sink.load(self._definition, building(self._definition.name), missing)
            self._rows.update((key, loaded.rows.get(key)) for key in missing)
        for key in mine:
            self._rows.move_to_end(key)
        self._touched |= self._fold.fold(
            self._rows, events, only=None if self._by_stream else self._has, passes=self._passes
        )
        self._position = page.scanned_to
        if len(self._touched) >= _ROWS_UNWRITTEN:
            await self._write()

    async def _write(self) -> None:
        rows, deleted = self._fold.changes(self._rows, self._touched)
        # The checkpoint stays: it moves when all shares have come as far.
        move = Move(0, 0, "", self._task.epoch)
        if not await self._sink.write(self._definition, building(self._definition.name), rows, deleted, move):
            raise ProjectionStopped(f"read model {self._definition.name!r} was taken over by another rebuild")
        self._touched.clear()
        while len(self._rows) > _ROWS_KEPT:
            self._rows.popitem(last=False)


def _page(reader: LogReader, after: int, until: int, limit: int) -> asyncio.Task[LogPage]:
    async def read() -> LogPage:
        return await reader.read(after, min(limit, max(1, until - after)))

    return asyncio.create_task(read())


def _say(answer: Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def _definition(model: str) -> ReadModelDefinition:
    module, _, name = model.partition(":")
    found: type[ReadModel] = reduce(getattr, name.split("."), importlib.import_module(module))  # type: ignore[assignment]
    return read_model_of(found)


async def _work(task: Task) -> None:
    definition = _definition(task.model)
    if definition.fingerprint != task.fingerprint:
        raise ProjectionStopped(
            f"{task.model} is another class in a process of its own: its code differs from this one's"
        )
    store = await open_store(task.url, limits=Limits(), listen_url=task.listen_url, read_only=True)
    try:
        async with sink_of(store, task.sinks) as sink:
            # What an operator has left out of a row stays so, as in a rebuild by one process.
            gate = await open_gate(sink.records, definition, building(definition.name))
            work = _Work(task, definition, store, sink, gate)
            while line := await asyncio.to_thread(sys.stdin.buffer.readline):
                await work.go(msgspec.json.decode(line, type=Order).until)
    finally:
        await store.close()


def main() -> None:
    """Does what standard input says, until that ends."""
    go_last()
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    sys.path[:] = task.path
    try:
        asyncio.run(_work(task))
    except ProjectionStopped as problem:
        _say(Answer(error=str(problem)))
    except RefoldError as problem:
        _say(Answer(error=f"process {task.number + 1} of {task.of}: {problem}"))
    except Exception as problem:  # noqa: BLE001  # the user's fold may raise anything: the parent says it
        _say(Answer(error=f"process {task.number + 1} of {task.of}: {unexpected_in_words(problem)}"))


if __name__ == "__main__":
    main()
