"""The OpenAPI document (3.1), made from the operations and the classes that they name."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from refold.server.operation import JSON, Operation, Said
from refold.server.problems import CONTENT_TYPE, KINDS, ProblemDetails
from refold.server.security.identity import Access

__all__ = ["openapi_of"]

_REF = "#/components/schemas/{name}"
_ALWAYS = ("malformed", "unauthenticated", "forbidden", "too-many", "failed", "unavailable", "timeout")
_WITH_BODY = ("too-large", "unsupported-media-type", "invalid")


def openapi_of(
    title: str, version: str, operations: Sequence[Operation], *, asks: bool, root: str = ""
) -> dict[str, Any]:
    """The document of these operations. `asks`: callers have to say who they are. `root`: the path below which they
    are mounted.
    """
    types = _types_of(operations)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    # A type need not be hashable (list[int]), so they are found by where they stand.
    known = list(zip(types, schemas, strict=True))
    seen: set[str] = set()
    for operation in operations:
        if operation.body is not None:
            _allow_numbers(_schema(known, operation.body), components, seen)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, known, asks)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or a token of the configured issuer.",
                }
            },
        },
        "tags": [{"name": name} for name in dict.fromkeys(operation.group for operation in operations)],
    }


def _types_of(operations: Iterable[Operation]) -> list[Any]:
    found: list[Any] = [ProblemDetails, str]
    for operation in operations:
        found += [said.type for said in operation.answers.values() if said.type is not None]
        found += [*operation.path_types.values()]
        if operation.body is not None:
            found.append(operation.body)
        if operation.query is not None:
            found += [_without_unset(each.type) for each in msgspec.structs.fields(operation.query)]
    unique: list[Any] = []
    for each in found:
        if not any(each is other or each == other for other in unique):
            unique.append(each)
    return unique


def _without_unset(annotation: Any) -> Any:
    parts = [part for part in typing.get_args(annotation) if part is not msgspec.UnsetType]
    if msgspec.UnsetType not in typing.get_args(annotation):
        return annotation
    found = parts[0]
    for part in parts[1:]:
        found = found | part
    return found


def _schema(known: Sequence[tuple[Any, dict[str, Any]]], wanted: Any) -> dict[str, Any]:
    return next(schema for each, schema in known if each is wanted or each == wanted)


def _allow_numbers(schema: Any, components: dict[str, Any], seen: set[str]) -> None:
    """What is sent as a decimal may be a number too; it is read as it is written then. Answers have text."""
    if isinstance(schema, list):
        for each in schema:
            _allow_numbers(each, components, seen)
    if not isinstance(schema, dict):
        return
    if schema.get("format") == "decimal" and schema.get("type") == "string":
        schema["type"] = ["string", "number"]
    name = str(schema.get("$ref", "")).removeprefix(_REF.format(name=""))
    if name in components and name not in seen:
        seen.add(name)  # classes may name each other
        _allow_numbers(components[name], components, seen)
    for each in schema.values():
        _allow_numbers(each, components, seen)


def _operation(operation: Operation, known: Sequence[tuple[Any, dict[str, Any]]], asks: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.group],
        "parameters": _parameters(operation, known),
        "responses": _responses(operation, known),
    }
    if operation.description:
        document["description"] = operation.description
    if operation.body is not None:
        document["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _schema(known, operation.body)}},
        }
    access = operation.access
    if asks and not (isinstance(access, Access) and access.public):
        document["security"] = [{"bearer": []}]
    return document


def _parameters(operation: Operation, known: Sequence[tuple[Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in _parts(operation.path):
        schema = _schema(known, operation.path_types.get(name, str))
        found.append({"name": name, "in": "path", "required": True, "schema": _not_empty(schema)})
    if operation.query is not None:
        for each in msgspec.structs.fields(operation.query):
            annotation = _without_unset(each.type)
            schema = _schema(known, annotation)
            found.append({"name": each.encode_name, "in": "query", "required": each.required, "schema": schema})
    for name, meaning in operation.headers.items():
        found.append({"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}})
    return found


def _not_empty(schema: dict[str, Any]) -> dict[str, Any]:
    return {"minLength": 1, **schema} if schema.get("type") == "string" else schema


def _parts(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _responses(operation: Operation, known: Sequence[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    found = {str(status): _said(said, known) for status, said in operation.answers.items()}
    kinds = (*_ALWAYS, *(_WITH_BODY if operation.body is not None else ()), *operation.problems)
    if operation.query is not None or operation.path_types:
        kinds = (*kinds, "invalid")
    by_status: dict[int, list[str]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(KINDS[kind].status, []).append(kind)
    for status, names in sorted(by_status.items()):
        meaning = "; ".join(f"`{name}`: {KINDS[name].title}" for name in names)
        found[str(status)] = {
            "description": meaning,
            "content": {CONTENT_TYPE: {"schema": _schema(known, ProblemDetails)}},
        }
    return found


def _said(said: Said, known: Sequence[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    document: dict[str, Any] = {"description": said.meaning}
    if said.headers:
        document["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in said.headers.items()
        }
    if said.type is not None or said.kind != JSON:
        schema: Mapping[str, Any] = {"type": "string"} if said.type is None else _schema(known, said.type)
        document["content"] = {said.kind: {"schema": schema}}
    return document
