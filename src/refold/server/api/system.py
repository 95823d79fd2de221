"""What every server says about itself: health, who the caller is, and the document of its API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

import refold
from refold.app import Context
from refold.errors import RefoldError
from refold.server.openapi import openapi_of
from refold.server.operation import Answer, Call, Operation, Said
from refold.server.security.identity import Access, Identity, Role

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["system_of"]

_GROUP = "System"
_ANYBODY = Access(None, public=True)
_DOCUMENTS = 64
"""As many kinds of callers are documented without being written anew."""


class Me(msgspec.Struct, frozen=True):
    """Who the caller is, how they were recognised, and what they may do; and which app this is."""

    name: str
    by: str
    roles: list[str]
    app: str
    version: str
    store: str

    @classmethod
    def of(cls, identity: Identity, context: Context) -> Me:
        """Of somebody who was recognised. Who may do nothing is not told where the store is."""
        roles = [str(grant) for grant in identity.grants]
        store = context.store.name if roles else ""
        return cls(identity.name, identity.by, roles, context.app.name, refold.__version__, store)


class Healthy(msgspec.Struct, frozen=True):
    """Whether it is well, and why not."""

    ok: bool
    reasons: list[str]


def _concerns(operation: Operation, identity: Identity) -> bool:
    """Whether somebody may ever call that. What a stream's name decides concerns whoever may read one of them."""
    if isinstance(operation.access, Access):
        return identity.may(operation.access)
    return identity.scopes(Role.READER) != frozenset()


def system_of(server: Server) -> Sequence[Operation]:
    """Health, identity, documentation."""
    documents: dict[tuple[str, ...], bytes] = {}

    async def openapi(call: Call) -> Answer:
        theirs = [each for each in server.operations if _concerns(each, call.identity)]
        which = (call.root, *(each.name for each in theirs))
        if which not in documents:
            if len(documents) >= _DOCUMENTS:  # a host may mount it below whatever somebody asks for
                documents.clear()
            made = openapi_of(server.app.name, refold.__version__, theirs, asks=server.guard.asks, root=call.root)
            documents[which] = msgspec.json.encode(made, enc_hook=str)
        return Answer(documents[which])

    async def me(call: Call) -> Answer:
        return Answer(Me.of(call.identity, call.context))

    async def live(call: Call) -> Answer:
        return Answer(Healthy(True, []))

    async def ready(call: Call) -> Answer:
        try:
            await call.context.store.head()
        except RefoldError:
            # Whoever asks here was not asked who they are: why is in the log, and in the status.
            return Answer(Healthy(False, ["the store does not answer"]), 503)
        return Answer(Healthy(True, []))

    common: dict[str, Any] = {"method": "GET", "group": _GROUP}
    return (
        Operation(
            path="/openapi.json",
            name="openapi",
            summary="This document: of what you may do.",
            access=Access(None),
            run=openapi,
            answers={200: Said("OpenAPI 3.1.", dict[str, Any])},
            **common,
        ),
        Operation(
            path="/me",
            name="me",
            summary="Who you are, and what you may do.",
            access=Access(None),
            run=me,
            answers={200: Said("The identity.", Me)},
            **common,
        ),
        Operation(
            path="/livez",
            name="live",
            summary="Whether the process lives.",
            access=_ANYBODY,
            run=live,
            answers={200: Said("It does.", Healthy)},
            **common,
        ),
        Operation(
            path="/readyz",
            name="ready",
            summary="Whether the store answers.",
            access=_ANYBODY,
            run=ready,
            answers={200: Said("It does.", Healthy), 503: Said("It does not.", Healthy)},
            **common,
        ),
    )
