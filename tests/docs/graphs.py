"""A real Neo4j behind the addresses that pages show: `bolt://neo4j:secret@localhost:7687`, and that address and that
password apart, become those of a test server.
"""

import re
from urllib.parse import urlsplit

SHOWN_GRAPH_URL = re.compile(r"bolt://(?P<login>neo4j:secret@)?localhost:7687")
_SHOWN_PASSWORD = '"secret"'


class Graphs:
    """The graph of one page's run. It goes with the server."""

    def __init__(self, server_url: str | None) -> None:
        """`server_url` may be None when the page shows no address."""
        self._place = None if server_url is None else urlsplit(server_url).netloc

    def with_real_urls(self, text: str) -> str:
        """The text with each shown address, and the password beside it, replaced by a real one."""
        if self._place is None:
            return text
        login, _, address = self._place.partition("@")
        text = SHOWN_GRAPH_URL.sub(lambda match: f"bolt://{self._place if match['login'] else address}", text)
        return text.replace(_SHOWN_PASSWORD, f'"{login.partition(":")[2]}"')

    def with_shown_urls(self, text: str) -> str:
        """The text with each real address replaced by the one on the page."""
        if self._place is None:
            return text
        return text.replace(self._place.rpartition("@")[2], "localhost:7687")
