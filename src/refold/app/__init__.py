"""What a user holds in their hand: the app, and the context that comes of connecting it to a store."""

from refold.app.context import Context
from refold.app.definition import App
from refold.app.sync import SyncContext

__all__ = ["App", "Context", "SyncContext"]
