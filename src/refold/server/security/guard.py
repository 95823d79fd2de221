"""The guard: recognises who calls, and lets nobody else in."""

from __future__ import annotations

import functools
import getpass
import ipaddress
import os
from urllib.parse import urlsplit

from starlette.requests import Request

from refold.server.problems import Problem
from refold.server.security.identity import Access, Grant, Identity, Role
from refold.server.security.keys import ApiKeys
from refold.server.security.pace import Pace
from refold.server.security.tokens import TokenReader
from refold.server.settings import Authentication, Bounds

__all__ = ["COOKIE", "NOBODY", "Guard", "is_loopback", "refuse_other_site"]

COOKIE = "refold_key"
"""Where a browser keeps what it was given at the console's door: an API key or a token."""
NOBODY = Identity("", (), "nobody")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST = 8_192
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@functools.lru_cache(maxsize=1_000)
def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine, and no other can be meant."""
    name = host.strip("[]").partition("%")[0].lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@functools.lru_cache(maxsize=1_000)
def _name_in(host: str) -> str:
    """The name or address in a Host header; of one that has none, what is nobody's name."""
    try:
        return urlsplit(f"//{host}").hostname or f"//{host}"
    except ValueError:  # half an address, as in `[::1`
        return f"//{host}"


class Guard:
    """Recognises callers by an API key or a token; where neither is configured, only this machine is let in."""

    def __init__(self, authentication: Authentication, bounds: Bounds) -> None:
        self._keys = None if authentication.keys is None else ApiKeys(authentication.keys)
        self._tokens = None if authentication.tokens is None else TokenReader(authentication.tokens)
        self._open = not authentication.configured
        self._calls = Pace(bounds.rate)
        self._refusals = Pace(bounds.refused_rate)
        self._me = Identity(_user(), tuple(Grant(role) for role in Role), "loopback")

    @property
    def asks(self) -> bool:
        """Whether callers have to say who they are."""
        return not self._open

    async def recognised(self, request: Request) -> Identity:
        """Who calls. Raises `Problem`: `unauthenticated`, `forbidden`, `too-many`."""
        identity = self._local(request) if self._open else await self._by_credential(request)
        if wait := self._calls.take(identity.name):
            raise Problem("too-many", f"{identity.name} calls too often", headers=_after(wait))
        return identity

    async def believed(self, credential: str) -> Identity | None:
        """Who holds an API key or a token."""
        if not credential or len(credential) > _LONGEST:
            return None
        if self._keys is not None and (identity := self._keys.identity(credential)) is not None:
            return identity
        if self._tokens is not None and credential.count(".") == 2:
            return await self._tokens.identity(credential)
        return None

    async def still(self, request: Request, identity: Identity) -> bool:
        """Whether who sent a request that is not over would be recognised again, and may do the same."""
        return self._open or await self.believed(_credential(request)[0]) == identity

    def permit(self, identity: Identity, access: Access) -> None:
        """Raises `Problem` (`forbidden`) for what somebody may not do."""
        if identity.may(access):
            return
        role = access.role.value if access.role is not None else ""
        scopes = f", for {' or '.join(access.scopes)}" if access.scopes else ""
        raise Problem("forbidden", f"{identity.name} has not the role {role}{scopes}; it takes {_either(access)}")

    def refuse_repeated(self, address: str) -> None:
        """Slows down who is not recognised again and again. Raises `Problem` (`too-many`)."""
        if wait := self._refusals.take(address):
            raise Problem("too-many", "too many calls that were not recognised", headers=_after(wait))

    async def _by_credential(self, request: Request) -> Identity:
        credential, by_cookie = _credential(request)
        if credential and by_cookie:
            refuse_other_site(request)
        identity = await self.believed(credential)
        if identity is None:
            self.refuse_repeated(request.client.host if request.client is not None else "")
            raise _unrecognised(
                "the API key or token is not known, or has expired"
                if credential
                else "say who you are: Authorization: Bearer KEY (see `refold keys`)"
            )
        return identity

    def _local(self, request: Request) -> Identity:
        client = request.client
        if client is not None and not is_loopback(client.host) and client.host != "testclient":
            raise Problem(
                "forbidden", "no authentication is configured, so only this machine is let in (see `refold keys`)"
            )
        headers = request.headers
        given = headers.get("host", "")
        host = _name_in(given) if given else ""
        if host and not is_loopback(host):
            # A page of another site whose name was pointed at this machine would otherwise be let in.
            raise Problem("forbidden", f"this server is localhost here, not {host!r}; no authentication is configured")
        if any(name in headers for name in _FORWARDED):
            raise Problem(
                "forbidden", "no authentication is configured, so nobody is let in through a proxy (see `refold keys`)"
            )
        refuse_other_site(request)
        return self._me


def refuse_other_site(request: Request) -> None:
    """A browser says which page sends a request: only our own may change anything with what the browser adds itself."""
    if request.method in _SAFE:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site not in (None, "same-origin", "none"):
        raise Problem("forbidden", "a page of another site may not do that")
    if origin is not None and _place_of(origin) != request.headers.get("host"):
        raise Problem("forbidden", f"a page of {origin} may not do that")
    by_cookie = "authorization" not in request.headers and COOKIE in request.cookies
    if by_cookie and site is None and origin is None:
        raise Problem("forbidden", "who is recognised by a cookie must come from a page of this server")


def _credential(request: Request) -> tuple[str, bool]:
    """What somebody shows to be recognised, and whether it is a browser that added it."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return request.cookies.get(COOKIE, ""), True
    if scheme.lower() != "bearer":
        raise _unrecognised("the Authorization header must be: Bearer KEY")
    return credential.strip(), False


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _unrecognised(detail: str) -> Problem:
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="refold"'})


def _after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(seconds + 0.5)))}


def _either(access: Access) -> str:
    assert access.role is not None
    return " or ".join([access.role.value, *(f"{access.role.value}:{scope}" for scope in access.scopes)])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"
