"""Who is let in, and what they may do: closed unless somebody opened it."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from refold.errors import ConfigurationError
from refold.server import ApiKeys, Authentication, Bounds, OpenIdConnect, Server
from refold.server.operation import Operation
from refold.server.security.guard import COOKIE
from refold.server.security.identity import Access, Role
from tests.server.conftest import calling
from tests.server.domain import app

BODY = {"account_id": "1", "owner": "a"}
OPERATIONS = Server(app, "sqlite:///:memory:").operations
ROLES = ["reader", "commander", "operator", "reader:account", "commander:OpenAccount", "commander:note", None]


def path_of(operation: Operation) -> str:
    values = {"position": "1", "stream": "account-1", "name": "account_summary", "day": "2026-01-15"}
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "1"), operation.path)


def allowed(operation: Operation, role: str | None) -> bool:
    """What the matrix says, written apart from the code that decides it."""
    access = operation.access
    if not isinstance(access, Access):  # the one kind that looks at the path: /streams/account-1
        return role in ("reader", "operator", "reader:account")
    if access.public:
        return True
    if role is None:
        return False
    if access.role is None:
        # Looked at inside: whoever may read one category gets that, and is refused what is of all.
        if operation.name in ("read_log", "read_event", "read_related", "follow_log", "list_streams"):
            if role == "reader:account":
                return operation.name != "list_streams"
            return role in ("reader", "operator")
        return True
    if access.role is Role.OPERATOR:
        return role == "operator"
    if access.role is Role.READER:
        scoped = "account" in access.scopes and role == "reader:account"
        return role in ("reader", "operator") or scoped
    word, _, scope = role.partition(":")
    return word == "commander" and (not scope or scope in access.scopes)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_every_operation_asks_for_its_role(guarded: Server, keys: ApiKeys, operation: Operation) -> None:
    context = await guarded.context()
    await context.execute(_open("1"))
    for role in ROLES:
        key = None if role is None else keys.add(f"holder of {role}", [role])
        if operation.name == "follow_log" and allowed(operation, role):
            continue  # it would not end; the stream's own tests have it
        async with calling(guarded, key=key) as api:
            body: dict[str, str] | None = {} if operation.method == "POST" else None
            answer = await api.request(operation.method, path_of(operation), json=body)
        refused = answer.status_code in (401, 403)
        assert refused is not allowed(operation, role), (role, answer.text)
        assert (answer.status_code == 401) is (role is None and refused)
        keys.revoke(f"holder of {role}") if role else None


def _open(key: str) -> Any:
    from tests.server.domain import OpenAccount

    return OpenAccount(account_id=key, owner="a")


async def test_without_authentication_only_this_machine_is_let_in(server: Server) -> None:
    for client, host, allowed_in in (
        (("127.0.0.1", 1), "127.0.0.1", True),
        (("::1", 1), "localhost:8181", True),
        (("::ffff:127.0.0.1", 1), "[::1]:8181", True),
        (("10.0.0.7", 1), "127.0.0.1", False),
        (("127.0.0.1", 1), "evil.example", False),
        (("127.0.0.1", 1), "127.0.0.1.evil.example", False),
        (("127.0.0.1", 1), "[::1", False),
        (("127.0.0.1", 1), "@", False),
    ):
        async with calling(server, client=client) as api:
            answer = await api.get("/me", headers={"Host": host})
            door = await api.get("/console/session", headers={"Host": host})
        assert {answer.status_code, door.status_code} == ({200} if allowed_in else {403}), (client, host)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "1.2.3.4"},
        {"Forwarded": "for=1.2.3.4"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_no_page_of_another_site_and_no_proxy_does_anything(server: Server, headers: dict[str, str]) -> None:
    async with calling(server) as api:
        refused = await api.post("/commands/OpenAccount", json=BODY, headers=headers)
        own = await api.post(
            "/commands/OpenAccount",
            json=BODY,
            headers={"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"},
        )

    assert (refused.status_code, own.status_code) == (403, 200)


async def test_a_cookie_counts_only_from_our_own_pages(guarded: Server, keys: ApiKeys) -> None:
    cookies = {"Cookie": f"{COOKIE}={keys.add('alice', ['commander'])}"}
    own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    async with calling(guarded) as api:
        read = await api.get("/me", headers=cookies)
        bare = await api.post("/commands/OpenAccount", json=BODY, headers=cookies)
        other = await api.post("/commands/OpenAccount", json=BODY, headers={**cookies, "Origin": "http://evil.example"})
        mine = await api.post("/commands/OpenAccount", json=BODY, headers={**cookies, **own})

    assert [answer.status_code for answer in (read, bare, other, mine)] == [200, 403, 403, 200]


async def test_a_key_counts_until_it_is_revoked_or_expires(guarded: Server, keys: ApiKeys) -> None:
    old = keys.add("old", ["reader"], datetime.now(UTC) - timedelta(seconds=1))
    key = keys.add("alice", ["reader"])
    async with calling(guarded, key=key) as api:
        before = await api.get("/me")
        keys.revoke("alice")
        after = await api.get("/me")
    async with calling(guarded, key=old) as api:
        expired = await api.get("/me")

    assert before.json()["name"] == "alice"
    assert [after.status_code, expired.status_code] == [401, 401]
    assert after.headers["WWW-Authenticate"].startswith("Bearer")


def test_keys_are_kept_as_hashes_for_their_owner_alone(tmp_path: Path, keys: ApiKeys) -> None:
    key = keys.add("alice", ["reader", "commander:OpenAccount"])
    path = tmp_path / "keys.json"

    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    for name, roles in (
        ("alice", ["reader"]),
        ("", ["reader"]),
        ("bob", []),
        ("bob", ["king"]),
        ("bob", ["operator:x"]),
    ):
        with pytest.raises(ConfigurationError):
            keys.add(name, roles)
    with pytest.raises(ConfigurationError, match="there are: alice"):
        keys.revoke("bob")
    assert [each.name for each in ApiKeys(path).all()] == ["alice"]


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"keys":[{"name":"a"}]}', b'{"keys":[],"more":1}'])
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is no file of API keys"):
        ApiKeys(path)


@pytest.mark.usefixtures("no_time_passes")
async def test_who_guesses_keys_is_slowed_down(tmp_path: Path) -> None:
    authentication = Authentication(keys=tmp_path / "keys.json")
    bounds = Bounds(refused_rate=3)
    async with (
        Server(app, "sqlite:///:memory:", authentication=authentication, bounds=bounds) as server,
        calling(server, key="refold_guess") as api,
    ):
        answers = [await api.get("/me") for _ in range(10)]

    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 7
    assert int(answers[-1].headers.get("Retry-After", "1")) >= 1


@pytest.mark.usefixtures("no_time_passes")
async def test_who_calls_too_often_is_told_so() -> None:
    async with Server(app, "sqlite:///:memory:", bounds=Bounds(rate=5)) as server, calling(server) as api:
        answers = await asyncio.gather(*(api.get("/me") for _ in range(20)))

    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 15}


async def test_what_is_refused_is_recorded(guarded: Server, keys: ApiKeys) -> None:
    key = keys.add("alice", ["reader"])
    async with calling(guarded, key=key) as api:
        for _ in range(3):
            await api.post("/commands/OpenAccount", json=BODY)
    async with calling(guarded, key="refold_wrong") as api:
        await api.get("/me")
    context = await guarded.context()
    await guarded.journal.close()
    found = await context.projections.operator.operations()

    refused: Counter[tuple[str, str]] = Counter()
    for each in found:  # several of the same, where they were written down in between
        if each.operation == "refused":
            refused[each.actor, each.target] += each.details["times"]
    assert refused == {("alice", "POST /commands/OpenAccount"): 3, ("nobody", "GET /me"): 1}


async def test_answers_may_not_be_kept_framed_or_guessed(api: httpx.AsyncClient) -> None:
    for path in ("/me", "/nothing", "/read-models/account_summary/rows/none"):
        headers = (await api.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "no-store" in headers["Cache-Control"]
        assert "server" not in headers


# --- OpenID Connect ---------------------------------------------------------------------------------------------------


class Issuer:
    """Publishes a key, and signs tokens with it or another."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.name, self.asked = "k1", 0
        self.instead: bytes | None = None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's word
                if issuer.instead == b"":
                    self.close_connection = True
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(issuer.published())

            def log_message(self, *_: object) -> None:
                pass

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/keys"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def published(self) -> bytes:
        self.asked += 1
        if self.instead is not None:
            return self.instead
        key = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return msgspec.json.encode({"keys": [{**key, "kid": self.name, "alg": "RS256"}]})

    @asynccontextmanager
    async def renamed(self, name: str) -> AsyncIterator[None]:
        self.name = name
        yield
        self.name = "k1"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def token(self, key: Any = None, algorithm: str = "RS256", kid: str = "k1", **claims: Any) -> str:
        now = datetime.now(UTC)
        said = {
            "iss": "https://issuer", "aud": "bank", "sub": "alice", "exp": now + timedelta(minutes=5),
            "realm": {"roles": ["clerk", "other"]}, **claims,
        }  # fmt: skip
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, self.key if key is None else key, algorithm=algorithm, headers={"kid": kid})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    each = Issuer()
    yield each
    each.close()


