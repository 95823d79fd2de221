"""`refold parked`, `pause`, `resume`, `operations`: beside a worker that runs, and without one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cli.runner import Done, command, environment, refold, refold_here
from tests.servers import PostgresServer

APP = """
from pathlib import Path
from refold import App, Event, ReadModel, evolve

class Put(Event):
    what: str

class Box(ReadModel, key="id", on_error="park"):
    id: str
    things: list[str] = []

    @evolve
    def put(self, event: Put) -> None:
        if event.what == "bad" and not (Path(__file__).parent / "mended").exists():
            raise ZeroDivisionError("cannot take bad")
        self.things = [*self.things, event.what]

app = App("boxes", read_models=[Box])
"""


class Boxes:
    """A project whose fold fails until the file `mended` is there."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        (folder / "boxes.py").write_text(APP)
        (folder / "refold.toml").write_text(f'app = "boxes:app"\nurl = "{url}"\n')
        self.run(
            "with app.connect_sync(URL, projections=False) as context:\n"
            "    context.append('box-a', [Put(what='1'), Put(what='bad'), Put(what='2')])\n"
            "    context.append('box-b', [Put(what='3')])\n",
            url,
        )
        self.url = url

    def run(self, code: str, url: str = "") -> str:
        given = f"from boxes import *\nURL = {url or self.url!r}\n{code}"
        done = subprocess.run(
            [command()[0], "-c", given], cwd=self.folder, env=environment(), check=True, capture_output=True, text=True
        )
        return done.stdout

    def refold(self, *arguments: str) -> Done:
        # A worker adds what it needs to the process.
        return (refold if arguments[0] == "worker" else refold_here)(*arguments, cwd=self.folder)

    def things(self, key: str) -> str:
        code = f"with app.connect_sync(URL, projections=False) as context: print(context.get(Box, {key!r}).things)"
        return self.run(code).strip()

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker that has seen all."""
        process = subprocess.Popen(
            command("worker"), cwd=self.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            self.run("with app.connect_sync(URL, projections=False) as c: c.get(Box, 'b', after=4, timeout=30)")
            yield
        finally:
            process.kill()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def boxes(request: pytest.FixtureRequest, tmp_path: Path) -> Boxes:
    if request.param == "sqlite":
        return Boxes(tmp_path, f"sqlite:///{tmp_path}/boxes.db")
    server: PostgresServer = request.getfixturevalue("postgres18")
    return Boxes(tmp_path, server.create_database(f"boxes_{uuid4().hex}"))


@pytest.mark.slow
def test_parked_rows_without_a_worker(boxes: Boxes) -> None:
    assert boxes.refold("parked", "list").out == "nothing is parked\n"
    assert boxes.refold("worker", "--once").code == 0
    listed = boxes.refold("parked", "list", "--json")
    assert listed.code == 1
    (row,) = listed.json
    assert (row["name"], row["key"], row["position"], row["attempts"]) == ("box", ["a"], 2, 5)
    status = boxes.refold("status", "--json")
    assert status.code == 1
    assert [each["parked"] for each in status.json["projections"]] == [1]
    shown = boxes.refold("parked", "show", "box", "a", "--json").json
    assert [each["position"] for each in shown["waiting"]] == [2, 3]
    assert shown["more"] is False
    assert "cannot take bad" in shown["error"]
    failed = boxes.refold("parked", "retry", "box", "a", "--actor", "ann")
    assert failed.code == 1
    assert "row a of box waits at position 2: ZeroDivisionError('cannot take bad')" in failed.out
    (boxes.folder / "mended").touch()
    done = boxes.refold("parked", "retry", "box", "a", "--actor", "ann", "--reason", "mended")
    assert (done.code, done.out) == (0, "row a of box goes on, after 2 events\n")
    assert boxes.things("a") == "['1', 'bad', '2']"
    assert boxes.refold("status").code == 0
    said = [(each["actor"], each["operation"], each["reason"]) for each in boxes.refold("operations", "--json").json]
    assert said == [
        ("ann", "parked retry: done", "mended"),
        ("ann", "parked retry: asked", "mended"),
        ("ann", "parked retry: failed", ""),
        ("ann", "parked retry: asked", ""),
    ]


def test_what_cannot_be_done_is_said(boxes: Boxes) -> None:
    assert boxes.refold("worker", "--once").code == 0
    absent = boxes.refold("parked", "retry", "box", "b")
    assert absent.code == 2
    assert 'box ["b"] is not parked; see `refold parked list`' in absent.err
    assert boxes.refold("parked", "skip", "box", "a").code == 2
    assert "for a reason" in boxes.refold("parked", "skip", "box", "a", "--reason", " ").err
    assert "has no read model" in boxes.refold("pause", "boxen").err
    earlier = boxes.refold("parked", "retry", "box__previous", "a")
    assert "`refold rollback box` puts the previous version back" in earlier.err
    assert boxes.refold("resume", "box").out == "box is neither paused nor stopped\n"


def test_what_is_written_by_hand_is_paused_too(boxes: Boxes) -> None:
    with (boxes.folder / "boxes.py").open("a") as file:
        file.write(
            "\n@app.projection('mailer', transaction=False)\n"
            "async def mail(page):\n"
            "    print('mailed', page.position)\n"
        )
    assert boxes.refold("pause", "mailer", "--reason", "no mails").out == "mailer is paused\n"
    stands = boxes.refold("worker", "--once")
    assert stands.code == 1
    assert "projection mailer is paused by" in stands.err
    assert "mailed" not in stands.out
    assert boxes.refold("resume", "mailer").out == "mailer goes on\n"
    assert "mailed 4" in boxes.refold("worker", "--once").out
    assert "is a projection written by hand" in boxes.refold("rebuild", "mailer").err


@pytest.mark.postgres
@pytest.mark.parametrize("boxes", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", ["retry", "release", "skip"])
def test_parked_rows_beside_a_worker(boxes: Boxes, kind: str) -> None:
    """The worker that owns the read model does it, and goes on."""
    with boxes.worker():
        owner = _owner(boxes)
        if kind != "skip":
            (boxes.folder / "mended").touch()
        done = boxes.refold("parked", kind, "box", "a", "--reason", "it was wrong")
        assert done.code == 0, done.err
        wanted = ["1", "2"] if kind == "skip" else ["1", "bad", "2"]
        assert boxes.things("a") == str(wanted)
        boxes.run(
            "with app.connect_sync(URL, projections=False) as c:\n"
            "    c.get(Box, 'a', after=c.append('box-a', [Put(what='4')]), timeout=30)"
        )
        assert boxes.things("a") == str([*wanted, "4"])
        assert _owner(boxes) == owner


def _owner(boxes: Boxes) -> str:
    (one,) = boxes.refold("status", "--json").json["projections"]
    assert one["owner"]
    return str(one["owner"])


@pytest.mark.postgres
@pytest.mark.parametrize("boxes", ["postgres"], indirect=True)
def test_pause_and_resume_beside_a_worker(boxes: Boxes) -> None:
    with boxes.worker():
        assert boxes.refold("pause", "box", "--reason", "we move", "--actor", "ann").out == "box is paused\n"
        assert boxes.refold("pause", "box").out == "box is paused already; see `refold status`\n"
        deadline = time.monotonic() + 60
        while boxes.refold("status", "--json").json["projections"][0]["owner"]:
            assert time.monotonic() < deadline, "the worker has not heard that it is to stand still"
        late = boxes.run(
            "from refold import StaleRead\n"
            "with app.connect_sync(URL, projections=False) as c:\n"
            "    try: c.get(Box, 'c', after=c.append('box-c', [Put(what='4')]), timeout=30)\n"
            "    except StaleRead as problem: print(problem)\n"
        )
        assert "paused by ann since" in late
        assert "we move; run `refold resume box`" in late
        shown: Any = boxes.refold("status", "--json").json["projections"][0]
        assert shown["state"] == "paused"
        assert "paused by ann" in shown["error"]
        assert boxes.refold("resume", "box").out == "box goes on\n"
        boxes.run("with app.connect_sync(URL, projections=False) as c: c.get(Box, 'c', after=5, timeout=30)")
        assert boxes.things("c") == "['4']"


@pytest.mark.slow
def test_what_operators_do_is_kept(boxes: Boxes) -> None:
    assert boxes.refold("operations").out == "nothing was done yet\n"
    (boxes.folder / "mended").touch()
    for arguments in (("rebuild", "box"), ("rollback", "box"), ("refold", "box", "a")):
        assert boxes.refold(*arguments, "--actor", "ann").code == 0
    kept = boxes.refold("operations", "--json").json
    assert [(each["actor"], each["operation"], each["target"]) for each in kept] == [
        ("ann", "refold", 'box ["a"]'),
        ("ann", "rollback", "box"),
        ("ann", "rebuild", "box"),
    ]


@pytest.mark.slow
def test_a_rebuild_is_tried_before_it_is_done(boxes: Boxes) -> None:
    """Which rows it changes, and by which event; then it is done, and shown again."""
    (boxes.folder / "mended").touch()
    assert boxes.refold("worker", "--once").code == 0
    same = boxes.refold("rebuild", "box", "--dry-run", "--diff")
    assert (same.code, same.out) == (0, "box at position 4: no row changes; 2 stay as they are\n")
    code = (boxes.folder / "boxes.py").read_text()
    (boxes.folder / "old_boxes.py").write_text(
        code.replace("class Put(Event):\n    what: str", "from boxes import Put")
    )
    changed = code.replace("self.things = [*self.things, event.what]", "self.things = [event.what, *self.things]")
    (boxes.folder / "boxes.py").write_text(changed)
    shown = boxes.refold("rebuild", "box", "--dry-run", "--diff")
    assert shown.code == 1
    assert shown.out == (
        "the definition changed: evolve Put changed\n"
        '~ a: things ["1","bad","2"] → ["2","bad","1"]\n'
        "    first event that can make the difference: Put at 1 (box-a); it is the first of the row's events whose "
        "evolve method is another than when the row was made\n"
        "box at position 4: 1 changed; 1 stay as they are\n"
    )
    exact = boxes.refold("rebuild", "box", "--dry-run", "--diff", "--was", "old_boxes:Box")
    assert "first event that makes the difference: Put at 2 (box-a); the code that made the row" in exact.out
    row, totals = map(json.loads, boxes.refold("rebuild", "box", "--dry-run", "--diff", "--json").out.splitlines())
    assert (row["key"], row["kind"], row["new"]) == (["a"], "changed", {"things": ["2", "bad", "1"]})
    assert (row["why"]["position"], row["why"]["exact"]) == (1, False)
    assert (totals["changed"], totals["same"], totals["definition"]) == (1, 1, "evolve Put changed")
    done = boxes.refold("rebuild", "box", "--diff", "--actor", "ann")
    assert done.code == 0
    assert shown.out in done.out
    assert "rebuilt box from 4 events" in done.out
    assert boxes.things("a") == "['2', 'bad', '1']"


def test_orders_to_a_rebuild_that_is_not_there(boxes: Boxes) -> None:
    refused = boxes.refold("rebuild", "box", "--pause")
    assert refused.code != 0
    assert "no rebuild of read model 'box' is there to be paused" in refused.err
    assert boxes.refold("rebuild", "box", "--resume").out == "no rebuild of box is paused\n"
    assert boxes.refold("rebuild", "box", "--cancel").out == "there is no rebuild of box\n"
    assert boxes.refold("rebuild", "box", "--dry-run", "--diff").code != 0
    assert "is no read model class" in boxes.refold("rebuild", "box", "--diff", "--was", "boxes:Put").err
