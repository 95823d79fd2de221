"""The console's door: a browser shows a key or a token once, and keeps it where no script can read it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from refold.errors import RefoldError
from refold.server.api.system import Me
from refold.server.problems import Problem, problem_of
from refold.server.routing import API_HEADERS, House, problem_response
from refold.server.security.guard import COOKIE, refuse_other_site
from refold.server.security.identity import Identity

__all__ = ["Sessions"]

_LIFE = 12 * 3600
"""Seconds after which one has to sign in again."""
_LONGEST = 16_384


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key, or a token of the configured issuer."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=8_192)]


class Session(msgspec.Struct, frozen=True):
    """Whether one has to sign in here, and who one is (None: nobody yet)."""

    asks: bool
    me: Me | None


class Sessions:
    """`/console/session`: GET says who one is, POST signs in, DELETE signs out."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        """Answers one request at the door."""
        request = Request(scope, receive)  # type: ignore[arg-type]  # ASGI's own types are wider than Starlette's
        work = {"POST": self._sign_in, "DELETE": self._sign_out}.get(request.method, self._show)
        seconds = self._house.bounds.seconds
        try:
            try:
                async with asyncio.timeout(seconds):
                    response = await work(request)
            except TimeoutError:
                raise Problem("timeout", f"it took more than {seconds:g} s") from None
            except RefoldError as error:
                raise problem_of(error) from error
        except Problem as problem:
            if problem.status in (401, 403):
                self._house.journal.refused("", f"{request.method} /console/session", problem.detail)
            response = problem_response(problem, request.url.path)
        except ClientDisconnect:
            return
        await response(scope, receive, send)  # type: ignore[arg-type]

    async def _show(self, request: Request) -> Response:
        guard = self._house.guard
        identity = None
        # Nobody is refused for looking at the door.
        if not guard.asks or COOKIE in request.cookies or "authorization" in request.headers:
            try:
                identity = await guard.recognised(request)
            except Problem as problem:
                if problem.kind != "unauthenticated":
                    raise
        return _json(await self._session(identity))

    async def _sign_in(self, request: Request) -> Response:
        guard = self._house.guard
        refuse_other_site(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem("unsupported-media-type", 'sign in with JSON: {"key": …}')
        key = await _key(request)
        identity = await guard.believed(key) if guard.asks else await guard.recognised(request)
        if identity is None:
            guard.refuse_repeated(request.client.host if request.client is not None else "")
            raise Problem("unauthenticated", "this API key or token is not known, or has expired")
        response = _json(await self._session(identity))
        if guard.asks:
            response.set_cookie(COOKIE, key, max_age=_LIFE, **_cookie(request))  # type: ignore[arg-type]  # as declared
        return response

    async def _sign_out(self, request: Request) -> Response:
        refuse_other_site(request)
        response = Response(None, 204, API_HEADERS)
        response.delete_cookie(COOKIE, **_cookie(request))  # type: ignore[arg-type]  # as declared
        return response

    async def _session(self, identity: Identity | None) -> Session:
        me = None if identity is None else Me.of(identity, await self._house.context())
        return Session(self._house.guard.asks, me)


async def _key(request: Request) -> str:
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > _LONGEST:
            raise Problem("too-large", "that is longer than any key")
    try:
        key = msgspec.json.decode(content, type=SignIn).key.strip()
    except msgspec.MsgspecError as problem:
        raise Problem("invalid", f"body: {problem}") from problem
    if not (key.isascii() and key.isprintable() and not set(key) & set(' ",;\\')):
        raise Problem("unauthenticated", "this is neither an API key nor a token")
    return key


def _cookie(request: Request) -> dict[str, object]:
    """Never readable by a script, never sent from another site, and only over TLS where there is TLS."""
    return {
        "path": request.scope.get("root_path", "").rstrip("/") + "/",
        "secure": request.url.scheme == "https",
        "httponly": True,
        "samesite": "strict",
    }


def _json(session: Session) -> Response:
    headers = {**API_HEADERS, "Content-Type": "application/json"}
    return Response(msgspec.json.encode(session), 200, headers)
