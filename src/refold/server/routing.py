"""From a request to an operation and back: who calls, what they ask for, and what they are told."""

from __future__ import annotations

import asyncio
import logging
import re
import typing
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing, nullcontext
from typing import Any, Protocol
from urllib.parse import quote, unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp

from refold.app import Context
from refold.errors import RefoldError
from refold.server.operation import JSON, Answer, Call, Operation, Stream
from refold.server.paths import Paths
from refold.server.problems import CONTENT_TYPE, Problem, problem_of
from refold.server.security.guard import NOBODY, Guard
from refold.server.security.identity import Identity
from refold.server.security.journal import Journal
from refold.server.security.pace import OpenStreams
from refold.server.settings import Bounds

__all__ = ["API_HEADERS", "Endpoint", "House", "endpoints_of", "problem_response"]

_log = logging.getLogger("refold.server")

API_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_API_HEADERS_RAW = {name.lower().encode(): value.encode() for name, value in API_HEADERS.items()}
_AS_IT_CAME = "/%~!$&'()*+,;=:@"
"""What stands in a path as it was sent, which says already what is quoted."""
_AT_FIELD = re.compile(r" - at `(?:key in )?(\$[^`]*)`")


class House(Protocol):
    """What every operation stands in: the open context, and who guards it."""

    bounds: Bounds
    guard: Guard
    streams: OpenStreams

    @property
    def journal(self) -> Journal:
        """Where refusals are kept."""
        ...

    async def context(self) -> Context:
        """The open context; opens it when this is the first call."""
        ...


def endpoints_of(house: House, operations: Iterable[Operation]) -> Paths[Endpoint]:
    """An endpoint for each path, with all of its methods."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    paths: Paths[Endpoint] = Paths()
    for path, methods in by_path.items():
        paths.add(path, Endpoint(house, methods))
    return paths


class Endpoint:
    """One path, as an ASGI application. The parts of the path are given as they are written (`path_params`)."""

    def __init__(self, house: House, methods: Mapping[str, Operation]) -> None:
        self._house = house
        self._methods = methods
        self._fields = {
            operation.name: () if operation.query is None else _fields_of(operation.query)
            for operation in methods.values()
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request, whatever comes."""
        request = _Request(scope, receive)
        operation = self._methods.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            allowed = {"Allow": ", ".join(sorted(self._methods))}
            problem = Problem("method-not-allowed", f"{request.method} is not done here", headers=allowed)
            await problem_response(problem, request.url.path)(scope, receive, send)
            return
        identity, streams = NOBODY, False
        try:
            try:
                async with asyncio.timeout(self._house.bounds.seconds):
                    path = {name: _unquoted(name, str(value)) for name, value in scope["path_params"].items()}
                    access = operation.access_for(path)
                    if not access.public:
                        identity = await self._house.guard.recognised(request)
                        self._house.guard.permit(identity, access)
                    answer = await operation.run(await self._call(request, operation, identity, path))
            except RefoldError as error:
                raise problem_of(error) from error
            except TimeoutError:
                raise Problem("timeout", f"it took more than {self._house.bounds.seconds:g} s") from None
            if isinstance(answer, Stream) and request.method != "HEAD":
                self._house.streams.refuse_more(identity.name)
                streams = True
            response = _response(answer, with_body=request.method != "HEAD")
        except Problem as problem:
            if problem.status in (401, 403) and problem.kind != "rejected-forbidden":
                self._house.journal.refused(identity.name, f"{operation.method} {operation.path}", problem.detail)
            response = problem_response(problem, request.url.path)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001  # one who asks is answered, whatever went wrong
            _log.exception("%s %s went wrong", operation.method, operation.path)
            response = problem_response(Problem("failed", "it went wrong; see the server's log"), request.url.path)
        with self._house.streams.one_of(identity.name) if streams else nullcontext():
            await response(scope, receive, send)

    async def _call(self, request: Request, operation: Operation, identity: Identity, path: Mapping[str, str]) -> Call:
        values = {name: _path_value(name, value, operation.path_types.get(name, str)) for name, value in path.items()}
        query = _query(request, operation.query, self._fields[operation.name])
        body = None
        if operation.body is not None:
            body = _decoded(await self._read(request), request.headers.get("content-type", ""), operation.body)
        return Call(request, identity, await self._house.context(), values, query, body)

    async def _read(self, request: Request) -> bytes:
        limit = self._house.bounds.body
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > limit:
            raise _too_large(limit)
        pieces, size, more = [], 0, True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            pieces.append(piece)
        return b"".join(pieces)


def _too_large(limit: int) -> Problem:
    return Problem("too-large", f"the body is larger than {limit:,} bytes")


