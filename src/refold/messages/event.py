"""Event and Command: what is said. Both are msgspec structs, so that one definition validates, stores and documents
itself.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, cast, dataclass_transform

import msgspec

from refold.errors import DefinitionError
from refold.messages.upcasting import Upcaster, check_upcasters

__all__ = ["Command", "Event", "event_tags"]


_NONE: Mapping[int, Upcaster] = MappingProxyType({})


class _MessageMeta(msgspec.StructMeta):
    """Takes the class arguments of Refold's own that `msgspec.StructMeta` would refuse."""

    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        name: str | None = None,
        version: int = 1,
        tags: tuple[str, ...] | str = (),
        upcasters: Mapping[int, Upcaster] = _NONE,
        **options: Any,
    ) -> type:
        namespace["__message_name__"] = name or cls_name
        namespace["__schema_version__"] = version
        namespace["__upcasters__"] = upcasters
        namespace["__tag_fields__"] = (tags,) if isinstance(tags, str) else tuple(tags)
        options.setdefault("frozen", True)
        options.setdefault("kw_only", True)
        cls = cast("type", super().__new__(mcls, cls_name, bases, namespace, **options))
        _check_definition(cls, name, version)
        return cls


def _check_definition(cls: Any, name: str | None, version: int) -> None:
    where = f"{cls.__module__}.{cls.__qualname__}"
    if name is not None and (not name or not name.isprintable() or len(name) > 200):
        raise DefinitionError(f"{where}: name={name!r} is not a name; use 1 to 200 printable characters")
    if type(version) is not int or not 1 <= version <= 32_767:
        raise DefinitionError(f"{where}: version={version!r} must be a whole number from 1 to 32767")
    check_upcasters(where, version, cls.__upcasters__)
    unknown = [field for field in cls.__tag_fields__ if field not in cls.__struct_fields__]
    if unknown:
        raise DefinitionError(
            f"{where}: tags={unknown!r} names no field of it; its fields are {list(cls.__struct_fields__)}"
        )


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Event(msgspec.Struct, metaclass=_MessageMeta, frozen=True):
    """Something that happened. Subclass it with typed fields; instances are immutable and take keyword arguments only.

    Class arguments: `name` is the name under which the log keeps it (the class name unless given; keep it when you
    rename the class), `version` its schema version, `tags` the fields whose values tag it as `"field:value"` for append
    conditions and filtered reads (a list or set: one tag for each of its values), `upcasters` for each older version a
    function of (payload) or (payload, stored) that gives the payload, a dict, as the next version has it. Raises
    `DefinitionError` at definition time when one of them cannot work, or one of the upcasters is missing.
    """

    __message_name__: ClassVar[str]
    __schema_version__: ClassVar[int]
    __tag_fields__: ClassVar[tuple[str, ...]]
    __upcasters__: ClassVar[Mapping[int, Upcaster]]

    if TYPE_CHECKING:

        def __init_subclass__(
            cls,
            *,
            name: str | None = None,
            version: int = 1,
            tags: tuple[str, ...] | str = (),
            upcasters: Mapping[int, Upcaster] = ...,
            **options: Any,
        ) -> None: ...


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Command(msgspec.Struct, metaclass=_MessageMeta, frozen=True, forbid_unknown_fields=True):
    """Something that somebody wants to happen. Subclass it with typed fields; it is validated before any aggregate sees
    it.
    """

    __message_name__: ClassVar[str]
    __schema_version__: ClassVar[int]
    __tag_fields__: ClassVar[tuple[str, ...]]
    __upcasters__: ClassVar[Mapping[int, Upcaster]]

    if TYPE_CHECKING:

        def __init_subclass__(cls, *, name: str | None = None, version: int = 1, **options: Any) -> None: ...


def event_tags(event: Event) -> tuple[str, ...]:
    """The tags of one event: `"field:value"` for each field that its class names in `tags=`, and one for each value of
    a list or set. A field that is None gives none, and a member of an enumeration is written as its value.
    """
    fields = type(event).__tag_fields__
    if not fields:
        return ()
    found: dict[str, None] = {}
    for field in fields:
        value = getattr(event, field)
        if isinstance(value, (list, tuple)):
            found.update(dict.fromkeys(f"{field}:{_in_tag(each)}" for each in value if each is not None))
        elif isinstance(value, (set, frozenset)):
            found.update(dict.fromkeys(sorted(f"{field}:{_in_tag(each)}" for each in value if each is not None)))
        elif value is not None:
            found[f"{field}:{_in_tag(value)}"] = None
    return tuple(found)


def _in_tag(value: Any) -> Any:
    # Whoever asks for a tag writes it by hand, and finds the value in the event's JSON; not the name of a class.
    return value.value if isinstance(value, enum.Enum) else value
