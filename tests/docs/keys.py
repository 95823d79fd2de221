"""A real Redis behind the addresses that pages show: `redis://localhost:6379/0?prefix=bank` becomes a corner of a test
server.
"""

import re
import secrets
from urllib.parse import urlsplit

SHOWN_REDIS_URL = re.compile(r"redis://localhost:6379/0\?prefix=(?P<name>[a-z]+)")


class Keys:
    """The keys of one page's run. They go with the server."""

    def __init__(self, server_url: str | None) -> None:
        """`server_url` may be None when the page shows no address."""
        self._place = None if server_url is None else urlsplit(server_url).netloc
        self._suffix = f"-docs-{secrets.token_hex(4)}"

    def with_real_urls(self, text: str) -> str:
        """The text with each shown address replaced by a real one."""
        if self._place is None:
            return text
        return SHOWN_REDIS_URL.sub(rf"redis://{self._place}/0?prefix=\g<name>{self._suffix}", text)

    def with_shown_urls(self, text: str) -> str:
        """The text with each real address replaced by the one on the page."""
        if self._place is None:
            return text
        return text.replace(self._place.rpartition("@")[2], "localhost:6379").replace(self._suffix, "")
