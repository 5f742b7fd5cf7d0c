"""Pydantic's annotations, checked and described by pydantic itself. It is imported only where one was made with it.

It checks strictly, in JSON's terms: a date may be text, a number may not. Only 3.0 is taken for an integer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import msgspec

from ..messages import JSON
from ._forms import Definitions, Misfit

__all__ = ["PydanticForm", "made_with_pydantic"]

MOST_ERRORS = 5
"""Faults that one error tells."""

_PACKAGES = ("pydantic", "pydantic_core", "pydantic_extra_types", "pydantic_settings")
_MARKS = ("__get_pydantic_core_schema__", "__get_pydantic_json_schema__", "__pydantic_validator__")
_MOMENTS = ("date-time", "date", "time", "uuid", "uuid4", "uuid1")


def made_with_pydantic(thing: Any) -> bool:
    """Whether this class or piece of metadata is pydantic's, or one that pydantic alone understands."""
    kind = thing if isinstance(thing, type) else type(thing)
    return kind.__module__.partition(".")[0] in _PACKAGES or any(hasattr(thing, mark) for mark in _MARKS)


class PydanticForm:
    """A type as pydantic sees it. Raises `TypeError` where pydantic cannot describe it."""

    def __init__(self, kind: Any) -> None:
        try:
            from pydantic import TypeAdapter

            self._adapter = TypeAdapter(kind)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns of defaults that are no JSON, and leaves them out
                self._schema = self._adapter.json_schema()
        except Exception as error:  # a type's own code takes part, and may raise anything
            raise TypeError(f"pydantic: {str(error).strip().splitlines()[0]}") from error
        defs = self._schema.get("$defs", {})
        self._schema = _stable(self._schema, defs)
        top = self._schema
        if isinstance(reference := top.get("$ref"), str):
            top = defs.get(reference.removeprefix("#/$defs/"), {})
        self.keys = frozenset(top.get("properties", ()))

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        return parts.take_in(self._schema)

    def read(self, value: JSON) -> Any:
        try:
            return self._checked(value)
        except Misfit:
            if (whole := _whole(value)) is value:
                raise
            try:
                return self._checked(whole)
            except Misfit:
                pass
            raise

    def _checked(self, value: JSON) -> Any:
        try:
            return self._adapter.validate_json(msgspec.json.encode(value), strict=True)
        except ValueError as error:
            raise _misfit(error) from error
        except Exception as error:  # a validator of the user's
            raise Misfit(f"{type(error).__name__}: {error}") from error


def _misfit(error: ValueError) -> Misfit:
    """The first fault with its place, and the others beside it."""
    list_errors = cast("Callable[..., list[dict[str, Any]]] | None", getattr(error, "errors", None))
    if list_errors is None:
        return Misfit(str(error))
    first, *others = list_errors(include_url=False, include_context=False, include_input=False)
    also = [f"{_place(each['loc']).lstrip('.')}: {each['msg']}" for each in others[:MOST_ERRORS]]
    more = ["…"] if len(others) > MOST_ERRORS else []
    return Misfit(first["msg"], at=_place(first["loc"]), hint=f"also {'; '.join(also + more)}" if also else "")


def _place(where: tuple[int | str, ...]) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in where)


def _whole(value: JSON) -> JSON:
    """The value with 3.0 as 3, or the very same object where there is nothing to change."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        items = [_whole(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        inner = {key: _whole(item) for key, item in value.items()}
        return value if all(inner[key] is value[key] for key in value) else inner
    return value


def _stable(schema: JSON, defs: dict[str, JSON]) -> Any:
    """The schema with the same bytes in every process: defaults that are sets are sorted, moments and ids left out."""
    if isinstance(schema, list):
        return [_stable(each, defs) for each in schema]
    if not isinstance(schema, dict):
        return schema
    stable = {
        key: {name: _stable(each, defs) for name, each in inner.items()}
        if key in ("properties", "$defs") and isinstance(inner, dict)
        else inner
        if key in ("default", "examples", "enum", "const", "discriminator")
        else _stable(inner, defs)
        for key, inner in schema.items()
    }
    if "default" in schema:
        default = _in_order(schema["default"], schema, defs)
        if default is msgspec.UNSET:
            del stable["default"]
        else:
            stable["default"] = default
    return stable


def _in_order(value: JSON, schema: JSON, defs: dict[str, JSON]) -> Any:
    """A default in the order that its schema leaves free; UNSET for one that may change with the time."""
    if not isinstance(schema, dict):
        return value
    if isinstance(reference := schema.get("$ref"), str):
        return _in_order(value, defs.get(reference.removeprefix("#/$defs/"), {}), defs)
    for key in ("anyOf", "oneOf", "allOf"):
        for option in schema.get(key, ()):
            value = _in_order(value, option, defs)
    if isinstance(value, str) and schema.get("format") in _MOMENTS:
        return msgspec.UNSET
    if isinstance(value, list):
        items = [_in_order(item, schema.get("items"), defs) for item in value]
        if schema.get("uniqueItems") and msgspec.UNSET not in items:
            items.sort(key=lambda item: msgspec.json.encode(item, order="deterministic"))
        return msgspec.UNSET if msgspec.UNSET in items else items
    if isinstance(value, dict):
        known = schema.get("properties", {})
        fields = {
            key: _in_order(each, known.get(key, schema.get("additionalProperties")), defs)
            for key, each in value.items()
        }
        return msgspec.UNSET if msgspec.UNSET in fields.values() else fields
    return value
