"""Output: a Python type as what an answer must be: its JSON Schema for the model, and the check of the answer.

Both are made from the type's form, so they cannot disagree. A model answers with an object; where the type is none
(a list, a number, a union), the value is wrapped into one, and unwrapped again when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Generic, TypeVar, cast

import msgspec

from ._context.fits import misfit as schema_misfit
from ._plain import shown
from .errors import InvalidRequest
from .messages import JSON
from .tools._annotations import Forms, settled
from .tools._forms import Definitions, Field, Form, Misfit, Object
from .tools.schema import untitled

__all__ = ["Output", "misfit_of"]

T = TypeVar("T")

VALUE = "value"
"""The name under which a value that is no object is wrapped."""


class Output(Generic[T]):
    """What an answer must be. `schema` is an object's, complete in itself, in JSON values.

    Args:
        kind: A msgspec Struct, dataclass, TypedDict, NamedTuple, attrs class, pydantic model, or any type that JSON can
            say: `list[int]`, `Literal[…]`, a union, …

    Raises `InvalidRequest` for a type that a model cannot be asked for.
    """

    def __init__(self, kind: type[T]) -> None:
        if isinstance(kind, Sequence | Mapping | Set):  # which msgspec would look into, however large it is
            raise InvalidRequest(
                f"output={shown(kind)} cannot be asked for: it is a value. Pass a type, such as list[int]."
            )
        try:
            self._form = Forms().of(kind)
            whole = _on_top(self._form)
            self._wrapped = whole.get("type") != "object"
            if self._wrapped:
                value = Field(VALUE, VALUE, self._form, required=True)
                self._form = Object("Output", dict, [value], closed=True)
                whole = _on_top(self._form)
            raw = msgspec.json.encode(settled(untitled(whole)))
        except Exception as error:  # a type's own code takes part, and may raise anything
            raise InvalidRequest(
                f"output={shown(kind)} cannot be asked for ({str(error).strip().splitlines()[-1]}). "
                "Use a dataclass, TypedDict, attrs class, msgspec Struct or pydantic model of JSON types, or such a "
                "type itself."
            ) from error
        self.schema: dict[str, JSON] = _closed(msgspec.json.decode(raw), "output")

    def read(self, text: str) -> T:
        """The value that an answer is. Raises whatever says that it is none; most often `Misfit`."""
        value = self._form.read(msgspec.json.decode(text))
        return cast("T", value[VALUE] if self._wrapped else value)

    def misfit(self, text: str) -> str | None:
        """Why an answer is not such a value, or None."""
        try:
            self.read(text)
        except Exception as error:  # a class may check itself, and raise anything
            return _why(text, error)
        return None


def misfit_of(schema: dict[str, JSON], text: str) -> str | None:
    """Why an answer does not fit a schema, or None: where the type itself is not at hand, after a restart."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _why(text, error)
    return schema_misfit(schema, value)


def _why(text: str, error: Exception) -> str:
    if not text.strip():
        return "It has no text."
    said = str(error).strip().rstrip(".") or type(error).__name__
    return f"{said}." if isinstance(error, Misfit) else f"{type(error).__name__}: {said}."


def _on_top(form: Form) -> dict[str, JSON]:
    """The form's schema with its parts, and not as a reference to one of them."""
    parts = Definitions()
    schema = form.schema(parts)
    while list(schema) == ["$ref"]:
        schema = parts.schemas[schema["$ref"].removeprefix("#/$defs/")]
    return {**schema, "$defs": parts.schemas} if _refers(schema) else schema


def _refers(schema: JSON) -> bool:
    if isinstance(schema, list):
        return any(map(_refers, schema))
    return isinstance(schema, dict) and ("$ref" in schema or any(map(_refers, schema.values())))


def _closed(schema: JSON, place: str) -> Any:
    """The schema with every object closed. Raises `InvalidRequest` where it says nothing, or what no model can keep."""
    if schema == {}:
        raise InvalidRequest(f"{place} may be anything, which a model cannot be asked for. Give it a type.")
    if schema.get("type") == "object" and "properties" not in schema:
        raise InvalidRequest(
            f"{place} is a mapping with any keys, which a model cannot be asked for. Use a class with fields, or a "
            "list of such classes."
        )
    if "prefixItems" in schema:
        raise InvalidRequest(f"{place} is a tuple, which a model cannot be asked for. Use a class with fields.")
    closed = dict(schema)
    for key in ("properties", "$defs"):
        if key in schema:
            closed[key] = {name: _closed(inner, f"{place}.{name}") for name, inner in schema[key].items()}
    for key in ("anyOf", "oneOf"):
        if key in schema:
            closed[key] = [_closed(inner, place) for inner in schema[key]]
    if isinstance(schema.get("items"), dict):
        closed["items"] = _closed(schema["items"], f"{place}[…]")
    if schema.get("type") == "array" and "items" not in schema:
        raise InvalidRequest(f"{place} is a list of anything, which a model cannot be asked for. Say of what.")
    if schema.get("type") == "object":
        closed["additionalProperties"] = False
    return closed
