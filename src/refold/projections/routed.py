"""RoutedSink: each read model in the store that suits its queries, behind one sink."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from refold.errors import ConfigurationError, RefoldError
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import AWAY, REFUSED, RUNNING, Checkpoint, Move
from refold.projections.conditions import Condition
from refold.projections.definitions import KnownDefinition
from refold.projections.external import ExternalSink
from refold.projections.parking.records import ProjectionRecords
from refold.projections.roster import Roster
from refold.projections.sink import (
    Answer,
    Decode,
    Holder,
    InlineRows,
    Loaded,
    LogSink,
    Query,
    Sink,
    read_model_of_table,
)

__all__ = ["SECONDS_TO_ANSWER", "RoutedSink", "log_of"]

_log = logging.getLogger("refold.projections")

SECONDS_TO_ANSWER = 2.0
"""So long a store elsewhere may hold up whoever starts, or only looks."""


class RoutedSink:
    """See `Sink`. `elsewhere` says which read models do not live in the log's database, and where they do."""

    def __init__(self, default: LogSink, elsewhere: Mapping[str, ExternalSink]) -> None:
        self._default = default
        self._elsewhere = dict(elsewhere)

    @property
    def log(self) -> LogSink:
        """The sink in the log's own database."""
        return self._default

    def _of(self, table: str) -> Sink:
        return self._elsewhere.get(read_model_of_table(table), self._default)

    @property
    def records(self) -> ProjectionRecords:
        """See `Sink.records`."""
        return self._default.records

    def together(self, name: str) -> bool:
        """See `Sink.together`."""
        return self._of(name).together(name)

    def divides(self, name: str) -> bool:
        """See `Sink.divides`."""
        return self._of(name).divides(name)

    def external(self, name: str) -> ExternalSink | None:
        """The sink of a read model that lives elsewhere."""
        return self._elsewhere.get(read_model_of_table(name))

    async def life(self, name: str) -> str:
        """Another text whenever a read model's store elsewhere may have lost what it had acknowledged."""
        sink = self.external(name)
        return "" if sink is None else await sink.life()

    async def prepare(self) -> None:
        """See `Sink.prepare`. A store elsewhere that is away is waited for by its projections, and by nobody else."""
        await self._default.prepare()
        for sink in set(self._elsewhere.values()):
            try:
                async with asyncio.timeout(SECONDS_TO_ANSWER):
                    await sink.prepare()
            except (RefoldError, TimeoutError) as problem:
                # Of each read model that has to wait for it, a warning says so when it is registered.
                _log.debug("read models in %s wait: %s", sink.place, str(problem) or "it does not answer")

    async def close(self) -> None:
        """Closes the stores elsewhere."""
        await asyncio.gather(*(sink.close() for sink in set(self._elsewhere.values())), return_exceptions=True)

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """See `Sink.checkpoint`."""
        return await self._of(name).checkpoint(name)

    async def checkpoints(self) -> list[Checkpoint]:
        """See `Sink.checkpoints`. Of a store that does not answer soon, what is known of it beside the log;
        one that does not let us in, or is away, is told by its status.
        """
        return list(await asyncio.gather(*(self._current(each) for each in await self._default.checkpoints())))

    async def unenrolled(self, definition: ReadModelDefinition) -> Checkpoint:
        """The checkpoint of a read model that is in none of `checkpoints`, because no process has registered it yet;
        with what its store has to say already now, as there.
        """
        sink = self.external(definition.name)
        if sink is None:
            return Checkpoint(name=definition.name, fingerprint=definition.fingerprint)
        return await self._current(sink.unenrolled(definition))

    async def _current(self, known: Checkpoint) -> Checkpoint:
        sink = self.external(known.name)
        if sink is None:
            return known
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                return await sink.current(known)
        except ConfigurationError as problem:
            return msgspec.structs.replace(sink.noted(known), status=REFUSED, error=str(problem))
        except (RefoldError, TimeoutError) as problem:
            why = str(problem) or f"{sink.place} does not answer"
            status = AWAY if known.status == RUNNING else known.status
            return msgspec.structs.replace(sink.noted(known), status=status, error=known.error or why)

    async def shards(self, table: str) -> list[Checkpoint]:
        """See `Sink.shards`."""
        return await self._of(table).shards(table)

    async def reshard(self, table: str, of: int, epochs: Mapping[str, int]) -> bool:
        """See `Sink.reshard`."""
        return await self._of(table).reshard(table, of, epochs)

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """See `Sink.register`."""
        await self._of(table).register(definition, table)

    async def begin(self, definition: ReadModelDefinition, owner: str, seconds: float) -> Checkpoint | None:
        """See `Sink.begin`."""
        return await self._of(definition.name).begin(definition, owner, seconds)

    async def drop(self, table: str) -> None:
        """See `Sink.drop`."""
        await self._of(table).drop(table)

    @property
    def roster(self) -> Roster | None:
        """See `Sink.roster`."""
        return self._default.roster

    async def choose(self, name: str, fingerprint: str, parts: Mapping[str, str]) -> None:
        """See `Sink.choose`."""
        await self._default.choose(name, fingerprint, parts)

    async def definitions(self, name: str) -> list[KnownDefinition]:
        """See `Sink.definitions`."""
        return await self._default.definitions(name)

    async def claim(
        self, name: str, owner: str, seconds: float, *, force: bool = False, above: int = 0
    ) -> Checkpoint | None:
        """See `Sink.claim`."""
        return await self._of(name).claim(name, owner, seconds, force=force, above=above)

    async def holder(self, name: str) -> Holder | None:
        """See `Sink.holder`."""
        return await self._of(name).holder(name)

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """See `Sink.renew`."""
        return await self._of(name).renew(name, epoch, seconds)

    async def release(self, name: str, epoch: int) -> None:
        """See `Sink.release`."""
        await self._of(name).release(name, epoch)

    async def mark(self, name: str, epoch: int, status: str, error: str) -> None:
        """See `Sink.mark`."""
        await self._of(name).mark(name, epoch, status, error)

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `Sink.load`."""
        return await self._of(table).load(definition, table, keys)

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """See `Sink.write`."""
        return await self._of(table).write(definition, table, rows, deleted, move)

    async def switch(
        self, definition: ReadModelDefinition, epoch: int, *, decode: Decode | None = None, back: bool = False
    ) -> bool:
        """See `Sink.switch`."""
        return await self._of(definition.name).switch(definition, epoch, decode=decode, back=back)

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """See `Sink.exchange`."""
        return await self._of(definition.name).exchange(definition)

    async def read(
        self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None, *, table: str = ""
    ) -> Answer:
        """See `Sink.read`."""
        return await self._of(definition.name).read(definition, keys, query, table=table)

    async def count(self, definition: ReadModelDefinition, where: Condition | None, *, table: str = "") -> int:
        """See `Sink.count`."""
        return await self._of(definition.name).count(definition, where, table=table)

    def install(self, definitions: Sequence[ReadModelDefinition], decode: Decode) -> None:
        """See `InlineRows.install`. Raises `ConfigurationError` for a read model that lives elsewhere."""
        for definition in definitions:
            sink = self.external(definition.name)
            if sink is not None:
                raise ConfigurationError(
                    f"{definition.cls.__qualname__} is inline, which needs the log's own database, and is to live in "
                    f"{sink.place}; leave one of the two out"
                )
        cast("InlineRows", self._default).install(definitions, decode)


def log_of(sink: Sink) -> LogSink:
    """The sink in the log's own database, of a sink that may lead elsewhere too."""
    return sink.log if isinstance(sink, RoutedSink) else cast("LogSink", sink)
