"""The client without `async`: the same methods, run on an event loop in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from refold.app.loop_thread import LoopThread
from refold.client.client import Client
from refold.commands.enveloped import Enveloped
from refold.commands.receipt import Receipt
from refold.errors import RefoldError
from refold.folds.aggregate import Aggregate
from refold.folds.read_model import ReadModel
from refold.messages.event import Command, Event
from refold.messages.recorded import Recorded
from refold.projections.conditions import Condition
from refold.store.append import AppendResult

__all__ = ["SyncClient"]

A = TypeVar("A", bound=Aggregate)
R = TypeVar("R", bound=ReadModel)


class SyncClient:
    """A client without `async`, from `connect_sync`. Each method does what its namesake of `Client` does; many threads
    may use it at once.
    """

    def __init__(self, client: Client, loop: LoopThread) -> None:
        self._client = client
        self._loop = loop

    def execute(
        self,
        command: Command,
        *,
        command_id: str | UUID | None = None,
        correlation_id: str | UUID | None = None,
        causation_id: str | UUID | None = None,
    ) -> Receipt:
        """Decides a command and appends what happened; see `Client.execute`."""
        return self._loop.run(
            self._client.execute(
                command, command_id=command_id, correlation_id=correlation_id, causation_id=causation_id
            )
        )

    def execute_many(self, commands: Iterable[Command | Enveloped]) -> list[Receipt | RefoldError]:
        """Executes many commands; see `Client.execute_many`."""
        return self._loop.run(self._client.execute_many(commands))

    def dry_run(self, command: Command) -> tuple[str, int, list[Event]]:
        """What a command would append; see `Client.dry_run`."""
        return self._loop.run(self._client.dry_run(command))

    def load(
        self,
        aggregate: type[A],
        id: object,  # the word of the domain
        *,
        as_of: datetime | None = None,
        time: Literal["recorded", "occurred"] = "recorded",
        at_version: int | None = None,
        at_position: int | None = None,
    ) -> A:
        """The state of one aggregate, now or as it was; see `Client.load`."""
        return self._loop.run(
            self._client.load(aggregate, id, as_of=as_of, time=time, at_version=at_version, at_position=at_position)
        )

    def history(
        self, stream: str, *, after: int = 0, limit: int | None = None, backward: bool = False
    ) -> list[Recorded[Any]]:
        """The recorded events of a stream; see `Client.history`."""
        return self._loop.run(self._client.history(stream, after=after, limit=limit, backward=backward))

    def events(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> Generator[Recorded[Any], None, None]:
        """The recorded events of the log, up to its end; see `Client.events`."""
        return self._loop.each(self._client.events(after=after, types=types, categories=categories, tags=tags))

    def subscribe(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> Generator[Recorded[Any], None, None]:
        """The events after a position, and those that come; `close()` it to leave early; see `Client.subscribe`."""
        return self._loop.each(self._client.subscribe(after=after, types=types, categories=categories, tags=tags))

    def get(
        self,
        read_model: type[R],
        key: object,
        *,
        after: Receipt | AppendResult | int | None = None,
        fresh: bool = False,
        timeout: float = 5.0,
    ) -> R | None:
        """The row of a key, or None; see `Client.get`."""
        return self._loop.run(self._client.get(read_model, key, after=after, fresh=fresh, timeout=timeout))

    def find(
        self,
        read_model: type[R],
        *conditions: Condition,
        order_by: str | Sequence[str] = (),
        limit: int | None = None,
        after: Receipt | AppendResult | int | None = None,
        fresh: bool = False,
        timeout: float = 5.0,
        **equals: Any,
    ) -> list[R]:
        """The rows that fulfil all conditions; see `Client.find`."""
        return self._loop.run(
            self._client.find(
                read_model,
                *conditions,
                order_by=order_by,
                limit=limit,
                after=after,
                fresh=fresh,
                timeout=timeout,
                **equals,
            )
        )

    def count(
        self,
        read_model: type[R],
        *conditions: Condition,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
        **equals: Any,
    ) -> int:
        """The number of rows that fulfil all conditions; see `Client.count`."""
        return self._loop.run(self._client.count(read_model, *conditions, after=after, timeout=timeout, **equals))

    def search(
        self,
        read_model: type[R],
        text: str,
        *,
        limit: int = 10,
        fields: Sequence[str] | None = None,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
    ) -> list[R]:
        """Full-text search; see `Client.search`."""
        return self._loop.run(
            self._client.search(read_model, text, limit=limit, fields=fields, after=after, timeout=timeout)
        )
