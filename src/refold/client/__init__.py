"""The client: an app's commands, states and read models over HTTP, with the methods of a context. Needs
`refold[client]`.
"""

from __future__ import annotations

from refold.client.client import Client
from refold.client.connecting import connect, connect_sync
from refold.client.sync import SyncClient

__all__ = ["Client", "SyncClient", "connect", "connect_sync"]
