"""What hangs in a living process is given up by it: another takes it over, or it begins anew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from refold.app import App, Context
from refold.projections.handwritten import ProjectionPage
from refold.store.event_store import EventStore
from tests.projections.stores import Added, place, until
from tests.projections.test_roster import LEASE, MODELS, app

PATIENCE = 0.6


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str | EventStore:
    return place(request.param, request, tmp_path)


def _hang(context: Context, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the projection of this context writes in this term never comes back, though its event loop turns."""
    projection = context.projections.local(name)
    assert projection is not None
    term, sink = projection.epoch, context.projections.sink
    write = sink.write

    async def hang(definition: Any, table: str, rows: Any, deleted: Any, move: Any) -> bool:
        if (table, move.epoch) == (name, term):
            await asyncio.Event().wait()
        return await write(definition, table, rows, deleted, move)

    monkeypatch.setattr(sink, "write", hang)


async def _owners(context: Context) -> dict[str, str]:
    return {each.name: each.owner for each in await context.projections.checkpoints()}


async def _owned(context: Context, name: str) -> bool:
    return bool((await _owners(context))[name])


async def test_another_process_takes_it_over(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        app.connect(shared, lease=LEASE, patience=PATIENCE) as first,
        app.connect(shared, lease=LEASE, patience=PATIENCE) as second,
    ):

        async def three_each() -> Any:
            owners = list((await _owners(first)).values())
            return [owners.count(each.projections.owner) for each in (first, second)] == [3, 3]

        await until(three_each, "three read models each")
        mine = sorted(name for name, owner in (await _owners(first)).items() if owner == first.projections.owner)
        victim = next(model for model in MODELS if model.__read_model__.name == mine[0])
        _hang(first, mine[0], monkeypatch)
        last = (await first.append("stock-a", [Added(count=1)])).last
        row: Any = await second.get(victim, "a", after=last, timeout=20)
        assert row.count == 1
        owners = await _owners(first)
        assert owners[mine[0]] == second.projections.owner
        # What does not hang stays where it was.
        assert {owners[name] for name in mine[1:]} == {first.projections.owner}


async def test_alone_it_begins_anew(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with app.connect(shared, lease=LEASE, patience=PATIENCE) as alone:
        await until(lambda: _owned(alone, "model_0"), "it to be owned")
        _hang(alone, "model_0", monkeypatch)
        last = (await alone.append("stock-a", [Added(count=1)])).last
        row: Any = await alone.get(MODELS[0], "a", after=last, timeout=20)
        assert row.count == 1


async def test_a_hand_written_one(shared: Any) -> None:
    other = App("other", events=[Added])
    pages: list[int] = []

    @other.projection("pages")
    async def _(page: ProjectionPage) -> None:
        pages.append(page.position)
        if len(pages) == 1:
            await asyncio.Event().wait()

    async with other.connect(shared, lease=LEASE, patience=PATIENCE) as alone:
        last = (await alone.append("stock-a", [Added(count=1)])).last
        await alone.projections.reached("pages", last, 20)
        assert pages == [last, last]
