"""The JSON that is written by hand: the same fields that the other contenders store."""

import json
import uuid
from decimal import Decimal

from benchmarks import workload


def opened() -> str:
    """The payload of an account's first event."""
    return json.dumps({"owner": workload.OWNER}, ensure_ascii=False)


def deposited(amount: Decimal, number: int) -> str:
    """The payload of a deposit."""
    return json.dumps(
        {
            "amount": str(amount),
            "currency": workload.CURRENCY,
            "reference": workload.reference(number),
            "counterparty": workload.COUNTERPARTY,
            "text": workload.TEXT,
        },
        ensure_ascii=False,
    )


def metadata() -> str:
    """The metadata of one event."""
    return json.dumps(
        {
            "actor": workload.ACTOR,
            "correlation_id": str(uuid.uuid4()),
            "causation_id": str(uuid.uuid4()),
            "command": workload.COMMAND,
        }
    )
