"""`@decide` and `@evolve`: which method handles which message, found from the annotation of its second parameter."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

import msgspec

from refold.errors import DefinitionError
from refold.messages.event import Command, Event

__all__ = [
    "DecideHandler",
    "EvolveHandler",
    "KeyRule",
    "OwnHandlers",
    "collect",
    "decide",
    "evolve",
    "fingerprint_of",
    "inherited",
    "parts_of",
    "schema_of",
]

F = TypeVar("F", bound=Callable[..., Any])
KeyRule = str | Callable[..., Any]
"""The name of an event's field, or a function of (event) or (event, recorded) that gives one key, a list of keys, or
None.
"""


class _Mark(msgspec.Struct, frozen=True):
    verb: str
    key: KeyRule | None = None


class DecideHandler(msgspec.Struct, frozen=True):
    """A `@decide` method: the command that it takes, and the events that its annotation promises."""

    name: str
    function: Callable[..., Any]
    command: type[Command]
    events: tuple[type[Event], ...]


class EvolveHandler(msgspec.Struct, frozen=True):
    """An `@evolve` method for one event type. `wants_recorded`: it takes the recorded event as its third parameter."""

    name: str
    function: Callable[..., Any]
    event: type[Event]
    wants_recorded: bool
    key: KeyRule | None


def decide(method: F) -> F:
    """Marks a method `(self, command: C) -> events`: it checks the command against the state and returns what happened.

    It returns one event, several (a list, a tuple, or by `yield`), or None for nothing, and raises `Rejected` to
    refuse. It must not change the state.
    """
    method.__refold__ = _Mark("decide")  # type: ignore[attr-defined]  # functions take attributes
    return method


@overload
def evolve(method: F) -> F: ...
@overload
def evolve(*, key: KeyRule) -> Callable[[F], F]: ...
def evolve(method: F | None = None, *, key: KeyRule | None = None) -> F | Callable[[F], F]:
    """Marks a method `(self, event: E[, recorded: Recorded[E]]) -> None`: it changes the state by what happened.

    It gets events of exactly that class, or of each of `A | B`: a class that is derived from it is another event. It
    may return a new state instead of changing `self`; a read model returns `Deleted` to remove its row. On a read
    model, `key` says which row the event belongs to when that is not the stream's id: a field of the event, or a
    function of (event) or (event, recorded) that gives one key, a list of keys, or None for no row.
    """
    if method is None:
        return lambda later: _mark_evolve(later, key)
    return _mark_evolve(method, None)


def _mark_evolve(method: F, key: KeyRule | None) -> F:
    method.__refold__ = _Mark("evolve", key)  # type: ignore[attr-defined]  # functions take attributes
    return method


class OwnHandlers(msgspec.Struct, frozen=True):
    """The handlers that one class body defines."""

    decides: Mapping[type[Command], DecideHandler]
    evolves: Mapping[type[Event], EvolveHandler]


def collect(owner: type, names_in_scope: Mapping[str, Any]) -> OwnHandlers:
    """The handlers that a class body defines.

    `names_in_scope` are the local names where the class is being defined: classes of a function's own (a test, a
    notebook cell) are found there. Raises `DefinitionError`, naming class and method, for a handler that cannot work.
    """
    decides: dict[type[Command], DecideHandler] = {}
    evolves: dict[type[Event], EvolveHandler] = {}
    for name, function in vars(owner).items():
        mark = getattr(function, "__refold__", None)
        if not isinstance(mark, _Mark):
            continue
        where = f"{owner.__module__}.{owner.__qualname__}.{name}"
        hints, parameters = _signature(function, where, {owner.__name__: owner, **names_in_scope})
        messages = _message_types(hints.get(parameters[1]), where, parameters[1])
        handled: dict[Any, Any] = decides if mark.verb == "decide" else evolves
        for message in messages:
            if message in handled:
                raise DefinitionError(f"{where}: {message.__name__} is handled by {handled[message].name!r} already")
            if mark.verb == "decide":
                decides[message] = _decide_handler(name, function, message, hints, where)
            else:
                evolves[message] = _evolve_handler(name, function, message, len(parameters) > 2, mark.key, where)
    return OwnHandlers(decides, evolves)


def inherited(cls: type) -> OwnHandlers:
    """The handlers of a class and its bases, the nearest winning."""
    own = [vars(base).get("__own_handlers__") for base in reversed(cls.__mro__)]
    decides = {command: handler for each in own if each for command, handler in each.decides.items()}
    evolves = {event: handler for each in own if each for event, handler in each.evolves.items()}
    return OwnHandlers(decides, evolves)


def _signature(function: Any, where: str, names_in_scope: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) not in (2, 3):
        raise DefinitionError(f"{where}: a handler takes (self, message) or (self, event, recorded), not {parameters}")
    try:
        hints = typing.get_type_hints(function, localns=names_in_scope)
    except NameError as problem:
        raise DefinitionError(f"{where}: its annotation names something unknown here: {problem}") from problem
    if parameters[1] not in hints:
        raise DefinitionError(f"{where}: annotate parameter {parameters[1]!r}; its type says what this method handles")
    return hints, parameters


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(part for inner in typing.get_args(annotation) for part in _alternatives(inner))
    return (annotation,)


def _message_types(annotation: Any, where: str, parameter: str) -> tuple[Any, ...]:
    kinds = _alternatives(annotation)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, (Event, Command))) or kind in (Event, Command):
            raise DefinitionError(
                f"{where}: parameter {parameter!r} is annotated {kind!r}, which is not an event or a command class"
            )
    return kinds


def _decide_handler(name: str, function: Any, command: type, hints: dict[str, Any], where: str) -> DecideHandler:
    if not issubclass(command, Command):
        raise DefinitionError(f"{where}: @decide takes a command, and {command.__name__} is not one")
    return DecideHandler(name, function, command, _event_types_in(hints.get("return")))


def _evolve_handler(
    name: str, function: Any, event: type, wants_recorded: bool, key: KeyRule | None, where: str
) -> EvolveHandler:
    if not issubclass(event, Event):
        raise DefinitionError(f"{where}: @evolve takes an event, and {event.__name__} is not one")
    if isinstance(key, str) and key not in event.__struct_fields__:
        raise DefinitionError(
            f"{where}: key={key!r} is not a field of {event.__name__}, which has {list(event.__struct_fields__)}"
        )
    if callable(key) and not hasattr(inspect.unwrap(key), "__code__"):
        raise DefinitionError(
            f"{where}: key={key!r} is neither the name of a field nor a function of yours, whose code can be seen to "
            "change; wrap it: key=lambda event: …"
        )
    return EvolveHandler(name, function, event, wants_recorded, key)


def _event_types_in(annotation: Any) -> tuple[type[Event], ...]:
    """The event classes that a return annotation mentions, at any depth: `list[A | B]`, `A | None`, `Iterator[A]`."""
    found: dict[type[Event], None] = {}
    for part in _alternatives(annotation):
        if isinstance(part, type) and issubclass(part, Event) and part is not Event:
            found[part] = None
        for inner in typing.get_args(part):
            found.update(dict.fromkeys(_event_types_in(inner)))
    return tuple(found)


def fingerprint_of(parts: list[str], functions: list[Callable[..., Any]]) -> str:
    """A hash of a definition: its declared parts and its methods' code, blind to comments, layout, docstrings
    and return annotations.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in [*parts, *(_code_of(function) for function in functions)]:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\x00")
    return digest.hexdigest()


