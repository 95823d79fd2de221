"""The testing kit: a domain is tested without a database, by what was given, what is done, and what follows.

The hypothesis strategies are in `refold.testing.strategies`, which needs `pip install "refold[testing]"`.
"""

from refold.testing.memory import MemoryStore
from refold.testing.past import on
from refold.testing.scenario import Decision, Given, Scenario
from refold.testing.upcasting import upcast

__all__ = ["Decision", "Given", "MemoryStore", "Scenario", "on", "upcast"]
