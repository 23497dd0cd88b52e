"""Hypothesis strategies made from the records' own annotations, so that a new field is covered at once."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

WHOLE = st.integers(min_value=-(1 << 53), max_value=1 << 53)
_BASIC: dict[Any, st.SearchStrategy[Any]] = {
    int: WHOLE,
    bool: st.booleans(),
    str: st.text(max_size=12),
    float: st.floats(allow_nan=False, allow_infinity=False),
    NoneType: st.none(),
}


def of_type(kind: Any, named: Mapping[str, st.SearchStrategy[Any]] | None = None) -> st.SearchStrategy[Any]:
    """Values of a type; `named` gives the values of fields by name, wherever they stand."""
    if kind in _BASIC:
        return _BASIC[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return of_type(parts[0], named)
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, UnionType):
        return st.one_of([of_type(part, named) for part in parts])
    if origin is list:
        return st.lists(of_type(parts[0], named), max_size=3)
    if origin is dict:
        return st.dictionaries(of_type(parts[0], named), of_type(parts[1], named), max_size=3)
    assert isinstance(kind, type)
    assert issubclass(kind, msgspec.Struct)
    return of_struct(kind, named)


def of_struct(
    kind: type[msgspec.Struct], named: Mapping[str, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[Any]:
    """Instances of a struct."""
    hints = get_type_hints(kind, include_extras=True)
    given = named or {}
    values = {
        field: given[field] if field in given else of_type(hints[field], named)
        for field in kind.__struct_fields__
    }
    return st.builds(kind, **values)