def hash_of(text: str) -> str:
    """A short hash, to see whether a part of a definition has changed."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def parts_of(cls: type, evolves: Mapping[type[Event], EvolveHandler]) -> dict[str, str]:
    """What a definition consists of: the name of each field and of each evolved event → a hash of what it says."""
    schema = _plain(msgspec.json.schema(cls))
    schema.pop("$ref", None)
    shapes = schema.get("$defs", {})
    fields = shapes.get(cls.__name__, {}).get("properties", {})
    found = {
        f"field {name}": hash_of(msgspec.json.encode(shape, order="deterministic").decode())
        for name, shape in fields.items()
    }
    others = {name: shape for name, shape in shapes.items() if name != cls.__name__}
    if others:
        found["nested types"] = hash_of(msgspec.json.encode(others, order="deterministic").decode())
    for event, handler in evolves.items():
        rule = _code_of(handler.key) if callable(handler.key) else str(handler.key)
        found[f"evolve {event.__message_name__}"] = hash_of(f"{_code_of(handler.function)} {rule}")
    return found


def schema_of(cls: type) -> str:
    """The fields of a class, their types and defaults, as text that is the same in each process.

    Its own name is left out, as the log and the tables do not have it, and so are descriptions, which are docstrings.
    Raises `TypeError` and `NameError` for what is no JSON.
    """
    schema = _plain(msgspec.json.schema(cls))
    own = str(schema.get("$ref", ""))
    return msgspec.json.encode(_nameless(schema, own, own.rpartition("/")[2]), order="deterministic").decode()


def _nameless(schema: Any, ref: str, name: str) -> Any:
    """A schema in which the class that `ref` points at has no name."""
    if isinstance(schema, list):
        return [_nameless(each, ref, name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _nameless(value, ref, name) for key, value in schema.items()}
    if ref and plain.get("$ref") == ref:
        plain["$ref"] = "#"
    if name in plain.get("$defs", ()):
        plain["$defs"] = {"" if key == name else key: value for key, value in plain["$defs"].items()}
        plain["$defs"][""].pop("title", None)
    return plain


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "default":
            # A set has no order of its own: each process would have another.
            unordered = schema.get("uniqueItems") and isinstance(value, list)
            plain[name] = sorted(value, key=repr) if unordered else value
        elif name != "description" or not isinstance(value, str):
            plain[name] = _plain(value)
    return plain


def _code_of(function: Callable[..., Any]) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source: an interactive session, a frozen application
        return _compiled(inspect.unwrap(function).__code__)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None  # it says nothing that the code does not
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _compiled(code: types.CodeType) -> str:
    """Compiled code as text that is the same in each process: without addresses, files, and the order of sets."""
    return f"{code.co_code.hex()} {_constant(code.co_consts)} {code.co_names!r}"


def _constant(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return f"<{_compiled(value)}>"
    if isinstance(value, tuple):
        return f"({', '.join(_constant(each) for each in value)})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(_constant(each) for each in value))}}}"
    return repr(value)