class _Headers(dict[str, str]):
    """Headers by their names in small letters; of one that came twice, the last."""

    def getlist(self, name: str) -> list[str]:
        """What Starlette asks for cookies."""
        return [self[name]] if name in self else []


class _Request(Request):
    """A request that looks through its headers once: ten are asked for, and Starlette goes through all each time."""

    def __init__(self, scope: Any, receive: Any) -> None:
        super().__init__(scope, receive)
        self._found = _Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])

    @property
    def headers(self) -> _Headers:  # type: ignore[override]  # it has what is asked of it
        """The headers."""
        return self._found


def _fields_of(query: Any) -> tuple[tuple[str, bool], ...]:
    """The names of the parameters, and whether each may be given several times."""
    return tuple((each.encode_name, _is_list(each.type)) for each in msgspec.structs.fields(query))


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return origin in (list, tuple) or any(
        typing.get_origin(part) in (list, tuple) for part in typing.get_args(annotation)
    )


def _query(request: Request, query: Any, fields: tuple[tuple[str, bool], ...]) -> Any:
    if query is None and not request.scope["query_string"]:
        return None
    known = dict(fields)
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items() if request.scope["query_string"] else ():
        if "\x00" in value:
            # No reader has one: Postgres would not even look, and an export would end in the middle.
            raise Problem("invalid", f"the parameter {name!r} holds a NUL", field=name)
        if name not in known:
            names = ", ".join(known) or "none"
            raise Problem("invalid", f"there is no parameter {name!r}; there are: {names}", field=name)
        if known[name]:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Problem("invalid", f"the parameter {name!r} is given twice", field=name)
        else:
            given[name] = value
    if query is None:
        return None
    try:
        return msgspec.convert(given, query, strict=False)
    except msgspec.ValidationError as problem:
        spaced = "datetime" in str(problem) and b"+" in request.scope["query_string"]
        raise _invalid(problem, "query", "; a + in a query is a space, so write %2B" if spaced else "") from problem


def _unquoted(name: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as problem:
        # With another character in its place it would be another key.
        raise Problem("malformed", f"{name} in the path is not UTF-8", field=name) from problem


def _path_value(name: str, text: str, wanted: Any) -> Any:
    if "\x00" in text:
        raise Problem("invalid", f"{name} in the path holds a NUL", field=name)
    if wanted is str:
        return text
    try:
        return msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as problem:
        raise Problem("invalid", f"{name} in the path is {text!r}: {problem}", field=name) from problem


def _decoded(content: bytes, content_type: str, wanted: Any) -> Any:
    if content_type.partition(";")[0].strip().lower() != JSON:
        raise Problem("unsupported-media-type", f"the body must be {JSON}, not {content_type or 'of no type'!r}")
    try:
        return msgspec.json.decode(content, type=wanted)
    except msgspec.ValidationError as problem:
        raise _invalid(problem, "body") from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Problem("malformed", f"the body is not JSON: {problem}") from problem


def _invalid(problem: msgspec.ValidationError, where: str, hint: str = "") -> Problem:
    found = _AT_FIELD.search(str(problem))
    return Problem("invalid", f"{where}: {problem}{hint}", field=found[1] if found else None)


def _response(answer: Answer | Stream, *, with_body: bool) -> ASGIApp:
    if isinstance(answer, Answer):
        return _Whole(answer, with_body=with_body)
    headers = {**API_HEADERS, **answer.headers, "Content-Type": answer.kind}
    return StreamingResponse(_closing(answer.pieces), headers=headers) if with_body else Response(None, headers=headers)


class _Whole:
    """A whole answer, as ASGI has it: Starlette's own would look through headers that are the same each time."""

    def __init__(self, answer: Answer, *, with_body: bool) -> None:
        body = answer.content
        headers = _API_HEADERS_RAW.copy()
        # Nothing comes with these, not even a length of nothing.
        if answer.status not in (204, 304):
            headers[b"content-type"] = answer.kind.encode("latin-1")
            headers[b"content-length"] = b"%d" % len(body)
        for name, value in answer.headers.items():
            headers[name.lower().encode("latin-1")] = value.encode("latin-1")
        self._start = {"type": "http.response.start", "status": answer.status, "headers": [*headers.items()]}
        self._body = {"type": "http.response.body", "body": body if with_body else b""}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends it."""
        await send(self._start)
        await send(self._body)


async def _closing(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(pieces):  # type: ignore[type-var]  # streams are made by generators
        async for piece in pieces:
            yield piece


def problem_response(problem: Problem, path: str) -> Response:
    """A problem as RFC 9457 has it."""
    content = msgspec.json.encode(problem.details(quote(path, safe=_AS_IT_CAME)))
    return Response(content, problem.status, {**API_HEADERS, **problem.headers, "Content-Type": CONTENT_TYPE})
