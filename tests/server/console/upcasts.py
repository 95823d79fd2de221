"""Three releases of one event: what the first wrote is in the log, the second serves, the third wrote something."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from refold import App, Event


def in_units(payload: dict[str, Any]) -> dict[str, Any]:
    return {"amount": str(Decimal(payload["cents"]) / 100)}


class Paid(Event, version=2, upcasters={1: in_units}):
    amount: Decimal


class PaidInCents(Event, name="Paid"):
    cents: int


class PaidAbroad(Event, name="Paid", version=3):
    amount: Decimal
    currency: str


app = App("pays", events=[Paid])


def write_others(url: str) -> None:
    """What the release before wrote (position 1), and the one to come (position 2)."""
    with App("pays", events=[PaidInCents]).connect_sync(url) as first:
        first.append("account-1", [PaidInCents(cents=1250)])
    with App("pays", events=[PaidAbroad]).connect_sync(url) as later:
        later.append("account-1", [PaidAbroad(amount=Decimal(3), currency="CHF")])
