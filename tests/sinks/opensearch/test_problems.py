"""What goes wrong with OpenSearch, and what is said about it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from refold.errors import ConfigurationError, InvalidQuery, StoreCorrupt, StoreFull, StoreUnavailable
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.projections.checkpoint import Move
from refold.projections.sink import building
from refold.projections.sinks.opensearch import OpenSearchRows, open_opensearch
from refold.projections.sinks.opensearch_server import Server, place_of
from refold.testing.sink_contract import EVERYTHING, ID, Everything
from tests.servers import OpenSearchServer
from tests.sinks.opensearch.common import HEAD, NAME, Written, ids, put
from tests.untested import skip_loudly

pytestmark = pytest.mark.opensearch


async def test_a_document_that_somebody_else_has_written(
    rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str
) -> None:
    opensearch.ask("PUT", f"/{prefix}-{NAME}/_doc/1", {"id": "1", "colour": "green"})
    with pytest.raises(StoreCorrupt, match="was changed by somebody else; run `refold rebuild contract_everything`"):
        await rows.load(EVERYTHING, NAME, [("1",)])


@pytest.mark.parametrize("alias", [False, True])
async def test_what_is_not_ours_is_left_alone(opensearch: OpenSearchServer, prefix: str, alias: bool) -> None:
    name = f"{prefix}-{NAME}"
    opensearch.ask("PUT", f"/{prefix}-theirs" if alias else f"/{name}", {"aliases": {name: {}} if alias else {}})
    opensearch.ask("PUT", f"/{name}/_doc/1?refresh=true", {"mine": 1})
    rows = await open_opensearch(opensearch.url(prefix))
    assert await rows.standing(NAME) is None
    with pytest.raises(ConfigurationError, match=f"an index or alias '{name}' that is not ours, and was left as it is"):
        await rows.create(EVERYTHING, NAME, {NAME: HEAD})
    await rows.drop(NAME)
    table = building(NAME)
    await rows.create(EVERYTHING, table, {table: HEAD})
    with pytest.raises(ConfigurationError, match="not ours"):
        await rows.switch(EVERYTHING, table, NAME, None)
    assert opensearch.ask("GET", f"/{name}/_doc/1")["_source"] == {"mine": 1}
    await rows.close()


async def test_a_full_disk(rows: OpenSearchRows, opensearch: OpenSearchServer, prefix: str) -> None:
    """The server blocks the index; nothing moves, and it goes on afterwards."""
    block = "index.blocks.read_only_allow_delete"
    opensearch.ask("PUT", f"/{prefix}-{NAME}/_settings", {block: True})
    for given in ([Everything(id="1")], []):
        with pytest.raises(StoreFull, match="has no disk space left"):
            await rows.write(EVERYTHING, NAME, given, [], Move(0, 1, ID, 1))
    opensearch.ask("PUT", f"/{prefix}-{NAME}/_settings", {block: None})
    await put(rows, Everything(id="1"))
    assert await ids(rows) == ["1"]


class Other(ReadModel, key="id", name="contract_everything"):
    """Another kind of column by the same name."""

    id: str
    number: str = ""

    @evolve
    def written(self, event: Written) -> None:
        """Never called."""


async def test_a_row_that_the_index_cannot_have(rows: OpenSearchRows) -> None:
    """The text names it, and the checkpoint stays."""
    bad = [Other(id="good", number="1"), Other(id="bad", number="no number")]
    with pytest.raises(InvalidQuery, match="cannot keep the row 'bad': mapper_parsing_exception"):
        await rows.write(read_model_of(Other), NAME, bad, [], Move(0, 1, ID, 1))
    assert await rows.standing(NAME) == HEAD


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
async def test_a_number_of_more_than_64_bits(rows: OpenSearchRows, number: int) -> None:
    with pytest.raises(InvalidQuery, match=r"Everything.maybe of the key \('1',\) is .* no whole number of 64 bits"):
        await rows.write(EVERYTHING, NAME, [Everything(id="1", maybe=number)], [], Move(0, 1, ID, 1))
    assert await ids(rows) == []


@pytest.mark.slow
async def test_pages_and_rows_that_are_too_large() -> None:
    """A page is sent in smaller parts; a row that is too large by itself is named."""
    with OpenSearchServer.create(settings={"http.max_content_length": "300kb"}) as server:
        rows = OpenSearchRows(Server(place_of(server.url())))
        await rows.create(EVERYTHING, NAME, {NAME: HEAD})
        given = [Everything(id=f"{number:03}", order="x " * 4_000) for number in range(300)]
        await put(rows, *given)
        assert await rows.count(EVERYTHING, NAME, None) == 300
        with pytest.raises(InvalidQuery, match=r"takes no document as large as that of 'huge' \([\d,]+ bytes\)"):
            await put(rows, Everything(id="small"), Everything(id="huge", order="x" * 400_000))
        stands = await rows.standing(NAME)
        assert stands is not None
        assert stands.position == 1
        await rows.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("opensearch:///shop", "names no host"),
        ("opensearch://u:secret@host:port/", "cannot be read"),
        ("opensearch://u:secret@host/Shop", "prefix 'Shop'"),
        ("opensearch://u:secret@host/a/b", "prefix 'a/b'"),
        ("opensearch://u:secret@host/a--b", "prefix 'a--b'"),
        ("opensearch://u:secret@host/?shards=3", "option 'shards'; there are ca, replicas"),
        ("opensearch://u:secret@host/?replicas=many", "replicas='many'"),
        ("opensearch://u:secret@host/#x", "names no host"),
    ],
)
async def test_a_wrong_url(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        await open_opensearch(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def _refused(url: str, error: type[Exception], said: str) -> None:
    rows = await open_opensearch(url)
    assert "secret" not in rows.name
    with pytest.raises(error, match=said) as raised:
        await rows.prepare()
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    await rows.close()


async def test_unreachable(unused_tcp_port: int) -> None:
    await _refused(f"opensearch://u:secret@127.0.0.1:{unused_tcp_port}", StoreUnavailable, "cannot be reached")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<p>hi</p>", "does not answer as OpenSearch does"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "does not say which version it is"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "does not say which version it is"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{"version":{"number":"6.8.23"}}',
            "is elasticsearch 6.8.23, which is too old",
        ),
    ],
)
async def test_something_else_answers(answer: bytes, said: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = len(answer.partition(b"\r\n\r\n")[2])
        writer.write(answer.replace(b"Content-Length: 30", b"Content-Length: %d" % length))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await _refused(f"opensearch://u:secret@127.0.0.1:{port}", ConfigurationError, said)


@asynccontextmanager
async def proxied(
    opensearch: OpenSearchServer, *, login: bytes = b"", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A proxy before the server that asks for a login, or speaks TLS, as its security plugin would; gives the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if login not in head:
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        else:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", opensearch.port)
            upstream.write(head.replace(b"keep-alive", b"close"))
            writer.write(await upstream_reader.read())
            upstream.close()
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_login(opensearch: OpenSearchServer) -> None:
    async with proxied(opensearch, login=b"Basic YW5uYTpvcGVuIHNlc2FtZQ==") as port:
        rows = await open_opensearch(f"opensearch://anna:open%20sesame@127.0.0.1:{port}")
        await rows.prepare()
        await rows.close()
        await _refused(f"opensearch://anna:secret@127.0.0.1:{port}", ConfigurationError, "refuses the login")


async def test_tls(opensearch: OpenSearchServer, tmp_path: Path) -> None:
    """Only with an authority that is trusted."""
    program = shutil.which("openssl")
    if program is None:
        skip_loudly("openssl", "openssl was not found: no certificate can be made")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made: list[str | Path] = [
        program,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "2",
    ]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    await asyncio.to_thread(subprocess.run, made, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with proxied(opensearch, tls=context) as port:
        rows = await open_opensearch(f"opensearchs://localhost:{port}?ca={certificate}")
        await rows.prepare()
        await rows.close()
        await _refused(f"opensearchs://u:secret@localhost:{port}", ConfigurationError, "cannot be trusted")
        await _refused(f"opensearchs://u:secret@localhost:{port}?ca={key}", ConfigurationError, "cannot be read")
        await _refused(f"opensearch://u:secret@localhost:{port}", StoreUnavailable, "cannot be reached")


async def test_a_field_that_no_document_can_have(rows: OpenSearchRows) -> None:
    class Odd(ReadModel, key="id", name="odd", rename={"some": "_source"}):
        id: str
        some: int = 0

        @evolve
        def written(self, event: Written) -> None:
            """Never called."""

    odd = read_model_of(Odd)
    with pytest.raises(ConfigurationError, match=r"Odd\.some is called '_source' in JSON"):
        await rows.create(odd, "odd", {"odd": HEAD})