@pytest.fixture
async def by_token(issuer: Issuer) -> AsyncIterator[Server]:
    tokens = OpenIdConnect(
        issuer="https://issuer",
        audience="bank",
        keys_url=issuer.url,
        roles_claim="realm.roles",
        roles={"clerk": "commander:OpenAccount"},
    )
    async with Server(app, "sqlite:///:memory:", authentication=Authentication(tokens=tokens)) as running:
        yield running


async def test_a_token_of_the_issuer_is_believed(by_token: Server, issuer: Issuer) -> None:
    async with calling(by_token, key=issuer.token()) as api:
        me = (await api.get("/me")).json()
        done = await api.post("/commands/OpenAccount", json=BODY)
        other = await api.post("/commands/DepositMoney", json={"account_id": "1", "amount": "1"})

    assert (me["name"], me["by"], me["roles"]) == ("alice", "token", ["commander:OpenAccount"])
    assert (done.status_code, other.status_code) == (200, 403)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"exp": None},
        {"iss": "https://other"},
        {"iss": None},
        {"aud": "shop"},
        {"aud": None},
        {"sub": ""},
        {"nbf": datetime(2999, 1, 1, tzinfo=UTC)},
    ],
)
async def test_a_token_that_is_not_for_us_or_not_now_is_not(
    by_token: Server, issuer: Issuer, claims: dict[str, Any]
) -> None:
    async with calling(by_token, key=issuer.token(**claims)) as api:
        assert (await api.get("/me")).status_code == 401


