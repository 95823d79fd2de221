"""OpenID Connect: bearer tokens (JWT) of an issuer that one trusts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from refold.errors import ConfigurationError, MissingExtra
from refold.server.security.identity import Grant, Identity, parsed_grants

if TYPE_CHECKING:
    import jwt

__all__ = ["OpenIdConnect"]

_log = logging.getLogger("refold.server")

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signed with a private key only: a token that is signed with a shared secret, or not at all, is never believed."""
_LONGEST_NAME = 200
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_LEEWAY = 30.0
_KEPT_SECONDS = 300.0
_AGAIN_SECONDS = 10.0


class OpenIdConnect(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one issuer are believed when they are signed with one of its keys, not expired, and meant for
    `audience`.

    `keys_url` is where the issuer publishes its keys (JWKS); `roles_claim` names the claim with the roles (dots lead
    into objects, as in `realm_access.roles`); `roles` translates the issuer's words, where they are not Refold's;
    `name_claim` says who it is, as the actor of what they do.
    """

    issuer: str
    audience: str
    keys_url: str
    roles_claim: str = "roles"
    name_claim: str = "sub"
    roles: Mapping[str, str] = {}


def _is_private(url: str) -> bool:
    """Whether nobody between here and there can change what comes."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE)
    except ValueError:
        return False


class TokenReader:
    """Recognises people by their tokens. Raises `MissingExtra` without `refold[oidc]`."""

    def __init__(self, settings: OpenIdConnect) -> None:
        try:
            import jwt
        except ImportError as problem:
            raise MissingExtra('tokens of OpenID Connect need PyJWT: pip install "refold[oidc]"') from problem
        self._jwt = jwt
        self._settings = settings
        if not _is_private(settings.keys_url):
            raise ConfigurationError(
                f"the keys of {settings.issuer} must come over https, not from {settings.keys_url!r}"
            )
        self._client = jwt.PyJWKClient(settings.keys_url, cache_keys=False, cache_jwk_set=False, timeout=5)
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched = -_KEPT_SECONDS
        self._fetching = asyncio.Lock()
        for text in settings.roles.values():
            parsed_grants([text])

    async def identity(self, token: str) -> Identity | None:
        """Who a token belongs to; None when it is not to be believed."""
        try:
            key = await self._key(self._jwt.get_unverified_header(token).get("kid"))
            if key is None:
                return None
            claims = self._claims(token, key)
        except self._jwt.PyJWTError as problem:
            _log.debug("a token was not believed: %s", problem)
            return None
        name = claims.get(self._settings.name_claim)
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
            # It becomes an actor, and not every store holds every character.
            _log.warning(
                "a token of %s names nobody: %s is %.100r", self._settings.issuer, self._settings.name_claim, name
            )
            return None
        return Identity(name, self._grants(claims), "token")

    async def _key(self, name: str | None) -> jwt.PyJWK | None:
        """The issuer's key of that name. They are fetched anew every few minutes, and for a name that nobody knows: an
        issuer changes its keys. But seldom: whoever makes names up must not have us call the issuer each time.
        """
        async with self._fetching:
            age = time.monotonic() - self._fetched
            if age > _KEPT_SECONDS or (name not in self._keys and age > _AGAIN_SECONDS):
                self._fetched = time.monotonic()
                try:
                    found = await asyncio.to_thread(self._client.get_signing_keys)
                except (self._jwt.PyJWTError, OSError, HTTPException, ValueError, TypeError, AttributeError) as problem:
                    # An issuer may hang up, or answer with a page that says that it is being mended: what PyJWT makes
                    # of that is no error of its own.
                    _log.warning("the keys of %s cannot be fetched: %s", self._settings.issuer, problem)
                else:
                    self._keys = {each.key_id: each for each in found}
        return self._keys.get(name)

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return self._jwt.decode(
            token,
            key.key,
            algorithms=list(_ALGORITHMS),
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )

    def _grants(self, claims: Mapping[str, Any]) -> tuple[Grant, ...]:
        found: Any = claims
        for part in self._settings.roles_claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        words = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        grants: list[Grant] = []
        for word in words:
            text = self._settings.roles.get(word, word)
            try:
                grants += parsed_grants([text])
            except ConfigurationError:
                continue  # the issuer has roles for other applications too
        return tuple(dict.fromkeys(grants))
