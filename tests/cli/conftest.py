"""A bank's project, on each store, with a few accounts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.project import Project
from tests.domain import CloseAccount, DepositMoney, OpenAccount, WithdrawMoney, bank
from tests.servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """The folder of a project whose store is empty."""
    if request.param == "sqlite":
        yield Project(tmp_path, "sqlite:///bank.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres18")
    name = f"cli_{next(_numbers)}"
    yield Project(tmp_path, server.create_database(name))
    server.drop_database(name)


@pytest.fixture
async def accounts(project: Project) -> Project:
    """Account 42 of alice (opened, 100 and 50 deposited, 30 withdrawn), and account 43 of bob, which is closed."""
    async with bank.connect(project.absolute_url) as context:
        await context.execute(OpenAccount(account_id="42", owner="alice"), actor="alice")
        yesterday = datetime(2026, 1, 15, 12, tzinfo=UTC)
        await context.execute(DepositMoney(account_id="42", amount=Decimal(100)), occurred_at=yesterday)
        await context.execute(DepositMoney(account_id="42", amount=Decimal(50)), actor="bob")
        await context.execute(WithdrawMoney(account_id="42", amount=Decimal(30)), actor="alice")
        await context.execute(OpenAccount(account_id="43", owner="bob"), actor="bob")
        receipt = await context.execute(CloseAccount(account_id="43"), actor="bob")
        for read_model in bank.read_models:
            await context.count(read_model, after=receipt)
    return project
