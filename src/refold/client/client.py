"""Client: an app whose store is behind a server. It has the methods of a context that make sense over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast
from uuid import UUID

import msgspec

from refold.app import App
from refold.client.asking import parameters_of
from refold.client.following import followed, recorded_of
from refold.client.many import execute_all
from refold.commands.enveloped import Enveloped
from refold.commands.receipt import Receipt
from refold.errors import (
    ConfigurationError,
    DefinitionError,
    InvalidCommand,
    InvalidQuery,
    MissingExtra,
    RefoldError,
    StoreUnavailable,
)
from refold.folds.aggregate import Aggregate
from refold.folds.read_model import ReadModel, ReadModelDefinition
from refold.messages.event import Command, Event
from refold.messages.ids import as_uuid
from refold.messages.recorded import Recorded, to_microseconds
from refold.projections.conditions import Condition, checked, orders_of
from refold.store.append import AppendResult

try:
    import httpx

    from refold.client.calling import Calls, NotFound, path_of, problem_in, refuse_in_the_clear
except ImportError as _problem:
    raise MissingExtra('the client needs httpx: pip install "refold[client]"') from _problem

__all__ = ["Client"]

A = TypeVar("A", bound=Aggregate)
R = TypeVar("R", bound=ReadModel)
_PAGE = 1_000
_LIVE = httpx.Timeout(10.0, read=40.0)
"""A live stream shows a sign of life every ten seconds; where none comes, the line is dead."""


class _Said(msgspec.Struct):
    type: str
    payload: msgspec.Raw


class _Receipt(msgspec.Struct):
    command_id: UUID
    stream: str
    version: int
    position: int
    recorded_at: datetime
    events: list[_Said]


class _Preview(msgspec.Struct):
    stream: str
    version: int
    events: list[_Said]


class Client:
    """An app on a server, for the time of its block: `async with Client(app, "https://…", key=…) as bank`.

    `key` is an API key or a token. The actor of what is done is whom the key belongs to. `seconds` bounds each call.
    What fails on the way is sent again up to five times; a command always has an id, so nothing happens twice. Raises
    `ConfigurationError` for a URL that is none, or a key that would be sent unencrypted to another machine.
    """

    def __init__(
        self, app: App, url: str, *, key: str | None = None, seconds: float = 30.0, transport: Any = None
    ) -> None:
        parts = httpx.URL(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ConfigurationError(f"{url!r} is no address of a server, as in https://bank.example.com")
        if key:
            refuse_in_the_clear(parts)
        self.app = app
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(seconds),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=256),
            transport=transport,
        )
        self._calls = Calls(self._http)

    async def __aenter__(self) -> Self:
        """Ready to call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connections."""
        await self._http.aclose()

    # --- commands -----------------------------------------------------------------------------------------------------

    async def execute(
        self,
        command: Command,
        *,
        command_id: str | UUID | None = None,
        correlation_id: str | UUID | None = None,
        causation_id: str | UUID | None = None,
    ) -> Receipt:
        """As `Context.execute`; the actor is whom the key belongs to. Raises what that raises."""
        headers = {}
        for name, given in (("Correlation", correlation_id), ("Causation", causation_id)):
            if given is not None:
                if not str(given).isascii():
                    raise InvalidCommand(
                        f"over HTTP {name.lower()}_id={str(given)!r} must be of printable ASCII characters"
                    )
                headers[f"Refold-{name}-Id"] = str(given)
        # As the UUID that it stands for, which a header can hold whatever the text is.
        key = None if command_id is None else str(as_uuid(command_id))
        answer = await self._calls.command(path_of("commands", _name(command)), command, key, headers)
        receipt = msgspec.json.decode(answer.content, type=_Receipt)
        return Receipt(
            receipt.command_id,
            receipt.stream,
            receipt.version,
            receipt.position,
            to_microseconds(receipt.recorded_at),
            tuple(self._events(receipt.events)),
        )

    async def execute_many(self, commands: Iterable[Command | Enveloped]) -> list[Receipt | RefoldError]:
        """As `Context.execute_many`: one result for each, in order. Those for one stream are sent one after the other,
        and 64 at the same time. An `Enveloped` may have the ids that `execute` takes.
        """
        return await execute_all(self.app, commands, self.execute)

    async def dry_run(self, command: Command) -> tuple[str, int, list[Event]]:
        """As `Context.dry_run`."""
        answer = await self._calls.post(path_of("commands", _name(command), "dry-run"), command)
        preview = msgspec.json.decode(answer.content, type=_Preview)
        return preview.stream, preview.version, self._events(preview.events)

    # --- states -------------------------------------------------------------------------------------------------------

    async def load(
        self,
        aggregate: type[A],
        id: object,
        *,
        as_of: datetime | None = None,
        time: Literal["recorded", "occurred"] = "recorded",
        at_version: int | None = None,
        at_position: int | None = None,
    ) -> A:
        """As `Context.load`: the state of one aggregate, now or as it was; that before any event when there is none."""
        definition = self.app.aggregates.get(aggregate)
        if definition is None:
            raise ConfigurationError(f"{aggregate.__qualname__} is not an aggregate of app {self.app.name!r}")
        query: dict[str, Any] = {"as_of": as_of, "at_version": at_version, "at_position": at_position}
        given = {name: _moment(value) for name, value in query.items() if value is not None}
        if time != "recorded":
            given["time"] = time
        found = await self._found(path_of("aggregates", definition.category, id), given, {})
        if found is None:
            return definition.cls()  # type: ignore[return-value]  # the class that was asked for
        document = msgspec.json.decode(found.content, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(document["state"], type=aggregate)

    async def history(
        self, stream: str, *, after: int = 0, limit: int | None = None, backward: bool = False
    ) -> list[Recorded[Any]]:
        """As `Context.history`: the recorded events of a stream."""
        found: list[Recorded[Any]] = []
        following: int | None = after
        while following is not None and (limit is None or len(found) < limit):
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            query = {"after": following, "limit": size, "backward": "true" if backward else "false"}
            answer = await self._found(path_of("streams", stream), query, {})
            if answer is None:
                return []
            page, following = recorded_of(answer.content, self.app)
            found += page
        return found

    async def events(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> AsyncIterator[Recorded[Any]]:
        """As `Context.events`: the log after a position, up to its end."""
        following: int | None = after
        where = _where(types, categories, tags)
        while following is not None:
            answer = await self._calls.get("events", {"after": following, "limit": _PAGE, **where})
            page, following = recorded_of(answer.content, self.app)
            for event in page:
                yield event

    async def subscribe(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> AsyncIterator[Recorded[Any]]:
        """As `Context.subscribe`: the events after a position, each once and in order, and those that come. It never
        ends: where the line or the server is away, it goes on where it was.
        """
        where = _where(types, categories, tags)
        pause = 0.1
        while True:
            try:
                async with self._http.stream(
                    "GET", "events/live", params=where, headers={"Last-Event-ID": str(after)}, timeout=_LIVE
                ) as answer:
                    if not answer.is_success:
                        await answer.aread()
                        raise problem_in(answer)
                    async for position, event in followed(answer.aiter_lines(), self.app):
                        after, pause = position, 0.1
                        if event is not None:
                            yield event
            except (httpx.TransportError, StoreUnavailable):
                await asyncio.sleep(pause)
                pause = min(5.0, pause * 2)

    # --- read models --------------------------------------------------------------------------------------------------

    async def get(
        self,
        read_model: type[R],
        key: object,
        *,
        after: Receipt | AppendResult | int | None = None,
        fresh: bool = False,
        timeout: float = 5.0,
    ) -> R | None:
        """As `Context.get`: the row of a key, or None."""
        definition = self._model(read_model)
        try:
            parts = definition.as_key(key)
        except (msgspec.ValidationError, DefinitionError, TypeError) as problem:
            raise InvalidQuery(f"{key!r} cannot be a key of {read_model.__qualname__}: {problem}") from problem
        if "" in parts:  # of which a path can have no part
            same = dict(zip(definition.key, parts, strict=True))
            rows = await self.find(read_model, limit=1, after=after, fresh=fresh, timeout=timeout, **same)
            return rows[0] if rows else None
        query = {"fresh": "true"} if fresh else {}
        path = path_of("read-models", definition.name, "rows", *parts)
        found = await self._found(path, query, _waiting(after, timeout))
        return None if found is None else msgspec.json.decode(found.content, type=read_model)

    async def find(
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
        """As `Context.find`, page by page until `limit`, where all conditions are joined by and. `fresh` reads one page
        (1,000 rows at most).
        """
        definition = self._model(read_model)
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InvalidQuery(f"limit={limit!r} must be a whole number, 0 or more")
        orders_of(definition, order_by)
        parameters = _asked(definition, conditions, equals, order_by)
        if parameters is None:
            return []
        page_type = msgspec.json.Decoder(dict[str, msgspec.Raw])
        rows: list[R] = []
        cursor: str | None = ""
        while cursor is not None and (limit is None or len(rows) < limit):
            size = _PAGE if limit is None else min(_PAGE, limit - len(rows))
            query = {**parameters, "limit": size, "fresh": "true" if fresh else "false"}
            if cursor:
                query["cursor"] = cursor
            answer = await self._calls.get(
                path_of("read-models", definition.name, "rows"), query, _waiting(after, timeout)
            )
            page = page_type.decode(answer.content)
            rows += msgspec.json.decode(page["rows"], type=list[read_model])  # type: ignore[valid-type]  # at run time
            cursor = msgspec.json.decode(page["next"], type=str | None)
        return rows

    async def count(
        self,
        read_model: type[R],
        *conditions: Condition,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
        **equals: Any,
    ) -> int:
        """As `Context.count`: the number of rows that fulfil all conditions."""
        definition = self._model(read_model)
        parameters = _asked(definition, conditions, equals)
        if parameters is None:
            return 0
        path = path_of("read-models", definition.name, "count")
        answer = await self._calls.get(path, parameters, _waiting(after, timeout))
        return msgspec.json.decode(answer.content, type=dict[str, int])["count"]

    async def search(
        self,
        read_model: type[R],
        text: str,
        *,
        limit: int = 10,
        fields: Sequence[str] | None = None,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
    ) -> list[R]:
        """As `Context.search`: the rows that fit a text, the best first."""
        path = path_of("read-models", self._model(read_model).name, "search")
        query: dict[str, Any] = {"text": text, "limit": limit, **({"fields": list(fields)} if fields else {})}
        answer = await self._calls.get(path, query, _waiting(after, timeout))
        page = msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw])
        return cast("list[R]", msgspec.json.decode(page["rows"], type=list[read_model]))  # type: ignore[valid-type]  # at run time

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _found(self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> httpx.Response | None:
        """What a GET answers; None where the server says that there is no such thing."""
        try:
            return await self._calls.get(path, query, headers)
        except NotFound:
            return None

    def _model(self, read_model: type[ReadModel]) -> ReadModelDefinition:
        definition = self.app.read_models.get(read_model)
        if definition is None:
            raise ConfigurationError(f"{read_model.__qualname__} is not a read model of app {self.app.name!r}")
        return definition

    def _events(self, said: Iterable[_Said]) -> list[Event]:
        return [msgspec.json.decode(each.payload, type=self.app.types.named(each.type)) for each in said]


def _name(command: Command) -> str:
    return type(command).__message_name__


def _asked(
    definition: ReadModelDefinition,
    conditions: Iterable[Condition],
    equals: Mapping[str, Any],
    order_by: str | Sequence[str] = (),
) -> dict[str, Any] | None:
    """The conditions as parameters, refused as a context refuses them; None where no row can fulfil them: none of no
    values would be no parameter at all, which is every row.
    """
    where = checked(definition, conditions, dict(equals))
    wanted = () if where is None else (where,)
    parameters = parameters_of(wanted, {}, order_by)
    return None if [] in parameters.values() else parameters


def _moment(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _where(types: Iterable[type[Event]], categories: Iterable[str], tags: Iterable[str]) -> dict[str, list[str]]:
    for what, several in (("types", types), ("categories", categories), ("tags", tags)):
        if isinstance(several, (str, type)):
            raise InvalidQuery(f"{what}={several!r} must be a list or tuple of them, also for one alone")
    return {"type": [each.__message_name__ for each in types], "category": list(categories), "tag": list(tags)}


def _waiting(after: Receipt | AppendResult | int | None, timeout: float) -> dict[str, str]:
    if after is None:
        return {}
    position = (
        after.position if isinstance(after, Receipt) else after.last if isinstance(after, AppendResult) else after
    )
    return {"Refold-After": str(position), "Prefer": f"wait={max(0, round(timeout))}"}
