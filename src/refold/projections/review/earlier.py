"""The definition by which rows can be read that another one wrote: its class is gone, a hash of each part is kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from refold.errors import ConfigurationError, ProjectionStopped
from refold.folds.read_model import ReadModel, ReadModelDefinition
from refold.projections.checkpoint import Checkpoint
from refold.projections.columns import Kind, column_kinds
from refold.projections.definitions import changes_between
from refold.projections.sink import Sink

__all__ = ["Earlier", "earlier_rows"]

_FIELD, _EVOLVE = "field ", "evolve "


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows that are read now can be read, and what is known of the code that made them.

    `compared` are the fields that both versions have; `doubtful` those of them that may have had another type then.
    `evolves` are the events that the two fold differently, by their names, None when that is not known; `code` is the
    class that made the rows, where it is at hand.
    """

    definition: ReadModelDefinition
    compared: tuple[str, ...]
    doubtful: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    not_comparable: tuple[str, ...] = ()
    evolves: frozenset[str] | None = frozenset()
    code: ReadModelDefinition | None = None
    said: str = ""

    def without_doubtful(self, definition: ReadModelDefinition) -> Earlier:
        """The same without the fields that may have had another type."""
        kept = tuple(name for name in self.compared if name not in self.doubtful)
        return msgspec.structs.replace(
            self,
            definition=_only(definition, self.definition, kept),
            compared=kept,
            doubtful=(),
            not_comparable=self.doubtful,
        )


async def earlier_rows(
    sink: Sink, definition: ReadModelDefinition, read: Checkpoint, was: ReadModelDefinition | None
) -> Earlier:
    """How the rows of checkpoint `read` can be read. `was` is the class that made them, where a caller has it.

    Raises `ConfigurationError` when `was` did not make them, `ProjectionStopped` when they cannot be compared.
    """
    fields = tuple(definition.cls.__struct_fields__)
    if was is not None and was.fingerprint != read.fingerprint:
        raise ConfigurationError(
            f"the rows of {definition.name!r} were not made by {was.cls.__module__}.{was.cls.__qualname__} as it is "
            "now; give the class as it was in the release that made them"
        )
    if read.fingerprint == definition.fingerprint:
        return Earlier(definition=definition, compared=fields, code=was)
    known = {each.fingerprint: each.parts for each in await sink.definitions(definition.name)}
    parts: Mapping[str, str] = was.parts if was is not None else known.get(read.fingerprint, {})
    said = changes_between(parts, definition.parts)
    if not parts:
        raise ProjectionStopped(
            f"the rows of {definition.name!r} were made by a definition of which nothing is kept, so they cannot be "
            "compared; name the class that made them (`--was MODULE:CLASS`), or rebuild without a comparison"
        )
    if any(_differs(parts, definition.parts, part) for part in ("key", *(_FIELD + name for name in definition.key))):
        raise ProjectionStopped(
            f"the key of {definition.name!r} is another one by now, so none of its rows can be compared with the new "
            f"ones; rebuild it without a comparison ({said})"
        )
    then = [part.removeprefix(_FIELD) for part in parts if part.startswith(_FIELD)]
    shared = tuple(name for name in fields if name in then)
    doubtful = [name for name in shared if parts[_FIELD + name] != definition.parts[_FIELD + name]]
    if _differs(parts, definition.parts, "nested types"):
        doubtful += [name for name in shared if column_kinds(definition)[name][0] is Kind.JSON]
    before = msgspec.structs.replace(definition, fingerprint=read.fingerprint, documents="documents" in parts)
    return Earlier(
        definition=was or _only(definition, before, shared),
        compared=shared,
        doubtful=() if was is not None else tuple(dict.fromkeys(doubtful)),
        new=tuple(name for name in fields if name not in then),
        gone=tuple(name for name in then if name not in fields),
        evolves=frozenset(
            part.removeprefix(_EVOLVE)
            for part in {*parts, *definition.parts}
            if part.startswith(_EVOLVE) and _differs(parts, definition.parts, part)
        ),
        code=was,
        said=said,
    )


def _differs(before: Mapping[str, str], now: Mapping[str, str], part: str) -> bool:
    return before.get(part) != now.get(part)


def _only(definition: ReadModelDefinition, before: ReadModelDefinition, names: tuple[str, ...]) -> ReadModelDefinition:
    if names == tuple(definition.cls.__struct_fields__):
        return before
    return msgspec.structs.replace(before, cls=_narrowed(definition.cls, names))


@functools.lru_cache(maxsize=100)
def _narrowed(cls: type[ReadModel], names: tuple[str, ...]) -> type[ReadModel]:
    """A class that has these fields of a row, and nothing else: what sinks read rows into."""
    encoded = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
    # As every sink writes all fields, none is ever missing.
    fields: list[tuple[str, Any, Any]] = [
        (each.name, each.type, msgspec.field(name=encoded[each.name]))
        for each in msgspec.structs.fields(cls)
        if each.name in names
    ]
    return cast("type[ReadModel]", msgspec.defstruct(cls.__name__, fields, kw_only=True))
