"""The console's files: read once, named by what is in them, so that a browser fetches each a single time."""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import quote

import msgspec

__all__ = ["Asset", "Assets"]

_TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_SHELL = "index.html"


class Asset(msgspec.Struct, frozen=True):
    """A file: its content, also packed, its media type, and the ETag that names the content."""

    content: bytes
    packed: bytes
    kind: str
    tag: str


class Assets:
    """All files below `static`. `version` names their content: modules find each other by relative paths below it, so
    that two releases behind one address are never mixed in one page.
    """

    def __init__(self) -> None:
        root = files("refold.server.console") / "static"
        found = dict(_files(root, ""))
        shell = found.pop(_SHELL)
        whole = hashlib.blake2b(digest_size=8)
        for name in sorted(found):
            whole.update(name.encode() + b"\x00" + found[name] + b"\x00")
        self.version = whole.hexdigest()
        self._shell = shell.decode()
        self._files = {name: _asset(name, content) for name, content in found.items()}

    def find(self, name: str) -> Asset | None:
        """The file of that name."""
        return self._files.get(name)

    def shell(self, root_path: str) -> bytes:
        """The page in which everything happens, for a server that is mounted below a path."""
        base = html.escape(quote(root_path.rstrip("/"), safe="/%:@!$&'()*+,;=~") + "/console/", quote=True)
        return self._shell.replace("{{base}}", base).replace("{{static}}", f"static/{self.version}").encode()


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for each in folder.iterdir():
        if each.is_dir():
            found += _files(each, f"{prefix}{each.name}/")
        elif each.name.rpartition(".")[2] in (*_TYPES, "html"):
            found.append((prefix + each.name, each.read_bytes()))
    return found


def _asset(name: str, content: bytes) -> Asset:
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    return Asset(content, gzip.compress(content, mtime=0), _TYPES[name.rpartition(".")[2]], tag)
