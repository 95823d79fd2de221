"""Serving an app, its keys, and calling it, from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from refold.messages.ids import as_uuid
from tests.cli.runner import Done, command, environment, refold, refold_here
from tests.servers.processes import wait_until

APP = "from tests.server.domain import app\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project's folder."""
    (tmp_path / "bank.py").write_text(APP)
    (tmp_path / "refold.toml").write_text('app = "bank:app"\nurl = "sqlite:///bank.db"\n')
    return tmp_path


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own, and where it serves."""
    process = subprocess.Popen(
        command(*arguments, "--address", "0"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield _url(process), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        found = re.search(r"serving .* at (https?://\S+)", line)
        if found:
            return found[1]
    raise AssertionError("".join(printed))


@pytest.mark.slow
def test_serve_call_and_end(folder: Path) -> None:
    with running(folder, "serve") as (url, process):

        def call(*arguments: str, given: bytes | None = None) -> Done:
            return refold("call", *arguments, cwd=folder, given=given, REFOLD_SERVER=url)

        opened = call("OpenAccount", "account_id=42", "owner=alice")
        amount = call("DepositMoney", "account_id=42", "amount:=12.50")
        preview = call("WithdrawMoney", "account_id=42", "amount=1", "--dry-run")
        refused = call("OpenAccount", "account_id=42", "owner=bob")
        invalid = call("DepositMoney", "account_id=42", "amount=much")
        unknown = call("Nothing")
        body = b'{"account_id":"42","amount":"1"}'
        stdin = call("DepositMoney", "-", "--id", "once", given=body)
        row = call("/read-models/account_summary/rows/42", "--after", "3")
        page = call("/events", "limit=1", "backward=true")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0

    assert opened.json["stream"] == "account-42"
    assert amount.json["events"][0]["payload"]["amount"] == "12.50"
    assert preview.json["events"][0]["type"] == "MoneyWithdrawn"
    assert (refused.code, refused.err) == (5, "refold: this account is open already\n")
    assert (invalid.code, unknown.code) == (4, 2)
    assert stdin.json["version"] == 3
    assert row.json["balance"] == "13.50"
    assert page.json["events"][0]["position"] == 3


@pytest.mark.slow
def test_serve_by_tls(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with running(folder, "serve", "--certificate", "cert.pem", "--private-key", "key.pem") as (url, _):
        trusted = refold("call", "/me", "--server", url, cwd=folder, SSL_CERT_FILE=str(folder / "cert.pem"))
        stranger = refold("call", "/me", "--server", url, cwd=folder)

    assert url.startswith("https://")
    assert trusted.json["app"] == "bank"
    assert (stranger.code, "certificate" in stranger.err) == (2, True)


def test_what_is_asked_of_a_path_and_what_it_answers(folder: Path) -> None:
    with running(folder, "serve") as (url, _):

        def call(*arguments: str) -> Done:
            return refold_here("call", *arguments, cwd=folder, REFOLD_SERVER=url)

        opened = call("OpenAccount", "account_id=1", "owner=alice", "--id", "order № 7")
        again = call("OpenAccount", "account_id=1", "owner=alice", "--id", "order № 7")
        call("DepositMoney", "account_id=1", "amount=1")
        both = call("/events", "type=AccountOpened", "type=NoteTaken")
        limited = call("/events?limit=1")
        table = call("/events/export.csv", "type=MoneyDeposited")
        missing = call("DepositMoney", "account_id=1", "amount=1", "--id", "")

    assert opened.json == again.json
    assert (missing.code, "the id '' is empty" in missing.err) == (4, True)
    assert [each["type"] for each in both.json["events"]] == ["AccountOpened"]
    assert len(limited.json["events"]) == 1
    assert [line.split(",")[3] for line in table.out.splitlines()] == ["type", "MoneyDeposited"]


def test_a_key_is_neither_sent_in_the_clear_nor_shown(folder: Path) -> None:
    clear = refold_here("call", "/me", "--server", "http://bank.example.com", cwd=folder, REFOLD_KEY="refold_x")
    broken = refold_here("call", "/me", "--server", "http://127.0.0.1:9", cwd=folder, REFOLD_KEY="secret\x07ž")

    assert (clear.code, broken.code) == (2, 2)
    assert "unencrypted; use https" in clear.err
    assert "REFOLD_KEY must be of printable ASCII" in broken.err
    assert "secret" not in broken.err


def test_a_command_without_an_answer_may_be_done_and_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:

        def hang_up() -> None:
            connection, _ = deaf.accept()
            connection.recv(65_536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        lost = refold_here("call", "DepositMoney", "account_id=1", "amount=1", "--id", "x", "--server", url, cwd=folder)
        thread.join()

    assert lost.code != 0
    assert f"the outcome of append {as_uuid('x')} is unknown" in lost.err


def test_serve_refuses_others_while_nobody_is_asked(folder: Path) -> None:
    done = refold("serve", "--address", "0.0.0.0:0", cwd=folder)

    assert done.code == 2
    assert "no authentication is configured" in done.err
    assert not (folder / "bank.db").exists()


def test_keys_are_made_once_and_open_the_door(folder: Path) -> None:
    key = refold_here("keys", "add", "alice", "--role", "reader", "--keys", "keys.json", cwd=folder).out.strip()
    listed = refold_here("keys", "list", "--keys", "keys.json", "--json", cwd=folder)
    with running(folder, "serve", "--keys", "keys.json") as (url, _):
        nobody = refold_here("call", "/me", cwd=folder, REFOLD_SERVER=url)
        alice = refold_here("call", "/me", cwd=folder, REFOLD_SERVER=url, REFOLD_KEY=key)
        refold_here("keys", "revoke", "alice", "--keys", "keys.json", cwd=folder)
        revoked = refold_here("call", "/me", cwd=folder, REFOLD_SERVER=url, REFOLD_KEY=key)

    assert [each["name"] for each in listed.json] == ["alice"]
    assert key.startswith("refold_")
    assert key not in listed.out + (folder / "keys.json").read_text()
    assert (nobody.code, alice.json["name"], revoked.code) == (2, "alice", 2)
    assert "say who you are" in nobody.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "add", "bob", "--role", "king", "--keys", "k.json"), "is no role"),
        (("keys", "add", "bob", "--role", "reader"), "which file of keys"),
        (("keys", "revoke", "bob", "--keys", "k.json"), "there is no key for 'bob'"),
        (("serve", "--address", "nonsense"), "is no address"),
        (("serve", "--certificate", "cert.pem"), "both a certificate and its private key"),
        (("serve", "--address", "0", "--certificate", "no.pem", "--private-key", "no.key"), "cannot be used"),
        (("call", "/me", "--server", "http://127.0.0.1:9"), "no server answers"),
        (("call", "X", "nonsense"), "is not NAME=VALUE"),
        (("call", "X", "a:={"), "is not JSON"),
        (("call", "/me", "--dry-run"), "are for commands"),
        (("call", "/me", "--after", "ü"), "--after must be of printable ASCII"),
        (("call", "X", "a=1", "a=2"), "a is given twice"),
    ],
)
def test_what_cannot_work_is_one_line(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = refold_here(*arguments, cwd=folder)

    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[server]\nkey = 'x'", "unknown field `key`"),
        ("server = 1", "[server] is a table"),
        ("[server.tokens]\nissuer = 'x'", "missing required field"),
        ("[server]\nkeys = 'broken.json'", "is no file of API keys"),
    ],
)
def test_settings_that_are_wrong_are_refused(folder: Path, table: str, said: str) -> None:
    (folder / "broken.json").write_text("{")
    (folder / "refold.toml").write_text(f'app = "bank:app"\nurl = "sqlite:///bank.db"\n{table}\n')
    done = refold_here("serve", "--address", "0", cwd=folder)

    assert done.code == 2
    assert said in done.err


def test_settings_of_the_file_hold_wherever_one_is(folder: Path) -> None:
    (folder / "refold.toml").write_text('app = "bank:app"\nurl = "sqlite:///bank.db"\n[server]\nkeys = "keys.json"\n')
    below = folder / "below"
    below.mkdir()
    refold_here("keys", "add", "alice", "--role", "reader", cwd=below)

    assert (folder / "keys.json").exists()
    assert refold_here("keys", "list", "--json", cwd=folder).json[0]["name"] == "alice"


def _looks_at_files(pid: int) -> bool:
    """Whether Linux tells a process of changes of files."""
    if sys.platform != "linux":
        return True
    found = []
    for each in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            found.append(each.read_text())
    return any("inotify wd:" in each for each in found)


@contextmanager
def developing(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`refold dev`, with what it prints; whatever is left of it at the end is killed."""
    process = subprocess.Popen(
        command("dev", "--address", "0", *arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()
        process.wait(60)


@pytest.mark.slow
def test_dev_begins_anew_when_the_code_or_the_settings_change(folder: Path) -> None:
    def name(url: str) -> str:
        found: str = json.loads(refold("call", "/me", cwd=folder, REFOLD_SERVER=url).out)["app"]
        return found

    (folder / "third.py").write_text(APP + "app.name = 'third'\n")
    with developing(folder) as process:
        names = [name(_url(process))]
        # It begins to look for changes after it has started the server.
        wait_until(lambda: _looks_at_files(process.pid), "it to look for changes", timeout=60)
        (folder / "bank.py").write_text(APP + "app.name = 'another'\n")
        names.append(name(_url(process)))
        (folder / "refold.toml").write_text('app = "third:app"\nurl = "sqlite:///bank.db"\n')
        names.append(name(_url(process)))
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)

    assert names == ["bank", "another", "third"]
    assert process.returncode == 0
    assert printed == ""


@pytest.mark.slow
def test_dev_is_edited_and_ended_while_it_begins(folder: Path) -> None:
    with developing(folder) as process:
        for number in range(4):
            time.sleep(0.7)
            (folder / "bank.py").write_text(APP + f"number = {number}\n")
        _url(process)
        (folder / "bank.py").write_text(APP + "import time\nprint('slow to begin', flush=True)\ntime.sleep(60)\n")
        assert process.stdout is not None
        while "slow to begin" not in process.stdout.readline():
            pass
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert printed == ""


@pytest.mark.slow
def test_dev_waits_for_a_mistake_to_be_mended(folder: Path) -> None:
    (folder / "bank.py").write_text(APP + "def (\n")
    with developing(folder) as process:
        assert process.stdout is not None
        printed = ""
        while "it has ended" not in printed:
            printed += process.stdout.readline()
        (folder / "bank.py").write_text(APP)
        _url(process)

    assert "SyntaxError" in printed
    assert "begins anew when a file changes" in printed


@pytest.mark.slow
def test_dev_that_is_killed_leaves_nobody_behind(folder: Path) -> None:
    with developing(folder) as process:
        port = int(_url(process).rpartition(":")[2])
        process.kill()
        process.wait(60)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return
            time.sleep(0.1)
        raise AssertionError("it still serves, and holds the store")
