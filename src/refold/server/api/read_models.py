"""Read models over HTTP: rows by key, lists of rows, counts, full text, a row as it was, and the events behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from refold.app import App
from refold.folds.read_model import ReadModelDefinition
from refold.messages.recorded import category_of, to_microseconds
from refold.operations.known_rows import KnownRows
from refold.operations.rows import NotYetFolded, events_behind, row_at
from refold.projections.conditions import orders_of
from refold.projections.paths import compared_names
from refold.server.api.cursors import behind, cursor_of
from refold.server.api.documents import EventDocument, documents_of
from refold.server.api.filters import conditions_of, query_of
from refold.server.api.reading import LONGEST_WAIT, READ_HEADERS, after_of, in_time, wait_of
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.problems import Problem
from refold.server.security.identity import Access, Role
from refold.server.settings import Bounds

__all__ = ["ReadModelInfo", "ReadModelList", "read_models_of"]

_GROUP = "Read models"
_ETAG = {"ETag": "Names what is answered; give it as If-None-Match, and 304 says that nothing has changed."}
_SECONDS = 0.12
"""How long the log is searched for the events behind a row, before what was found is given."""
_PROBLEMS = ("stale", "ahead", "stopped", "invalid")


class ReadModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A read model: the fields of its key, those by which rows can be compared and sorted, and the schema of a row."""

    name: str
    key: list[str]
    compared: list[str]
    inline: bool
    description: str
    schema: dict[str, Any]


class ReadModelList(msgspec.Struct, frozen=True):
    """The read models that the caller may read."""

    read_models: list[ReadModelInfo]


class Count(msgspec.Struct, frozen=True):
    """A number of rows."""

    count: int


class RowQuery(msgspec.Struct, frozen=True):
    """How a row is wanted: `fresh` folds what it has not seen yet; `as_of` and `at_position` give it as it was then."""

    fresh: bool = False
    as_of: datetime | None = None
    at_position: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None


class HistoryQuery(msgspec.Struct, frozen=True):
    """Which of the events behind a row: those after a position, so many at most."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class Behind(msgspec.Struct, frozen=True):
    """The events behind a row. `next` is the position to go on after; None: these were the last. They are looked for
    in the whole log, a short time only, so a page may be short, or empty, though there are more.
    """

    events: list[EventDocument]
    next: int | None


class SearchQuery(msgspec.Struct, frozen=True):
    """A text to look for, and in which fields (all of text unless given)."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
    fields: list[str] = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 10


def read_models_of(app: App, bounds: Bounds) -> Sequence[Operation]:
    """The operations of each read model, and the list of all."""
    known = KnownRows()
    found = [each for definition in app.read_models.values() for each in _read_model(definition, known)]
    infos = [_info(definition) for definition in app.read_models.values()]

    async def list_read_models(call: Call) -> Answer:
        scopes = call.identity.scopes(Role.READER)
        return Answer(ReadModelList([info for info in infos if scopes is None or info.name in scopes]))

    listing = Operation(
        method="GET",
        path="/read-models",
        name="list_read_models",
        summary="The read models that you may read, with the schema of each.",
        group=_GROUP,
        access=Access(None),
        run=list_read_models,
        answers={200: Said("The read models.", ReadModelList)},
    )
    return (*found, listing)


def _info(definition: ReadModelDefinition) -> ReadModelInfo:
    described = (definition.cls.__doc__ or "").strip()
    return ReadModelInfo(
        name=definition.name,
        key=list(definition.key),
        compared=compared_names(definition),
        inline=definition.inline,
        description=described,
        schema=msgspec.json.schema(definition.cls),
    )


