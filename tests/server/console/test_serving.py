"""What serves the console: the shell, files that a browser keeps, and the door with its cookie."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from refold.operations.status import STATES
from refold.server import ApiKeys, Server
from refold.server.security.guard import COOKIE
from tests.server.conftest import LOOPBACK, calling
from tests.server.domain import app

STRANGER = ("10.0.0.7", 1)
OWN_PAGE = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def door(guarded: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A browser before the door of a server that asks."""
    async with calling(guarded, client=STRANGER) as client:
        yield client


async def test_the_shell_is_at_every_path_and_nothing_of_the_app_is_in_it(door: httpx.AsyncClient) -> None:
    for path in ("/console/", "/console/log", "/console/streams/account-%2F1", "/console/sign-in"):
        answer = await door.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert '<base href="/console/">' in answer.text
        assert "bank" not in answer.text
    for path in ("/", "/console"):
        answer = await door.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/console/")


async def test_every_state_of_a_projection_has_a_tone_and_says_what_it_means(door: httpx.AsyncClient) -> None:
    """One without would look like one that nobody needs to look at."""
    badges = (await door.get("/console/static/x/badges.js")).text
    for kind in ("TONES", "MEANINGS"):
        names = re.findall(r'"?([\w ]+)"?: "', badges.partition(f"const {kind} = {{")[2].partition("};")[0])
        assert not set(STATES) - {name.strip() for name in names}, kind


async def test_no_script_and_no_style_stands_in_the_page_and_none_may_come_from_elsewhere(
    door: httpx.AsyncClient,
) -> None:
    answer = await door.get("/console/")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", answer.text)
    policy = dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_files_are_kept_for_ever_by_what_is_in_them(door: httpx.AsyncClient) -> None:
    shell = (await door.get("/console/")).text
    names = re.findall(r'(?:src|href)="(static/[^"]+)"', shell)
    assert len(names) > 8
    for name in names:
        answer = await door.get(f"/console/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await door.get(f"/console/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    plain = await door.get(f"/console/{names[-1]}", headers={"Accept-Encoding": "identity"})
    packed = await door.get(f"/console/{names[-1]}", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content


async def test_files_of_another_release_are_not_kept(door: httpx.AsyncClient) -> None:
    answer = await door.get("/console/static/0123456789abcdef/app.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    for name in ("nothing.js", "../routes.py", "..%2froutes.py", "%2e%2e/assets.py", "index.html"):
        assert (await door.get(f"/console/static/x/{name}")).status_code in (200, 404)
        assert "import" not in (await door.get(f"/console/static/x/{name}")).text.partition("<")[0]


@pytest.mark.parametrize("prefix", ["/refold", "/a b/ü"])
async def test_it_works_below_a_prefix(prefix: str) -> None:
    async with Server(app, "sqlite:///:memory:") as server:
        host = Starlette(routes=[Mount(prefix, app=server)])
        transport = httpx.ASGITransport(app=host, client=LOOPBACK)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            shell = await client.get(f"{prefix}/console/log")
            (base,) = re.findall(r'<base href="([^"]+)">', shell.text)
            assert base == f"{httpx.URL(prefix).raw_path.decode()}/console/"
            (script,) = re.findall(r'src="(static/[^"]+app\.js)"', shell.text)
            assert (await client.get(base + script)).status_code == 200
            assert (await client.get(f"{base}session")).json()["me"]["app"] == "bank"
            assert (await client.get(f"{prefix}/console")).headers["location"].endswith("/console/")


async def test_where_nobody_is_asked_one_is_in_at_once() -> None:
    async with Server(app, "sqlite:///:memory:") as server, calling(server) as client:
        session = (await client.get("/console/session")).json()
    assert session["asks"] is False
    assert session["me"]["roles"] == ["reader", "commander", "operator"]


async def test_one_signs_in_once_and_out_again(door: httpx.AsyncClient, keys: ApiKeys) -> None:
    key = keys.add("anna", ["reader"])
    assert (await door.get("/console/session")).json() == {"asks": True, "me": None}
    entered = await door.post("/console/session", json={"key": f" {key}\n"}, headers=OWN_PAGE)
    assert entered.json()["me"]["name"] == "anna"
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}={key}; ")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/;" in cookie
    assert "Secure" not in cookie
    assert (await door.get("/me")).json()["name"] == "anna"
    assert (await door.get("/console/session")).json()["me"]["roles"] == ["reader"]
    left = await door.delete("/console/session", headers=OWN_PAGE)
    assert left.status_code == 204
    assert (await door.get("/me")).status_code == 401


async def test_over_tls_the_cookie_goes_over_tls_only(guarded: Server, keys: ApiKeys) -> None:
    key = keys.add("anna", ["reader"])
    transport = httpx.ASGITransport(app=guarded, client=STRANGER)
    async with httpx.AsyncClient(transport=transport, base_url="https://127.0.0.1") as client:
        entered = await client.post("/console/session", json={"key": key})
    assert "; Secure" in entered.headers["set-cookie"]


@pytest.mark.usefixtures("no_time_passes")
async def test_who_guesses_is_refused_and_slowed_down(guarded: Server, door: httpx.AsyncClient) -> None:
    statuses = []
    for number in range(60):
        answer = await door.post("/console/session", json={"key": f"refold_{number}"})
        assert "set-cookie" not in answer.headers
        statuses.append(answer.status_code)
    assert statuses == [401] * 20 + [429] * 40
    await guarded.journal.close()
    written = await (await guarded.context()).projections.operator.operations()
    assert any(each.target == "POST /console/session" and each.operation == "refused" for each in written)


@pytest.mark.parametrize("key", ["", "a b", 'a"b', "a;b", "ü", "x" * 9_000, "a\x00b"])
async def test_what_is_no_key_is_refused(door: httpx.AsyncClient, key: str) -> None:
    answer = await door.post("/console/session", json={"key": key})
    assert answer.status_code in (401, 413, 422)
    assert "set-cookie" not in answer.headers


async def test_no_other_page_signs_anybody_in_or_out(door: httpx.AsyncClient, keys: ApiKeys) -> None:
    key = keys.add("anna", ["reader"])
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await door.post("/console/session", json={"key": key}, headers=headers)).status_code == 403
        assert (await door.delete("/console/session", headers=headers)).status_code == 403
    form = await door.post("/console/session", data={"key": key})
    assert form.status_code == 415
    assert (await door.post("/console/session", content=b"{", headers={"Content-Type": "application/json"})).is_error


async def test_a_key_that_is_revoked_opens_nothing_any_more(door: httpx.AsyncClient, keys: ApiKeys) -> None:
    key = keys.add("anna", ["operator"])
    await door.post("/console/session", json={"key": key}, headers=OWN_PAGE)
    keys.revoke("anna")
    assert (await door.get("/console/session")).json() == {"asks": True, "me": None}
