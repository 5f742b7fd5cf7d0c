"""Hypothesis strategies made from the types of our structs."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

__all__ = ["awkward_text", "json_values", "structs"]

awkward_text: st.SearchStrategy[str] = st.text(max_size=8) | st.text(
    st.sampled_from('\r\n\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"\\aé🦊 '), max_size=8
)
"""Text with all that ends a line somewhere, quotes, and characters of one to four bytes; always valid Unicode."""

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | awkward_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(awkward_text, inner, max_size=3),
    max_leaves=6,
)


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any value of this struct: each field is drawn from its type, so a new field is covered as it comes."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: _values(hints[name]) for name in kind.__struct_fields__})


def _values(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return json_values
    if hint is str:
        return awkward_text
    if hint is int:
        return st.integers(-(2**62), 2**62)
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*[_values(argument) for argument in arguments])
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if origin is list:
        return st.lists(_values(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(_values(arguments[0]), _values(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return structs(hint)
    return st.from_type(hint)
