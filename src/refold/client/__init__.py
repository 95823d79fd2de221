"""The client: an app's commands, states and read models over HTTP, with the methods of a context. Needs
`refold[client]`.
"""

from __future__ import annotations

from refold.client.client import Client
from refold.client.connecting import connect, connect_sync
from refold.client.sync import SyncClient

# After the client, which says what to install where its library is missing.
from refold.client.calling import NotFound, ServerFailed  # isort: skip

__all__ = ["Client", "NotFound", "ServerFailed", "SyncClient", "connect", "connect_sync"]