async def test_a_token_that_another_signed_or_nobody_is_not(by_token: Server, issuer: Issuer) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = issuer.key.public_key()
    forged = [
        issuer.token(stranger),
        issuer.token(str(RSAAlgorithm.to_jwk(public)) + "x" * 32, "HS256"),
        issuer.token("", "none"),
        "a.b.c",
        "..",
    ]
    for token in forged:
        async with calling(by_token, key=token) as api:
            assert (await api.get("/me")).status_code == 401


async def test_an_issuer_may_change_its_keys_but_names_that_are_made_up_do_not_call_it(
    by_token: Server, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: moment)  # names may call it every 10 s
    monkeypatch.setattr("refold.server.security.tokens.time", clock)
    before = issuer.asked
    for number in range(20):
        async with calling(by_token, key=issuer.token(kid=f"made-up-{number}")) as api:
            assert (await api.get("/me")).status_code in (401, 429)
    asked = issuer.asked - before
    reader = by_token.guard._tokens
    assert reader is not None
    reader._fetched -= 60
    async with calling(by_token, key=issuer.token(kid="new")) as api, issuer.renamed("new"):
        reader._fetched -= 60
        changed = await api.get("/me")

    assert asked <= 1
    assert changed.status_code == 200


async def test_a_key_that_is_revoked_is_out_of_its_live_streams_too(
    guarded: Server, keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.server.api.live._ASKED_EVERY", 0.0)
    monkeypatch.setattr("refold.server.tail.HEARTBEAT_SECONDS", 0.1)
    key, other = keys.add("alice", ["reader"]), keys.add("bob", ["reader", "commander"])
    sent: list[bytes] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/events/live", "raw_path": b"/events/live", "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + key.encode())], "client": ("127.0.0.1", 1), "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.4"}, "scheme": "http", "server": ("127.0.0.1", 80),
    }  # fmt: skip
    following = asyncio.create_task(guarded(scope, receive, send))
    async with calling(guarded, key=other) as api, asyncio.timeout(20):
        while not any(b"still here" in piece for piece in sent):
            await asyncio.sleep(0.02)
        keys.revoke("alice")
        await api.post("/commands/OpenAccount", json=BODY)
        await following
    gone.set()

    assert not any(b"AccountOpened" in piece for piece in sent)


