"""Refold: CQRS and event sourcing for Python.

Events are the truth; every state is a fold over them, and can be folded again.
"""

from refold.app import App, Context, SyncContext
from refold.commands.enveloped import Enveloped
from refold.commands.receipt import Receipt
from refold.errors import Conflict, Overloaded, RefoldError, Rejected, StaleRead
from refold.folds.aggregate import Aggregate
from refold.folds.dispatch import decide, evolve
from refold.folds.read_model import Deleted, ReadModel
from refold.messages.event import Command, Event
from refold.messages.metadata import Metadata
from refold.messages.recorded import Recorded
from refold.projections.conditions import field
from refold.projections.handwritten import ProjectionPage

__version__ = "0.1.0"

__all__ = [
    "Aggregate",
    "App",
    "Command",
    "Conflict",
    "Context",
    "Deleted",
    "Enveloped",
    "Event",
    "Metadata",
    "Overloaded",
    "ProjectionPage",
    "ReadModel",
    "Receipt",
    "Recorded",
    "RefoldError",
    "Rejected",
    "StaleRead",
    "SyncContext",
    "decide",
    "evolve",
    "field",
]