def _read_model(definition: ReadModelDefinition, known: KnownRows) -> Iterable[Operation]:
    name, cls = definition.name, definition.cls
    access = Access(Role.READER, (name,))
    rows = f"/read-models/{name}/rows"
    one = "/".join([rows, *(f"{{{field}}}" for field in definition.key)])
    key_types = dict(zip(definition.key, definition.key_types, strict=True))
    page_type = msgspec.defstruct(
        f"{cls.__name__}Page", [("rows", list[cls]), ("next", str | None)], frozen=True  # type: ignore[valid-type]  # at run time
    )  # fmt: skip

    def key_of(call: Call) -> Any:
        key = tuple(call.path[field] for field in definition.key)
        return key if len(key) > 1 else key[0]

    async def get_row(call: Call) -> Answer:
        query: RowQuery = call.query
        if query.as_of is not None or query.at_position is not None:
            row = await _row_then(call, definition, query, known)
        else:
            after = after_of(call)
            row = await in_time(
                call, call.context.get(cls, key_of(call), after=after, fresh=query.fresh, timeout=wait_of(call))
            )
        if row is None:
            raise Problem("not-found", f"read model {name!r} has no such row")
        return _tagged(call, Answer(row))

    async def find_rows(call: Call) -> Answer:
        query = call.query
        orders = orders_of(definition, tuple(query.order_by))
        conditions = conditions_of(query)
        if query.cursor:
            conditions.append(behind(definition, query.cursor, orders))
        found = await in_time(
            call,
            call.context.find(
                cls,
                *conditions,
                order_by=tuple(query.order_by),
                limit=query.limit + 1,
                after=after_of(call),
                fresh=query.fresh,
                timeout=wait_of(call),
            ),
        )
        shown = found[: query.limit]
        following = cursor_of(shown[-1], orders) if len(found) > query.limit else None
        return _tagged(call, Answer({"rows": shown, "next": following}))

    async def count_rows(call: Call) -> Answer:
        number = await in_time(
            call, call.context.count(cls, *conditions_of(call.query), after=after_of(call), timeout=wait_of(call))
        )
        return Answer(Count(number))

    async def search_rows(call: Call) -> Answer:
        query: SearchQuery = call.query
        found = await in_time(
            call,
            call.context.search(
                cls,
                query.text,
                limit=query.limit,
                fields=query.fields or None,
                after=after_of(call),
                timeout=wait_of(call),
            ),
        )
        return Answer({"rows": found, "next": None})

    async def explain_row(call: Call) -> Answer:
        query: HistoryQuery = call.query
        events, following = await events_behind(
            call.context, definition, key_of(call), after=query.after, limit=query.limit, seconds=_SECONDS
        )
        scopes = call.identity.scopes(Role.READER)
        hidden = {category_of(each.stream) for each in events if scopes is not None} - (scopes or set())
        if hidden:
            raise Problem(
                "forbidden", f"{call.identity.name} may read {name}, but not the streams of {', '.join(sorted(hidden))}"
            )
        return Answer(Behind(documents_of(events), following))

    common: dict[str, Any] = {"group": _GROUP, "access": access, "method": "GET"}
    yield Operation(
        path=one,
        name=f"get_{name}",
        summary=f"One row of {name}, by its key.",
        description=(
            "With as_of or at_position the row as it was then, folded from all of its events. Where they can be in "
            "other streams than those of its id, that takes as long as the log is long: 504 says in `reached` how far "
            "it is, and the same call goes on from there."
        ),
        path_types=key_types,
        query=RowQuery,
        headers={**READ_HEADERS, "If-None-Match": "The ETag of what you have."},
        run=get_row,
        answers={200: Said("The row.", cls, _ETAG), 304: Said("It is what you have.")},
        problems=("not-found", *_PROBLEMS),
        **common,
    )
    yield Operation(
        path=rows,
        name=f"find_{name}",
        summary=f"Rows of {name}: filtered, sorted, page by page.",
        description=(
            "`FIELD=VALUE` compares for equality; `FIELD.ne`, `.lt`, `.le`, `.gt`, `.ge`, `.in` (repeated), "
            "`.starts_with`, `.contains` and `.is_none` as they say. `order_by` names fields, each with a minus in "
            "front for descending. `next` of an answer is the `cursor` of the page behind it."
        ),
        query=query_of(definition, paging=True),
        headers={**READ_HEADERS, "If-None-Match": "The ETag of what you have."},
        run=find_rows,
        answers={200: Said("A page of rows.", page_type, _ETAG), 304: Said("It is what you have.")},
        problems=_PROBLEMS,
        **common,
    )
    yield Operation(
        path=f"/read-models/{name}/count",
        name=f"count_{name}",
        summary=f"The number of rows of {name} that fulfil the conditions.",
        query=query_of(definition, paging=False),
        headers=READ_HEADERS,
        run=count_rows,
        answers={200: Said("The number.", Count)},
        problems=_PROBLEMS,
        **common,
    )
    yield Operation(
        path=f"/read-models/{name}/search",
        name=f"search_{name}",
        summary=f"Rows of {name} that fit a text, the best first (where it lives in OpenSearch).",
        query=SearchQuery,
        headers=READ_HEADERS,
        run=search_rows,
        answers={200: Said("The rows.", page_type)},
        problems=_PROBLEMS,
        **common,
    )
    yield Operation(
        path=f"{one}/events",
        name=f"explain_{name}",
        summary=f"The events behind one row of {name}, in order.",
        path_types=key_types,
        query=HistoryQuery,
        run=explain_row,
        answers={200: Said("The events.", Behind)},
        problems=("invalid",),
        **common,
    )


async def _row_then(call: Call, definition: ReadModelDefinition, query: RowQuery, known: KnownRows) -> Any:
    if query.as_of is not None and query.at_position is not None:
        raise Problem("invalid", "as_of and at_position both say when; give one", field="at_position")
    if query.fresh:
        raise Problem("invalid", "fresh is for the row as it is now", field="fresh")
    key = tuple(call.path[field] for field in definition.key)
    if query.as_of is not None:
        position = await call.context.store.position_at(to_microseconds(query.as_of))
    else:
        assert query.at_position is not None
        position = query.at_position
    seconds = wait_of(call, otherwise=LONGEST_WAIT)
    try:
        return await row_at(call.context, definition, key, position, known=known, seconds=seconds)
    except NotYetFolded as problem:
        raise Problem("timeout", str(problem), wanted=problem.wanted, reached=problem.reached) from problem


def _tagged(call: Call, answer: Answer) -> Answer:
    """The answer with its ETag, or 304 when the caller has just that."""
    content = answer.content
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = call.header("If-None-Match")
    if known is not None and {tag, "*"} & {each.strip().removeprefix("W/") for each in known.split(",")}:
        return Answer(None, 304, headers)
    return Answer(content, headers=headers)
