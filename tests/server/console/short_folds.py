"""The bank and its shop, on a server that folds a few events of a row for each answer: a row as it was in a log of some
hundred takes as many answers as one in a log of millions. Only a server of the tests may import this.
"""

from __future__ import annotations

from refold.projections.parking import waiting
from refold.server.api import read_models
from refold.server.operation import Call
from tests.server.console.domain import app
from tests.server.console.looks import LOOK

__all__ = ["app"]


def _at_once(call: Call, otherwise: float = 5.0) -> float:
    return 0.0


vars(waiting).update(_PAGE=LOOK)
vars(read_models).update(wait_of=_at_once)
