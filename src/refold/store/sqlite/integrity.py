"""Looking for what is wrong inside the file: damage, missing guards, an index of tags that does not fit."""

from __future__ import annotations

import sqlite3

from refold.store.integrity import Flaw, Flaws

__all__ = ["flaws_of", "missing_guards"]

_GUARDS = {
    "events_are_not_updated": "events could be updated",
    "events_are_not_deleted": "events could be deleted",
    "events_are_only_appended": "events could be inserted anywhere, or replaced",
    "event_tags_are_not_updated": "tags could be updated",
    "event_tags_are_not_deleted": "tags could be deleted",
    "refold_operations_are_not_updated": "the log of operations could be changed",
    "refold_operations_are_not_deleted": "the log of operations could be changed",
    "refold_operations_are_only_appended": "the log of operations could be changed",
}
_NOT_INDEXED = """
select e.position, j.value from events e, json_each(e.tags) j
where e.tags is not null and not exists (select 1 from event_tags t where t.tag = j.value and t.position = e.position)
limit 20"""
_NOT_CARRIED = """
select t.position, t.tag from event_tags t
where not exists (
    select 1 from events e, json_each(e.tags) j where e.position = t.position and j.value = t.tag
)
limit 20"""


def missing_guards(connection: sqlite3.Connection) -> list[str]:
    """The triggers against changes that are gone."""
    there = {name for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'")}
    return [name for name in _GUARDS if name not in there]


def flaws_of(connection: sqlite3.Connection) -> Flaws:
    """What is wrong inside the file; the first of each kind."""
    answers = [text for (text,) in connection.execute("pragma integrity_check(20)").fetchall()]
    damage = [Flaw("the file", text) for text in answers if text != "ok"]
    if damage:
        # What a damaged file answers to anything else is not to be believed.
        return {"file": damage}
    guards = [Flaw(f"trigger {name}", f"it is gone: {_GUARDS[name]}") for name in missing_guards(connection)]
    tags = [
        Flaw(f"position {position}", f"its tag {tag!r} is not in the index of tags")
        for position, tag in connection.execute(_NOT_INDEXED)
    ]
    tags += [
        Flaw(f"position {position}", f"the index of tags has {tag!r} for it, which it does not carry")
        for position, tag in connection.execute(_NOT_CARRIED)
    ]
    return {"file": [], "guards": guards, "tags": tags}
