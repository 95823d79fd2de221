"""Upcasters: how what an older version of an event class wrote becomes what today's class reads. The log keeps its
bytes; only what is read changes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from refold.errors import DecodeError, DefinitionError

if TYPE_CHECKING:
    from refold.messages.recorded import StoredEvent

__all__ = ["Upcaster", "Upcasts", "check_upcasters"]

Upcaster = Callable[..., dict[str, Any]]
"""A function of (payload) or (payload, stored) that gives the payload as the next version has it. `payload` is the JSON
object that was stored (decimals and moments are text in it), a copy of its own, which may be changed and given back.
"""


def check_upcasters(where: str, version: object, upcasters: Mapping[int, Upcaster]) -> None:
    """Raises `DefinitionError` unless there is one for each version before `version`: a gap would only be met by the
    first old event, in production.
    """
    if not isinstance(upcasters, Mapping):
        raise DefinitionError(f"{where}: upcasters={upcasters!r} must map versions to functions: {{1: function}}")
    if not upcasters:
        return
    assert isinstance(version, int)
    strange = [each for each in upcasters if type(each) is not int or not 1 <= each < version]
    if strange:
        raise DefinitionError(
            f"{where}: there is an upcaster from version {strange[0]!r}, and the class has version={version}: "
            f"each is from an older version to the next; raise version= when the newest one is added"
        )
    missing = [each for each in range(1, version) if each not in upcasters]
    if missing:
        raise DefinitionError(
            f"{where}: version={version}, and there is no upcaster from version {missing[0]}; where nothing has to be "
            "changed, let it give the payload back as it is"
        )
    for before, function in upcasters.items():
        _check_parameters(where, before, function)


def _check_parameters(where: str, before: int, function: Any) -> None:
    if not callable(function) or _parameters_of(function) not in (1, 2):
        raise DefinitionError(
            f"{where}: the upcaster from version {before}, {function!r}, must be a function of (payload) or "
            "(payload, stored)"
        )
    if inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{where}: the upcaster from version {before} is async; it may only use what it is given, as a fold does"
        )


class Upcasts:
    """The upcasters of one event class, one after the other."""

    def __init__(self, upcasters: Mapping[int, Upcaster]) -> None:
        self._steps = [(upcasters[before], _parameters_of(upcasters[before]) == 2) for before in sorted(upcasters)]

    def payload_of(self, stored: StoredEvent) -> dict[str, Any]:
        """What it would say, had today's class written it. Raises `DecodeError`, naming the step that failed."""
        try:
            payload: Any = msgspec.json.decode(stored.payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise DecodeError(f"{_named(stored)} is not JSON: {problem}") from problem
        written = stored.schema_version
        for before, (function, takes_stored) in enumerate(self._steps[written - 1 :], written):
            try:
                payload = function(payload, stored) if takes_stored else function(payload)
            except Exception as problem:
                raise DecodeError(f"{_step(stored, before, function)} cannot convert it: {problem!r}") from problem
            if not isinstance(payload, dict):
                raise DecodeError(f"{_step(stored, before, function)} gave {payload!r}, and not the payload, a dict")
        return cast("dict[str, Any]", payload)


def _named(stored: StoredEvent) -> str:
    return (
        f"event {stored.type!r} at position {stored.position} (stream {stored.stream!r}, "
        f"written as version {stored.schema_version})"
    )


def _step(stored: StoredEvent, before: int, function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{_named(stored)}: its upcaster from version {before}, {name},"


def _parameters_of(function: Callable[..., Any]) -> int:
    """How many values it must be given; what has a default keeps it. 0 when it cannot be called by values alone."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # something of C without a signature
        return 1
    needed = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if any(each.kind is each.KEYWORD_ONLY for each in needed):
        return 0
    takes = sum(each.kind is not each.VAR_POSITIONAL for each in needed)
    return takes or int(any(each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD) for each in parameters))