@pytest.mark.parametrize("instead", [b"", b"<html>We are mending it</html>", b"[]", b'{"keys": null}', b"null"])
async def test_an_issuer_that_answers_nonsense_keeps_nobody_out_who_was_let_in(
    by_token: Server, issuer: Issuer, instead: bytes
) -> None:
    reader = by_token.guard._tokens
    assert reader is not None
    stranger = issuer.token(kid="new")
    async with calling(by_token, key=issuer.token()) as api, calling(by_token) as door:
        before = await api.get("/me")
        try:
            issuer.instead = instead
            answers = []
            for token in (issuer.token(), stranger):
                reader._fetched -= 600
                answers.append(await door.get("/me", headers={"Authorization": f"Bearer {token}"}))
                reader._fetched -= 600
                answers.append(await door.post("/console/session", json={"key": token}))
                door.cookies.clear()
        finally:
            issuer.instead = None

    assert before.status_code == 200
    assert [each.status_code for each in answers] == [200, 200, 401, 401]


@pytest.mark.parametrize("name", ["", "a\x00b", "a\nb", "\ud800", "x" * 201, 5])
async def test_a_token_whose_name_is_no_actor_is_not_believed(by_token: Server, issuer: Issuer, name: Any) -> None:
    async with calling(by_token, key=issuer.token(name_of_ours=name)) as api:
        reader = by_token.guard._tokens
        assert reader is not None
        reader._settings = msgspec.structs.replace(reader._settings, name_claim="name_of_ours")
        assert (await api.get("/me")).status_code == 401


async def test_a_file_of_keys_that_is_broken_while_it_serves_keeps_what_was_and_tells_callers_nothing(
    guarded: Server, keys: ApiKeys, tmp_path: Path
) -> None:
    key = keys.add("alice", ["reader"])
    good = (tmp_path / "keys.json").read_bytes()
    async with calling(guarded, key=key) as api, calling(guarded) as stranger:
        before = await api.get("/me")
        (tmp_path / "keys.json").write_bytes(b"{")
        broken = [await api.get("/me"), await stranger.get("/me", headers={"Authorization": "Bearer x"})]
        door = await stranger.post("/console/session", json={"key": "x"})
        (tmp_path / "keys.json").write_bytes(good.replace(b'"alice"', b'"bob"'))
        mended = await api.get("/me")

    assert before.json()["name"] == "alice"
    assert [each.status_code for each in (*broken, door)] == [200, 401, 401]
    assert mended.json()["name"] == "bob"


async def test_events_behind_a_row_need_more_than_the_right_to_the_row(guarded: Server, keys: ApiKeys) -> None:
    await (await guarded.context()).execute(_open("1"))
    path = "/read-models/account_summary/rows/1/events"
    async with calling(guarded, key=keys.add("a", ["reader:account_summary"])) as api:
        refused = await api.get(path)
    async with calling(guarded, key=keys.add("b", ["reader:account_summary", "reader:account"])) as api:
        both = await api.get(path)

    assert (refused.status_code, both.status_code) == (403, 200)


@pytest.mark.parametrize("role", [each for each in ROLES if each is not None])
async def test_what_one_may_not_do_is_not_shown_either(guarded: Server, keys: ApiKeys, role: str) -> None:
    async with calling(guarded, key=keys.add("somebody", [role])) as api:
        paths = (await api.get("/openapi.json")).json()["paths"]
        catalogue = (await api.get("/catalogue")).json()
    shown = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    inside = {"read_log", "read_event", "read_related", "follow_log", "list_streams"}  # these look for themselves
    theirs = {(each.method, each.path) for each in OPERATIONS if each.name in inside or allowed(each, role)}
    assert shown == theirs
    categories = {"reader": ["account", "note"], "operator": ["account", "note"], "reader:account": ["account"]}
    assert catalogue["categories"] == categories.get(role, [])
    assert ("NoteTaken" in {each["name"] for each in catalogue["events"]}) == (role in ("reader", "operator"))


async def test_who_only_asks_for_the_head_of_a_stream_does_not_get_one(api: httpx.AsyncClient) -> None:
    answer = await api.head("/events/live")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://localhost.evil.example/keys",
        "http://127.0.0.1@evil.example/keys",
        "http://[::1",
        "ftp://127.0.0.1/keys",
    ],
)
def test_keys_of_an_issuer_come_encrypted(url: str) -> None:
    tokens = OpenIdConnect(issuer="i", audience="a", keys_url=url)
    with pytest.raises(ConfigurationError, match="https"):
        Server(app, "sqlite:///:memory:", authentication=Authentication(tokens=tokens))
