"""The operations of the API, one module for each thing that one can ask about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refold.server.api.aggregates import aggregates_of
from refold.server.api.catalogue import catalogue_of
from refold.server.api.commands import commands_of
from refold.server.api.events import events_of
from refold.server.api.exporting import exporting_of
from refold.server.api.live import live_of
from refold.server.api.overview import overview_of
from refold.server.api.parked import parked_of
from refold.server.api.projections import projections_of
from refold.server.api.read_models import read_models_of
from refold.server.api.rebuilding import rebuilding_of
from refold.server.api.snapshots import snapshots_of
from refold.server.api.status import status_operations
from refold.server.api.streams import streams_of
from refold.server.api.system import system_of
from refold.server.api.verifying import verifying_of
from refold.server.operation import Operation

if TYPE_CHECKING:
    from refold.server.asgi import Server

__all__ = ["operations_of"]


def operations_of(server: Server) -> Sequence[Operation]:
    """Every operation of an app's API: those for its own classes, and those that every app has."""
    return (
        *commands_of(server.app),
        *read_models_of(server.app, server.bounds),
        *aggregates_of(server.app),
        *streams_of(),
        *events_of(server.app),
        *live_of(server),
        *exporting_of(),
        *catalogue_of(server.app),
        *overview_of(server),
        *status_operations(server),
        *projections_of(server),
        *rebuilding_of(server),
        *parked_of(),
        *verifying_of(server),
        *snapshots_of(),
        *system_of(server),
    )
