"""A real OpenSearch behind the addresses that pages show.

`opensearch://localhost:9200/bank`, and `localhost:9200/bank-…` of its tools, become a prefix of a test server.
"""

import re
import secrets
import urllib.request
from urllib.parse import urlsplit

SHOWN_SEARCH_URL = re.compile(r"\blocalhost:9200/(?P<name>[a-z]+)")


class Indexes:
    """The indices of one page's run."""

    def __init__(self, server_url: str | None) -> None:
        """`server_url` may be None when the page shows no address."""
        self._place = None if server_url is None else urlsplit(server_url).netloc
        self._suffix = f"_docs_{secrets.token_hex(4)}"
        self._names: set[str] = set()

    def close(self) -> None:
        """Deletes them."""
        for name in self._names:
            address = f"http://{self._place}/{name}{self._suffix}-*"
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=30).close()

    def with_real_urls(self, text: str) -> str:
        """The text with each shown address replaced by a real one."""
        if self._place is None:
            return text
        self._names |= {match["name"] for match in SHOWN_SEARCH_URL.finditer(text)}
        return SHOWN_SEARCH_URL.sub(rf"{self._place}/\g<name>{self._suffix}", text)

    def with_shown_urls(self, text: str) -> str:
        """The text with each real address replaced by the one on the page."""
        if self._place is None:
            return text
        return text.replace(self._place, "localhost:9200").replace(self._suffix, "")
