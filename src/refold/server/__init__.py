"""The server: an app's HTTP API and web console, as one ASGI application. Needs `refold[server]`."""

from __future__ import annotations

from refold.server.asgi import Server
from refold.server.security.identity import Grant, Identity, Role
from refold.server.security.keys import ApiKeys
from refold.server.security.tokens import OpenIdConnect
from refold.server.settings import Authentication, Bounds

__all__ = ["ApiKeys", "Authentication", "Bounds", "Grant", "Identity", "OpenIdConnect", "Role", "Server"]
