"""The doctor: whether store, settings and app are as they should be, and what to do where they are not."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping

from refold.app import App
from refold.app.stores import examine, open_store, sink_of
from refold.errors import DefinitionError, RefoldError
from refold.folds.read_model import ReadModelDefinition
from refold.operations.status import ProjectionStatus, status_of
from refold.projections.columns import column_kinds
from refold.projections.routed import RoutedSink
from refold.projections.sink import Sink
from refold.store.group_commit import Limits
from refold.store.health import Check

__all__ = ["doctor"]


async def doctor(
    url: str, app: App | None, *, listen_url: str | None = None, sinks: Mapping[str, str] | None = None
) -> list[Check]:
    """Looks at everything, changes nothing. What cannot be reached is a check that failed; nothing is raised for it.

    Raises `ConfigurationError` for a URL that names no store, `MissingExtra`.
    """
    checks = [Check("python", "ok", f"{platform.python_version()} on {sys.platform}")]
    if app is not None:
        checks += _app_checks(app)
    examined = await examine(url, listen_url=listen_url)
    checks += examined
    try:
        checks += await _projection_checks(url, app, listen_url, sinks)
    except RefoldError as problem:
        # What is wrong with the store itself was said already, in better words.
        if all(check.health != "error" for check in examined):
            checks.append(Check("open", "error", str(problem), "see what it says"))
    return checks


def _app_checks(app: App) -> list[Check]:
    parts = ((len(app.aggregates), "aggregate"), (len(app.read_models), "read model"), (len(list(app.types)), "event"))
    counts = ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in parts)
    found = [Check("app", "ok", f"{app.name}: {counts}")]
    found += [_columns(definition) for definition in app.read_models.values()]
    return found


def _columns(definition: ReadModelDefinition) -> Check:
    name = f"table {definition.name}"
    try:
        kinds = column_kinds(definition)
    except DefinitionError as problem:
        return Check(name, "error", str(problem), "change the class")
    return Check(name, "ok", ", ".join(f"{column} {kind.value}" for column, (kind, _) in kinds.items()))


async def _projection_checks(
    url: str, app: App | None, listen_url: str | None, sinks: Mapping[str, str] | None
) -> list[Check]:
    store = await open_store(url, limits=Limits(), listen_url=listen_url, read_only=True)
    try:
        async with sink_of(store, sinks) as sink:
            found = [await _sink_check(sink, name) for name in sinks or {}]
            status = await status_of(store, sink, app)
    finally:
        await store.close()
    return found + [_projection(each) for each in status.projections]


async def _sink_check(sink: Sink, name: str) -> Check:
    external = sink.external(name) if isinstance(sink, RoutedSink) else None
    if external is None:
        return Check(f"sink {name}", "error", "it is not set up", "see `sinks` in refold.toml")
    try:
        await external.examine()
    except RefoldError as problem:
        return Check(f"sink {name}", "error", str(problem), "see what it says; the projection goes on by itself then")
    return Check(f"sink {name}", "ok", external.place)


def _projection(each: ProjectionStatus) -> Check:
    name = f"projection {each.name}"
    where = f"{each.state} at position {each.position:,}, {each.lag:,} behind"
    if each.wrong:
        return Check(name, "error", where, each.error or "run `refold status`")
    if each.state == "no worker" and each.lag:
        return Check(name, "warning", where, "start the application, or `refold worker`: nobody moves it")
    if each.state == "abandoned":
        return Check(name, "warning", where, each.error)
    return Check(name, "ok", where)
