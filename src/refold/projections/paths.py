"""Names of fields in conditions and orders: `balance`, and in rows that are documents `address.city` too."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from refold.errors import InvalidQuery
from refold.folds.read_model import ReadModelDefinition
from refold.projections.columns import Kind, kind_of

__all__ = ["Path", "compared_names", "path_of", "value_at"]


class Path(msgspec.Struct, frozen=True):
    """A field, or what is inside of one: its type, its kind, and the names that lead to it in JSON."""

    type: Any
    kind: Kind
    names: tuple[str, ...]


def path_of(definition: ReadModelDefinition, name: str) -> Path:
    """What a name means. Raises `InvalidQuery` for a field that is not there."""
    steps = str(name).split(".")
    if len(steps) > 1 and not definition.documents:
        raise InvalidQuery(
            f"{definition.cls.__qualname__} has no field {name!r}; only rows kept as documents (documents=True) can be "
            "asked for what is inside of a field"
        )
    annotation: Any = definition.cls
    names: list[str] = []
    for step in steps:
        encoded, annotation = _step(definition, annotation, step, name)
        names.append(encoded)
    return Path(annotation, kind_of(annotation), tuple(names))


def compared_names(definition: ReadModelDefinition) -> list[str]:
    """The fields that can be compared and sorted by; of documents what is inside of structs too."""
    found: list[str] = []

    def add(annotation: Any, before: str, within: tuple[Any, ...]) -> None:
        for each in msgspec.structs.fields(annotation):
            name, inside = f"{before}{each.name}", _without_none(each.type)
            if kind_of(each.type) not in (Kind.JSON, Kind.BYTES):
                found.append(name)
            # What contains itself has no end.
            elif definition.documents and _is_struct(inside) and inside not in within:
                add(inside, f"{name}.", (*within, inside))

    add(definition.cls, "", (definition.cls,))
    return found


def value_at(row: Any, name: str) -> Any:
    """The value that a row has there; None where one on the way is missing."""
    if "." not in name:
        return getattr(row, name)
    value = row
    for step in name.split("."):
        if value is None:
            return None
        value = value.get(step) if isinstance(value, Mapping) else getattr(value, step)
    return value


def _step(definition: ReadModelDefinition, annotation: Any, step: str, whole: str) -> tuple[str, Any]:
    inside = _without_none(annotation)
    where = definition.cls.__qualname__
    if _is_struct(inside):
        found = next((each for each in msgspec.structs.fields(inside) if each.name == step), None)
        if found is not None:
            return found.encode_name, found.type
        whose = "it" if inside is definition.cls else inside.__qualname__
        raise InvalidQuery(f"{where} has no field {whole!r}; {whose} has {', '.join(inside.__struct_fields__)}")
    arguments = typing.get_args(inside)
    if typing.get_origin(inside) is dict and arguments[0] is str:
        # SQLite's paths know no way to write it.
        if not step or '"' in step:
            raise InvalidQuery(f"{where}.{whole} cannot be asked for: {step!r} is no key that a condition can name")
        return step, arguments[1]
    raise InvalidQuery(f"{where} has no field {whole!r}: only structs and dicts of texts have fields inside")


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _without_none(annotation: Any) -> Any:
    if isinstance(annotation, typing.NewType):
        return _without_none(annotation.__supertype__)
    if typing.get_origin(annotation) is typing.Annotated:
        return _without_none(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        return _without_none(parts[0]) if len(parts) == 1 else annotation
    return annotation
