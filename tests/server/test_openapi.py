"""The document of the API is true: whatever it allows is answered as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from refold.server import Server
from refold.server.openapi import openapi_of
from refold.server.problems import KINDS
from tests.server.domain import app
from tests.server.process import ServerProcess

_CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a little in it."""
    folder = tmp_path_factory.mktemp("served")
    with ServerProcess(f"sqlite:///{folder}/bank.db", folder) as process:
        with httpx.Client(base_url=process.url, timeout=30) as api:
            for number in range(12):
                body = {"account_id": str(number), "owner": "a"}
                api.post("/commands/OpenAccount", json=body).raise_for_status()
                body = {"account_id": str(number), "amount": "5"}
                api.post("/commands/DepositMoney", json=body).raise_for_status()
        yield process


DOCUMENT = msgspec.json.decode(
    msgspec.json.encode(openapi_of("bank", "1", Server(app, "sqlite:///:memory:").operations, asks=False), enc_hook=str)
)
# The stream never ends; it has tests of its own.
OPERATIONS = [
    found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT).exclude(path="/events/live").get_all_operations()
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_asked_is_answered_as_the_document_says(
    served: ServerProcess, operation: Any, mode: GenerationMode
) -> None:
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        return  # there is nothing to be wrong in

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def every(case: Any) -> None:
        case.call_and_validate(base_url=served.url, checks=_CHECKS)

    every()


async def test_every_route_is_in_the_document_and_nothing_else(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    operations = Server(app, "sqlite:///:memory:").operations

    there = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert there == {(operation.path, operation.method) for operation in operations}
    names = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
    assert len(names) == len(set(names))


def test_every_kind_of_problem_that_is_documented_is_known() -> None:
    for operation in Server(app, "sqlite:///:memory:").operations:
        assert set(operation.problems) <= set(KINDS), operation.name
