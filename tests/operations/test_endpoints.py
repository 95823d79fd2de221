"""The endpoints answer what is right, refuse the rest, and let nobody keep them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import refold.operations.endpoints
from refold.errors import ConfigurationError
from refold.operations.endpoints import Endpoints, parsed_address
from refold.operations.monitor import Monitor
from tests.operations.asking import ask, text_of
from tests.projections.stores import shop


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    with (
        shop.connect_sync(f"sqlite:///{tmp_path}/log.db") as context,
        context.entered(Monitor) as monitor,
        Endpoints(monitor, "0") as served,
    ):
        yield served


def raw(endpoints: Endpoints, request: bytes) -> bytes:
    """All that is answered to these bytes."""
    with socket.create_connection((endpoints.host, endpoints.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


def test_an_address_without_a_host_is_the_loopback(endpoints: Endpoints) -> None:
    assert endpoints.host == "127.0.0.1"
    assert parsed_address("9464") == ("127.0.0.1", 9464)
    assert parsed_address(":9464") == ("127.0.0.1", 9464)
    assert parsed_address("0.0.0.0:9464") == ("0.0.0.0", 9464)
    assert parsed_address("[::1]:9464") == ("::1", 9464)


@pytest.mark.parametrize("address", ["", "here", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "::1:9464", "a:²"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address"):
        parsed_address(address)


def test_a_port_that_is_taken_is_said_to_be_so(endpoints: Endpoints) -> None:
    again = Endpoints(endpoints._monitor, f"127.0.0.1:{endpoints.port}")
    with pytest.raises(ConfigurationError, match=r"cannot be served: .*choose another address"), again:
        pass


def test_get_and_head_are_answered(endpoints: Endpoints) -> None:
    assert ask(endpoints.url, "/livez?verbose") == (200, {"live": True, "reasons": []})
    assert "refold_build_info" in text_of(endpoints.url)
    head = raw(endpoints, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET /other HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /../status HTTP/1.1\r\n\r\n", b"404"),
        (b"GET livez HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"GET /livez HTTP/2\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000, b"431"),
    ],
)
def test_the_rest_is_refused(endpoints: Endpoints, request_: bytes, status: bytes) -> None:
    answer = raw(endpoints, request_)
    assert answer.split(b" ")[1] == status, answer
    assert b"Connection: close" in answer


def test_who_says_nothing_is_not_waited_for(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refold.operations.endpoints, "_SECONDS", 0.2)
    assert raw(endpoints, b"GET /livez HT") == b""
    assert ask(endpoints.url, "/livez")[0] == 200


def test_many_who_say_nothing_keep_nobody_out_for_long(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refold.operations.endpoints, "_SECONDS", 1.0)
    silent = [socket.create_connection((endpoints.host, endpoints.port)) for _ in range(40)]
    try:
        with pytest.raises((ConnectionError, AssertionError)):
            assert raw(endpoints, b"GET /livez HTTP/1.1\r\n\r\n")
        for connection in silent[:32]:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionError):  # cut, or ended
                assert connection.recv(1) == b""
        assert ask(endpoints.url, "/livez")[0] == 200
    finally:
        for connection in silent:
            connection.close()


def test_they_end_with_their_block(endpoints: Endpoints) -> None:
    with Endpoints(endpoints._monitor, "0") as served:
        url, idle = served.url, socket.create_connection((served.host, served.port))
    with pytest.raises(OSError, match=r"refused|reset"):
        ask(url, "/livez")
    idle.close()
