"""Rows that are documents over HTTP: asked for and sorted by what is nested, with and without the client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from refold import App, Event, ReadModel, evolve, field
from refold.client import Client
from refold.errors import InvalidQuery
from refold.server import Server
from tests.server.conftest import LOOPBACK, calling


class Place(msgspec.Struct):
    city: str
    within: Place | None = None
    code: int | None = None


class Moved(Event, name="ServerDocumentMoved"):
    place: Place | None


class Person(ReadModel, key="person_id", documents=True):
    person_id: str
    place: Place | None = None

    @evolve
    def moved(self, event: Moved) -> None:
        self.place = event.place


people = App("people", read_models=[Person])
ROWS = "/read-models/person/rows"


@pytest.fixture
async def crowd() -> AsyncIterator[Server]:
    """Eleven people in three cities; three have no place, and so no code."""
    async with Server(people, "sqlite:///:memory:") as server:
        context = await server.context()
        for number in range(11):
            place = None if number % 4 == 3 else Place("ABC"[number % 3], code=number % 5 or None)
            await context.append(f"person-{number:02}", [Moved(place=place)])
        await context.count(Person, after=11)
        yield server


async def test_asked_for_what_is_nested(crowd: Server) -> None:
    async with calling(crowd) as api:
        (described,) = (await api.get("/read-models")).json()["read_models"]
        assert described["compared"] == ["person_id", "place.city", "place.code"]

        async def ids(**parameters: str | int) -> list[str]:
            answer = await api.get(ROWS, params=parameters)
            assert answer.status_code == 200, answer.text
            return [row["person_id"] for row in answer.json()["rows"]]

        assert await ids(**{"where.place.city": "B"}) == ["01", "04", "10"]
        assert await ids(**{"where.place.code.ge": 3}) == ["04", "08", "09"]
        assert await ids(**{"where.place.city.is_none": "true"}) == ["03", "07"]
        assert (await api.get(ROWS, params={"where.place.town": "B"})).status_code == 422


@pytest.mark.parametrize("order", ["place.code", "-place.code", "-place.city"])
async def test_paged_by_what_is_nested(crowd: Server, order: str) -> None:
    """Each row once, in the order of the whole, missing values last."""
    async with calling(crowd) as api:
        whole = (await api.get(ROWS, params={"order_by": order, "limit": 100})).json()["rows"]
        paged: list[object] = []
        cursor: str | None = ""
        while cursor is not None:
            query: dict[str, str | int] = {"order_by": order, "limit": 2, **({"cursor": cursor} if cursor else {})}
            answer = await api.get(ROWS, params=query)
            assert answer.status_code == 200, answer.text
            paged += answer.json()["rows"]
            cursor = answer.json()["next"]
        assert paged == whole
        assert len(whole) == 11


async def test_the_client_asks_alike(crowd: Server) -> None:
    transport = httpx.ASGITransport(app=crowd, client=LOOPBACK)
    async with Client(people, "http://127.0.0.1", transport=transport) as client:
        context = await crowd.context()
        condition = field("place.city") == "B"
        assert await client.find(Person, condition) == await context.find(Person, condition)
        assert await client.count(Person, field("place.code").is_none()) == 5
        with pytest.raises(InvalidQuery):
            await client.find(Person, field("place.town") == "B")
