"""Which values a type annotation allows: hypothesis strategies from msgspec's own description of types and constraints.

Every value survives JSON: no NaN, no NUL, no lone surrogates, and whole numbers that each database's bigint holds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import inspect as described

from refold.errors import DefinitionError

__all__ = ["values_of"]

_LARGEST = 2**53
_LONGEST = 8
"""Items in a collection for which the definition gives no bound: enough to be many, few enough to be read."""
_LARGEST_AMOUNT = 10**12
_FIRST_MOMENT = datetime(1900, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # hypothesis takes its bounds without a zone
_LAST_MOMENT = datetime(2200, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_TEN_YEARS = timedelta(days=3650)


def values_of(annotation: Any) -> SearchStrategy[Any]:
    """Values of an annotation, as they stand in a struct. Raises `DefinitionError` for a type without known values."""
    return _Values().of(described.type_info(annotation))


class _Values:
    """Makes the strategies of one annotation. Each class in it is made once, so that a class may contain itself."""

    def __init__(self) -> None:
        self._classes: dict[int, SearchStrategy[Any]] = {}

    def of(self, kind: described.Type) -> SearchStrategy[Any]:
        make = _MAKERS.get(type(kind))
        if make is None:
            raise DefinitionError(
                f"no values can be made for {kind!r}; "
                "give a strategy for the field, as in any_event(Paid, amount=st.just(1))"
            )
        return make(self, kind)

    def class_of(self, kind: Any) -> SearchStrategy[Any]:
        if id(kind) not in self._classes:
            build: Callable[..., Any] = kind.cls
            self._classes[id(kind)] = st.deferred(
                lambda: st.builds(build, **{field.name: self.of(field.type) for field in kind.fields})
            )
        return self._classes[id(kind)]

    def lists(self, kind: Any) -> SearchStrategy[list[Any]]:
        return st.lists(self.of(kind.item_type), min_size=kind.min_length or 0, max_size=_longest(kind))

    def sets(self, kind: Any) -> SearchStrategy[set[Any]]:
        return st.sets(self.of(kind.item_type), min_size=kind.min_length or 0, max_size=_longest(kind))

    def dicts(self, kind: described.DictType) -> SearchStrategy[dict[Any, Any]]:
        keys, values = self.of(kind.key_type), self.of(kind.value_type)
        return st.dictionaries(keys, values, min_size=kind.min_length or 0, max_size=_longest(kind))

    def typed_dicts(self, kind: described.TypedDictType) -> SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries(
            {field.name: self.of(field.type) for field in kind.fields if field.required},
            optional={field.name: self.of(field.type) for field in kind.fields if not field.required},
        )


def _longest(kind: Any) -> int:
    return max(kind.min_length or 0, _LONGEST) if kind.max_length is None else int(kind.max_length)


def _characters() -> SearchStrategy[str]:
    return st.characters(codec="utf-8", exclude_characters="\x00")


def _strings(kind: described.StrType) -> SearchStrategy[str]:
    shortest, longest = kind.min_length or 0, kind.max_length
    if kind.pattern is None:
        return st.text(_characters(), min_size=shortest, max_size=longest)
    matching = st.from_regex(kind.pattern, alphabet=_characters())
    return matching.filter(lambda text: shortest <= len(text) and (longest is None or len(text) <= longest))


def _integers(kind: described.IntType) -> SearchStrategy[int]:
    lowest = kind.ge if kind.ge is not None else kind.gt + 1 if kind.gt is not None else -_LARGEST
    highest = kind.le if kind.le is not None else kind.lt - 1 if kind.lt is not None else _LARGEST
    step = kind.multiple_of or 1
    return st.integers(-(-lowest // step), highest // step).map(lambda times: times * step)


def _floats(kind: described.FloatType) -> SearchStrategy[float]:
    lowest = kind.ge if kind.gt is None else kind.gt
    highest = kind.le if kind.lt is None else kind.lt
    if kind.multiple_of is not None:
        step = kind.multiple_of
        multiples = st.integers(
            -_LARGEST if lowest is None else int(-(-lowest // step)),
            _LARGEST if highest is None else int(highest // step),
        )
        return multiples.map(lambda times: times * step).filter(lambda value: value not in (kind.gt, kind.lt))
    return st.floats(
        lowest,
        highest,
        exclude_min=kind.gt is not None,
        exclude_max=kind.lt is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _decimals() -> SearchStrategy[Any]:
    return st.one_of([st.decimals(-_LARGEST_AMOUNT, _LARGEST_AMOUNT, places=places) for places in (2, 0, 6)])


def _moments(kind: described.DateTimeType) -> SearchStrategy[datetime]:
    zones = st.none() if kind.tz is False else st.just(UTC)
    return st.datetimes(_FIRST_MOMENT, _LAST_MOMENT, timezones=zones)


def _bytes(kind: Any) -> SearchStrategy[bytes]:
    return st.binary(min_size=kind.min_length or 0, max_size=kind.max_length)


def _anything() -> SearchStrategy[Any]:
    words = st.text(_characters(), max_size=_LONGEST)
    return st.recursive(
        st.none() | st.booleans() | st.integers(-_LARGEST, _LARGEST) | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=5,
    )


_MAKERS: dict[type[described.Type], Callable[[_Values, Any], SearchStrategy[Any]]] = {
    described.AnyType: lambda _, __: _anything(),
    described.NoneType: lambda _, __: st.none(),
    described.BoolType: lambda _, __: st.booleans(),
    described.IntType: lambda _, kind: _integers(kind),
    described.FloatType: lambda _, kind: _floats(kind),
    described.StrType: lambda _, kind: _strings(kind),
    described.BytesType: lambda _, kind: _bytes(kind),
    described.ByteArrayType: lambda _, kind: _bytes(kind).map(bytearray),
    described.DecimalType: lambda _, __: _decimals(),
    described.DateTimeType: lambda _, kind: _moments(kind),
    described.DateType: lambda _, __: st.dates(),
    described.TimeType: lambda _, kind: st.times(timezones=st.just(UTC) if kind.tz else st.none()),
    described.TimeDeltaType: lambda _, __: st.timedeltas(-_TEN_YEARS, _TEN_YEARS),
    described.UUIDType: lambda _, __: st.uuids(),
    described.EnumType: lambda _, kind: st.sampled_from(list(kind.cls)),
    described.LiteralType: lambda _, kind: st.sampled_from(list(kind.values)),
    described.ListType: _Values.lists,
    described.CollectionType: _Values.lists,
    described.VarTupleType: lambda values, kind: values.lists(kind).map(tuple),
    described.TupleType: lambda values, kind: st.tuples(*[values.of(each) for each in kind.item_types]),
    described.SetType: _Values.sets,
    described.FrozenSetType: lambda values, kind: values.sets(kind).map(frozenset),
    described.DictType: _Values.dicts,
    described.TypedDictType: _Values.typed_dicts,
    described.UnionType: lambda values, kind: st.one_of([values.of(each) for each in kind.types]),
    described.StructType: _Values.class_of,
    described.DataclassType: _Values.class_of,
    described.NamedTupleType: _Values.class_of,
    described.Metadata: lambda values, kind: values.of(kind.type),
}
