"""An operation: one thing that the API can do, declared once. Routing, checking, access and documentation follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request

from refold.server.security.identity import Access, Identity

if TYPE_CHECKING:
    from refold.app import Context

__all__ = ["JSON", "Answer", "Call", "Operation", "Said", "Stream"]

JSON = "application/json"

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical", enc_hook=str)


class Call(msgspec.Struct, frozen=True):
    """One request, checked: who calls, and the values in the types that the operation declares."""

    request: Request
    identity: Identity
    context: Context
    path: Mapping[str, Any]
    query: Any
    body: Any

    @property
    def root(self) -> str:
        """The path below which the server is mounted, as it is written in an address; nothing where it is not."""
        return quote(str(self.request.scope.get("root_path", "")).rstrip("/"), safe="/%~!$&'()*+,;=:@")

    def header(self, name: str) -> str | None:
        """The value of a header of the request."""
        return self.request.headers.get(name.lower())


class Answer(msgspec.Struct, frozen=True):
    """What is sent back: bytes as they are, or a value that becomes JSON."""

    value: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}
    kind: str = JSON

    @property
    def content(self) -> bytes:
        """The body."""
        if isinstance(self.value, bytes):
            return self.value
        return b"" if self.value is None and self.status in (204, 304) else _encoder.encode(self.value)


class Stream(msgspec.Struct, frozen=True):
    """An answer without a foreseeable end: pieces as they come. The source is closed when the client goes away."""

    pieces: AsyncIterator[bytes]
    kind: str
    headers: Mapping[str, str] = {}


class Said(msgspec.Struct, frozen=True):
    """One answer in the documentation: what it means, the type of its body (None: none) and its headers."""

    meaning: str
    type: Any = None
    headers: Mapping[str, str] = {}
    kind: str = JSON


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What the API can do at a method and a path.

    `path` is written as OpenAPI has it (`/streams/{stream}`), `path_types` gives the types of its parts (text unless
    given). `query` is a struct whose fields are the query parameters, `body` the type of the JSON body; `headers` names
    the request headers that it looks at, with what they mean. `access` says who may call it: fixed, or found from the
    parts of the path. `problems` are the kinds (see `refold.server.problems`) that it may answer with, besides those
    that every operation has.
    """

    method: str
    path: str
    name: str
    summary: str
    group: str
    access: Access | Callable[[Mapping[str, Any]], Access]
    run: Callable[[Call], Awaitable[Answer | Stream]]
    answers: Mapping[int, Said]
    description: str = ""
    path_types: Mapping[str, Any] = {}
    query: Any = None
    body: Any = None
    headers: Mapping[str, str] = {}
    problems: tuple[str, ...] = ()

    def access_for(self, path: Mapping[str, Any]) -> Access:
        """Who may call it with these parts of the path."""
        return self.access if isinstance(self.access, Access) else self.access(path)
