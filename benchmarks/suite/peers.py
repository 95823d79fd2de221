"""The peers as the tables name them, and what a reader must know about each."""

from benchmarks.plan import REFOLD, Contender

REFOLD_CONTENDER = Contender(REFOLD, "Refold")
PGBENCH = Contender(
    "pgbench",
    "pgbench",
    "a C program; single-row INSERT of the same bytes into a table with one index: no version check, no order",
)
BY_HAND = Contender(
    "handwritten",
    "asyncpg by hand",
    "unique (stream, version); positions from a sequence, so that a reader of its log can miss events",
)
EVENTSOURCING = Contender(
    "eventsourcing",
    "eventsourcing 9.5.6",
    "default mode; its faster mode with database functions loses events under concurrent writers and is not shown",
)
EVENTSOURCE = Contender(
    "eventsource", "eventsource-py 0.15", "its global feed can miss events under concurrent writers"
)

PEER_LIBRARIES = (EVENTSOURCING, EVENTSOURCE)
