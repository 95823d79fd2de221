"""The bank, on a server that looks through a few events of the log for each answer: a search of a log of some hundred
takes as many answers as one of millions. Only a server of the tests may import this: whoever does has such searches.
"""

from __future__ import annotations

from refold.operations import log_search
from tests.server.console.domain import app
from tests.server.console.looks import LOOK

__all__ = ["app"]

vars(log_search).update(_PAGE=LOOK, _SECONDS=0.0)
