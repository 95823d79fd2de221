"""A unit of work: the user's own tables and the events of several aggregates change together, or not at all."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from refold.commands.envelope import sealed
from refold.commands.handler import CommandHandler
from refold.commands.loading import Loader
from refold.errors import InvalidCommand, Rejected
from refold.folds.aggregate import Aggregate
from refold.messages.event import Command, Event
from refold.messages.event_types import EventTypes
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, AppendCondition, AppendResult, StreamAppend
from refold.store.event_store import StoreTransaction

__all__ = ["UnitOfWork"]


class UnitOfWork:
    """One database transaction. SQL runs at once; events are appended last, right before the commit, so that the log is
    locked briefly.

    A conflict of any append rolls all of it back and is raised where the block ends; run the whole block again then.
    """

    def __init__(
        self, transaction: StoreTransaction, commands: CommandHandler, types: EventTypes, *, actor: str | None
    ) -> None:
        self._transaction = transaction
        self._commands = commands
        self._types = types
        self._actor = actor
        self._states: dict[str, tuple[Aggregate, int]] = {}
        self._appended: dict[str, list[NewEvent]] = {}
        self._waiting_for_the_commit: set[str] = set()

    @property
    def connection(self) -> Any:
        """The driver's own connection, inside the transaction: `sqlite3.Connection` or `psycopg.AsyncConnection`."""
        return self._transaction.connection

    @property
    def results(self) -> Sequence[AppendResult]:
        """What became of its commands and appends, in order, once the block has ended; nothing before."""
        return self._transaction.results

    @property
    def position(self) -> int:
        """The position of its last event, once the block has ended (0: it has none). Give it as `after=` to read your
        own writes.
        """
        return max((result.last for result in self.results), default=0)

    async def execute(
        self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Runs one SQL statement (text with the driver's placeholders, or SQLAlchemy Core) and gives its rows."""
        return await self._transaction.execute(statement, parameters)

    async def command(
        self,
        command: Command,
        *,
        actor: str | None = None,
        command_id: str | UUID | None = None,
        correlation_id: str | UUID | None = None,
        causation_id: str | UUID | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
    ) -> tuple[Event, ...]:
        """Decides a command now and stages its events. Commands for one stream see what was decided and appended before
        them in this unit.

        Raises `Rejected`, `InvalidCommand`, `UnknownCommand`; leave the block by the exception to roll back. A command
        id that was executed before raises `AlreadyAppended`, here or where the block ends.
        """
        decider = self._commands.deciders.of(command)
        valid = decider.validated(command)
        stream = decider.stream_of(valid)
        loader = self._commands.loader(decider.definition.cls)
        state, version = await self._state_of(stream, loader)
        if stream in self._waiting_for_the_commit:
            raise InvalidCommand(
                f"command {type(valid).__name__}: the fold of {decider.definition.cls.__qualname__} reads recorded "
                "events, which have no position and time before the commit; give a command after others or appends to "
                "its stream a unit of its own"
            )
        envelope = sealed(
            command=type(valid).__message_name__,
            command_id=command_id,
            actor=self._actor if actor is None else actor,
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=None,
            tracing=self._commands.tracing,
            data=data,
            occurred_at=occurred_at,
        )
        try:
            decided = decider.decide(state, valid)
        except Rejected:
            # Done before, it is refused because of what it did then; with nothing to do, the rest of the block would be
            # committed a second time.
            await self._commands.refuse_repetition(envelope)
            raise
        if not decided:
            await self._commands.refuse_repetition(envelope)
            return ()
        prepared = [
            self._types.prepare(event, metadata=envelope.metadata, occurred_at=envelope.occurred_at)
            for event in decided
        ]
        self._transaction.append(
            Append((StreamAppend(stream, version, tuple(new for new, _ in prepared)),), envelope.id)
        )
        self._run_ahead(stream, loader, [new for new, _ in prepared])
        return tuple(event for _, event in prepared)

    async def _state_of(self, stream: str, loader: Loader[Any]) -> tuple[Aggregate, int]:
        """State and version of a stream with all that is staged for it in this unit."""
        if stream not in self._states:
            loaded = await loader.load(stream)
            self._states[stream] = (loaded.state, loaded.version)
        appended = self._appended.pop(stream, None)
        if appended:
            self._run_ahead(stream, loader, appended)
        return self._states[stream]

    def _run_ahead(self, stream: str, loader: Loader[Any], new: list[NewEvent]) -> None:
        if any(handler.wants_recorded for handler in loader.definition.evolves.values()):
            self._waiting_for_the_commit.add(stream)
            return
        state, version = self._states[stream]
        self._states[stream] = (loader.fold.fold_ahead(copy.deepcopy(state), new), version + len(new))

    def append(
        self,
        stream: str,
        events: Iterable[Event],
        *,
        expected: int = ANY,
        condition: AppendCondition | None = None,
        actor: str | None = None,
        append_id: str | UUID | None = None,
        occurred_at: datetime | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Stages events for a stream without a command. Raises `InvalidAppend`, `PayloadTooLarge`."""
        envelope = sealed(
            command=None,
            command_id=append_id,
            actor=self._actor if actor is None else actor,
            correlation_id=None,
            causation_id=None,
            traceparent=None,
            tracing=self._commands.tracing,
            data=data,
            occurred_at=occurred_at,
        )
        new = tuple(
            self._types.prepare(event, metadata=envelope.metadata, occurred_at=occurred_at)[0] for event in events
        )
        self._transaction.append(Append((StreamAppend(stream, expected, new),), envelope.id, condition))
        self._appended.setdefault(stream, []).extend(new)
