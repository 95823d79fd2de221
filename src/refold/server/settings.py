"""What a server can be told: who is let in, and how much they may ask for."""

from __future__ import annotations

import os

import msgspec

from refold.server.security.tokens import OpenIdConnect

__all__ = ["Authentication", "Bounds"]


class Authentication(msgspec.Struct, frozen=True, kw_only=True):
    """How callers are recognised. Without either, only this machine is let in, as the person who runs the server.

    `keys` is the file of API keys (see `refold keys`), `tokens` an issuer of OpenID Connect.
    """

    keys: str | os.PathLike[str] | None = None
    tokens: OpenIdConnect | None = None

    @property
    def configured(self) -> bool:
        """Whether anybody can be recognised."""
        return self.keys is not None or self.tokens is not None


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be asked for. `body` is in bytes, `seconds` for one answer (streams end otherwise), `rate` the calls
    a second of one identity, `refused_rate` those of one address that are not let in, `streams` the live streams and
    exports that this process has open, `own_streams` those of one identity.
    """

    body: int = 1_500_000
    seconds: float = 30.0
    rate: float = 2_000.0
    refused_rate: float = 20.0
    streams: int = 1_000
    own_streams: int = 500
