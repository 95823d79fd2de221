"""The read model: a Postgres table of balances, written as the library's documentation shows, one transaction for
each event.
"""

from decimal import Decimal
from typing import Any

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL

from benchmarks.contenders.eventsourcing.bank import Account, Bank, settings

UPSERT = """
INSERT INTO balances (account_id, balance) VALUES (%s, %s)
ON CONFLICT (account_id) DO UPDATE SET balance = balances.balance + excluded.balance
"""


class BalanceView(PostgresTrackingRecorder):
    """The table and the statement that changes it, with the tracking record in the same transaction."""

    def __init__(self, datastore: Any, **options: Any) -> None:
        super().__init__(datastore, **options)
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS balances (account_id uuid PRIMARY KEY, balance numeric NOT NULL)")
        )

    def add(self, account: Any, amount: Decimal, tracking: Tracking) -> None:
        """Change one balance."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(UPSERT, (account, amount), prepare=True)


class Balances(Projection[BalanceView]):
    """Events to changes."""

    name = "balances"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Events that this view does not know only move the tracking record."""
        self.view.insert_tracking(tracking)

    @process_event.register
    def _(self, domain_event: Account.Opened, tracking: Tracking) -> None:
        self.view.add(domain_event.originator_id, Decimal(0), tracking)

    @process_event.register
    def _(self, domain_event: Account.MoneyDeposited, tracking: Tracking) -> None:
        self.view.add(domain_event.originator_id, domain_event.amount, tracking)


def run(url: str) -> Any:
    """The running projection; use it in a `with`."""
    return ProjectionRunner(
        application_class=Bank, projection_class=Balances, view_class=BalanceView, env=settings(url, connections=4)
    )
