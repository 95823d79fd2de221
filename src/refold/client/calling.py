"""Calls over HTTP: sent again where that is safe, and problems turned back into the errors that they were."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import msgspec

from refold.errors import (
    ConfigurationError,
    Conflict,
    IdReused,
    InvalidCommand,
    InvalidQuery,
    LogRegression,
    OutcomeUnknown,
    Overloaded,
    PayloadTooLarge,
    ProjectionStopped,
    RefoldError,
    Refused,
    Rejected,
    StaleRead,
    StoreUnavailable,
    UnknownCommand,
)
from refold.messages.ids import as_uuid

__all__ = ["Calls", "NotFound", "ServerFailed", "path_of", "problem_in", "refuse_in_the_clear"]

_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_AGAIN = frozenset({"overloaded", "unavailable", "outcome-unknown", "too-many", "no-answer"})
_UNSURE = frozenset({"outcome-unknown", "timeout", "no-answer"})
"""After these a command may be done nevertheless. `no-answer`: a proxy says that the server said nothing in time."""
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


class NotFound(InvalidQuery):
    """The server has no such thing."""


class ServerFailed(RefoldError):
    """The server met an error that it did not expect, or an event that its code cannot read or fold. Trying again does
    not help; its log says where.
    """


class _Problem(msgspec.Struct):
    status: int = 0
    code: str = ""
    detail: str = ""
    field: str | None = None
    rejection: str | None = None
    stream: str | None = None
    expected: int | str | None = None
    actual: int | None = None
    read_model: str | None = None
    wanted: int | None = None
    reached: int | None = None


class Calls:
    """Sends requests to one server. What fails on the way is sent again, with the same idempotency key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(
        self, path: str, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """What a GET answers. Raises the error that a problem stands for."""
        return await self._sent("GET", path, query=query, headers=headers)

    async def command(self, path: str, body: Any, key: str | None, headers: Mapping[str, str]) -> httpx.Response:
        """What a command answers. Without a key it is given one, so that sending it again does nothing twice."""
        return await self._sent(
            "POST",
            path,
            body=_encoder.encode(body),
            headers={**headers, "Idempotency-Key": key or str(uuid4())},
        )

    async def post(self, path: str, body: Any) -> httpx.Response:
        """What a POST answers that changes nothing."""
        return await self._sent("POST", path, body=_encoder.encode(body))

    async def _sent(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        all_headers = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        pause = _FIRST_PAUSE
        unsure = False
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                response = await self._http.request(method, path, params=query, content=body, headers=all_headers)
            except httpx.TransportError as lost:
                unsure = unsure or not isinstance(lost, (httpx.ConnectError, httpx.ConnectTimeout))
                if last:
                    raise self._lost(lost, unsure, all_headers.get("Idempotency-Key")) from lost
            else:
                if response.is_success:
                    return response
                problem = _read(response)
                unsure = unsure or problem.code in _UNSURE
                if last or problem.code not in _AGAIN:
                    key = all_headers.get("Idempotency-Key")
                    if unsure and key is not None and problem.code in _AGAIN:
                        # An earlier attempt may have got through, whatever became of this one.
                        raise OutcomeUnknown(
                            _uuid(key), problem.detail or f"the server answered {response.status_code}"
                        )
                    raise problem_in(response)
            await asyncio.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311  # spreads retries, guards nothing
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _lost(self, problem: Exception, unsure: bool, key: str | None) -> RefoldError:
        text = f"{type(problem).__name__}: {problem}".rstrip(": ")
        if unsure and key is not None:
            return OutcomeUnknown(_uuid(key), text)
        return StoreUnavailable(f"the server at {self._http.base_url} cannot be reached ({text})")


def problem_in(response: httpx.Response) -> RefoldError:
    """The error that a server's answer stands for."""
    problem = _read(response)
    detail = problem.detail or f"the server answered {response.status_code}"
    code = problem.code
    if code.startswith("rejected"):
        return _rejected(problem.rejection, detail)
    if code == "conflict" and problem.stream is not None:
        return Conflict(problem.stream, problem.expected or 0, problem.actual or 0)
    if code == "stale":
        return StaleRead(problem.read_model or "", problem.wanted or 0, problem.reached or 0, 0.0)
    if code in _UNSURE and (key := response.request.headers.get("Idempotency-Key")):
        return OutcomeUnknown(_uuid(key), detail)
    if code == "idempotency-key-reused":
        return IdReused(detail)
    if code in ("invalid", "malformed"):
        return (InvalidCommand if response.request.method == "POST" else InvalidQuery)(detail)
    kinds: Mapping[str, type[RefoldError]] = {
        "not-found": UnknownCommand if response.request.method == "POST" else NotFound,
        "too-large": PayloadTooLarge,
        "overloaded": Overloaded,
        "too-many": Overloaded,
        "stopped": ProjectionStopped,
        "ahead": LogRegression,
        "refused": Refused,
        "under-way": Refused,
        "unauthenticated": ConfigurationError,
        "forbidden": ConfigurationError,
        "failed": ServerFailed,
    }
    return kinds.get(code, StoreUnavailable)(detail)


def _rejected(name: str | None, reason: str) -> Rejected:
    """As the domain's own class, where this process has one of that name, and one only."""
    found = [cls for cls in _derived(Rejected) if cls.__name__ == name]
    if len(found) != 1:
        return Rejected(reason)
    # Not by its own `__init__`, which may want what only the server had.
    rejected = found[0].__new__(found[0])
    rejected.args = (reason,)
    try:
        return rejected if str(rejected) == reason else Rejected(reason)
    except AttributeError:  # its text is made of what its `__init__` keeps
        return Rejected(reason)


def _derived(cls: type[Rejected]) -> Iterator[type[Rejected]]:
    for each in cls.__subclasses__():
        yield each
        yield from _derived(each)


def path_of(*parts: object) -> str:
    """A path of these parts, each of which may hold anything."""
    return "/".join(_quoted(_text(part)) for part in parts)


def refuse_in_the_clear(url: httpx.URL) -> None:
    """Raises `ConfigurationError` where a key would be sent unencrypted to another machine."""
    if url.scheme == "http" and url.host not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigurationError(f"the key would go to {url.host} unencrypted; use https")


def _quoted(part: str) -> str:
    # A part that is one dot or two would be taken for a way through folders, and the path for another.
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="")


def _text(part: object) -> str:
    plain = msgspec.to_builtins(part, enc_hook=str)
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()


def _read(response: httpx.Response) -> _Problem:
    try:
        return msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        code = {500: "failed", 502: "no-answer", 503: "unavailable", 504: "no-answer"}.get(response.status_code, "")
        return _Problem(response.status_code, code)


def _uuid(key: str) -> UUID:
    return as_uuid(key)
