"""Whether a JSON value fits a JSON Schema: the part of it in which types are described. Pure.

Total: any schema and any value give an answer and never an exception. What is not known here counts as fitting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..messages import JSON

__all__ = ["misfit"]

DEPTH = 64
"""Levels that are looked at: a schema that refers to itself without end fits whatever is left."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
    "multipleOf": lambda value, step: math.isclose(value / step, round(value / step), rel_tol=1e-9, abs_tol=1e-9),
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
    "minItems": lambda value, bound: len(value) >= bound,
    "maxItems": lambda value, bound: len(value) <= bound,
    "pattern": lambda value, pattern: re.search(pattern, value) is not None,
}
_OF_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OF_TEXT = ("minLength", "maxLength", "pattern")
_OF_LISTS = ("minItems", "maxItems")


def misfit(schema: JSON, value: JSON) -> str | None:
    """Where the value first does not fit the schema, and why; None where it fits."""
    defs = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    return next(_misfits(schema, value, "$", defs if isinstance(defs, dict) else {}, DEPTH), None)


def _misfits(schema: JSON, value: JSON, at: str, defs: Mapping[str, JSON], depth: int) -> Iterator[str]:
    if not isinstance(schema, dict) or depth == 0:
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield from _misfits(defs.get(reference.removeprefix("#/$defs/")), value, at, defs, depth - 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(key), list):
            if all(any(_misfits(option, value, at, defs, depth - 1)) for option in options):
                yield f"None of the forms it may have fits - at `{at}`."
    if isinstance(allowed := schema.get("enum"), list) and not any(_same(value, each) for each in allowed):
        yield f"Expected one of {', '.join(map(repr, allowed))} - at `{at}`."
    if "const" in schema and not _same(value, schema["const"]):
        yield f"Expected {schema['const']!r} - at `{at}`."
    kind = schema.get("type")
    if kind in _TYPES and not _is(value, kind):
        yield f"Expected `{kind}` - at `{at}`."
    yield from _out_of_bounds(schema, value, at)
    if isinstance(value, dict):
        yield from _misfits_of_object(schema, value, at, defs, depth)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _misfits(schema.get("items"), item, f"{at}[{index}]", defs, depth - 1)


def _misfits_of_object(
    schema: Mapping[str, JSON], value: Mapping[str, JSON], at: str, defs: Mapping[str, JSON], depth: int
) -> Iterator[str]:
    required, properties = schema.get("required"), schema.get("properties")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield f"Object missing required field `{name}` - at `{at}`."
    known = properties if isinstance(properties, dict) else {}
    for name, inner in value.items():
        if name in known:
            yield from _misfits(known[name], inner, f"{at}.{name}", defs, depth - 1)
        elif schema.get("additionalProperties") is False:
            yield f"Object contains unknown field `{name}` - at `{at}`."


def _out_of_bounds(schema: Mapping[str, JSON], value: JSON, at: str) -> Iterator[str]:
    bounds: tuple[str, ...] = ()
    if isinstance(value, int | float) and not isinstance(value, bool):
        bounds = _OF_NUMBERS
    elif isinstance(value, str):
        bounds = _OF_TEXT
    elif isinstance(value, list):
        bounds = _OF_LISTS
    for name in bounds:
        if name in schema and not _keeps(name, value, schema[name]):
            yield f"Expected {name} {schema[name]!r} - at `{at}`."


def _keeps(name: str, value: JSON, bound: JSON) -> bool:
    try:
        return bool(_BOUNDS[name](value, bound))
    except (TypeError, ArithmeticError, re.error):  # a bound that is none
        return True


def _is(value: JSON, kind: JSON) -> bool:
    """In JSON a truth value is no number, and 3.0 is an integer."""
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _same(one: JSON, other: JSON) -> bool:
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)
