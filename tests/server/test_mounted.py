"""Below another path: everything is found there, and says where it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from refold.server import Server
from tests.server.conftest import LOOPBACK
from tests.server.domain import app


@pytest.mark.parametrize(
    ("root", "asked"),
    [
        ("/bank", "/bank"),
        ("/bank/", "/bank"),
        ("/our bank", "/our%20bank"),
        ("/bücher", "/b%C3%BCcher"),
        ("/bank", "/b%61nk"),
        ("/edge", ""),  # a proxy took it off
        ("/m", ""),  # and the path begins with the same letter
    ],
)
async def test_everything_is_found_and_says_where_it_is(root: str, asked: str) -> None:
    async with Server(app, "sqlite:///:memory:") as server:

        async def host(scope: Any, receive: Any, send: Any) -> None:
            await server({**scope, "root_path": root}, receive, send)

        transport = httpx.ASGITransport(app=host, client=LOOPBACK)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as api:
            document = (await api.get(f"{asked}/openapi.json")).json()
            me = await api.get(f"{asked}/me")
            begun = await api.post(f"{asked}/operations/verify", json={})

    written = quote(root.rstrip("/"))
    assert document["servers"] == [{"url": written}]
    assert me.status_code == 200
    assert begun.headers["Location"] == f"{written}/operations/jobs/{begun.json()['id']}"
