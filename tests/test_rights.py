"""The role of the application may read and append, and nothing else; its rights are those that the page grants."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from refold.store.postgres import examine_postgres
from tests.domain import Account, AccountSummary, DepositMoney, OpenAccount, bank
from tests.servers import PostgresServer
from tests.store.postgres.events import run_sql

pytestmark = pytest.mark.postgres

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "postgres-rights.md"


def grants_of_the_page() -> list[str]:
    block = re.search(r"```sql.*?\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    return [statement.strip() for statement in block[1].split(";") if statement.strip()]


async def test_an_application_with_the_rights_of_the_page(postgres_server: PostgresServer, fresh_database: str):
    async with bank.connect(fresh_database) as owner:
        await owner.execute(OpenAccount(account_id="1", owner="bob"))
        run_sql(
            fresh_database,
            "drop role if exists shop_app",
            "create role shop_app login password 'shop_app'",
            *grants_of_the_page(),
        )
        url = fresh_database.replace(f"postgres:{postgres_server.password}", "shop_app:shop_app")
        async with bank.connect(url, projections=False) as application:
            await application.execute(OpenAccount(account_id="42", owner="alice"))
            receipt = await application.execute(DepositMoney(account_id="42", amount=Decimal(5)))
            row = await application.get(AccountSummary, "42", after=receipt, timeout=20)
            assert row is not None
            assert row.balance == 5
            assert (await application.load(Account, "42")).balance == 5
        for forbidden in ("update refold.events set type = 'x'", "delete from account_summary"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                run_sql(url, forbidden)
        checks = {check.name: check for check in await examine_postgres(url)}
        assert checks["rights"].health == "ok", checks["rights"]
