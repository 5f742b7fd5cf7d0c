"""From a function's signature to the form of its input, and from the form to JSON Schema.

The form is the one truth: the schema the model reads and the check its input must pass are made from it, so they
cannot disagree. A parameter with a default is a field that may be left out; the function then applies its own default,
whatever object that is.

Annotations written as strings are resolved in the function's globals, its closure, and the names that are local where
the decorator stands, in that order of preference from the inside out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias, get_type_hints

import docstring_parser
import msgspec

from .._context.definitions import unusable_names
from ..errors import ConfigurationError
from ..messages import JSON
from ._annotations import Forms, settled
from ._fields import shown_default
from ._forms import Definitions, Field, Object
from ._pydantic import made_with_pydantic

__all__ = ["AnyFunction", "description_of", "input_schema", "parameters_of", "plain_function", "untitled"]

AnyFunction: TypeAlias = Callable[..., Any]

_MISSING = inspect.Parameter.empty
_UNUSABLE: Mapping[object, str] = {
    inspect.Parameter.VAR_POSITIONAL: "takes *{name}; name each parameter instead, or take one list",
    inspect.Parameter.VAR_KEYWORD: "takes **{name}; name each parameter instead, or take one dict",
    inspect.Parameter.POSITIONAL_ONLY: "has the positional-only parameter '{name}'; tools are called by keyword",
}


def plain_function(function: AnyFunction) -> AnyFunction:
    """The function that does the work, below methods, partials, wrappers and objects with `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if inspect.isroutine(function):
        return getattr(function, "__func__", function)
    if inspect.isclass(function):
        return function
    return getattr(type(function).__call__, "__func__", type(function).__call__)


def parameters_of(function: AnyFunction, name: str, scope: Mapping[str, object]) -> Object:
    """The parameters as an object that refuses unknown names. `scope` holds the names around the decorator.

    What a `functools.partial` already binds by keyword belongs to the host: the model neither sees nor sets it.
    Raises `ConfigurationError` for a parameter that cannot be described to a model.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"Tool '{name}' has no signature that can be read; wrap it in a function.") from error
    forms = Forms(scope)
    fields: list[Field] = []
    for parameter in signature.parameters.values():
        if parameter.name in _bound(function):
            continue
        if (problem := _UNUSABLE.get(parameter.kind)) is not None:
            raise ConfigurationError(f"Tool '{name}' {problem.format(name=parameter.name)}.")
        kind, default = _resolved(function, parameter, name, scope), parameter.default
        if default is not _MISSING and made_with_pydantic(default) and type(default).__name__ == "FieldInfo":
            raise ConfigurationError(
                f"Parameter '{parameter.name}' of tool '{name}' has pydantic's Field as its default, which a function "
                f"does not know: write '{parameter.name}: Annotated[int, Field(…)] = 5', with its own type and default."
            )
        try:
            form = forms.of(kind)
            form.schema(Definitions())
        except Exception as error:  # a type's own code takes part, and may raise anything
            raise ConfigurationError(
                f"Parameter '{parameter.name}' of tool '{name}' has a type that a model cannot be told about "
                f"({str(error).strip().splitlines()[-1]}). "
                "Use JSON types, dataclasses, TypedDicts, attrs classes, msgspec Structs or pydantic models."
            ) from error
        shown = msgspec.UNSET if default is _MISSING else shown_default(default)
        fields.append(Field(parameter.name, parameter.name, form, default is _MISSING, shown))
    return Object(name, dict, fields, closed=True)


def input_schema(parameters: Object, function: AnyFunction, name: str) -> dict[str, JSON]:
    """The JSON Schema of the parameters, an object on top, described by the docstring where nothing else does.

    Raises `ConfigurationError` for a name that the Messages API refuses.
    """
    parts = Definitions()
    schema = parameters.inline(parts)
    if parts.schemas:
        schema["$defs"] = parts.schemas
    schema = dict(settled(untitled(schema)))
    _describe(schema["properties"], function)
    if unusable := unusable_names(schema):
        raise ConfigurationError(
            f"Tool '{name}' has the parameter or field '{unusable[0]}', a name that models do not take: "
            "use 1 to 64 letters from a to z, digits, '_', '.' and '-'."
        )
    return schema


def description_of(function: AnyFunction) -> str:
    """What the docstring says the tool does, without its sections; "" where there is no docstring."""
    return (_docstring(function).description or "").strip()


def _bound(function: AnyFunction) -> frozenset[str]:
    names: set[str] = set()
    while isinstance(function, functools.partial):
        names |= function.keywords.keys()
        function = function.func
    return frozenset(names)


def _resolved(function: AnyFunction, parameter: inspect.Parameter, name: str, scope: Mapping[str, object]) -> object:
    if parameter.annotation is _MISSING:
        hint = "; decorate the bound method instead, as in tool(instance.method)" if parameter.name == "self" else ""
        raise ConfigurationError(
            f"Parameter '{parameter.name}' of tool '{name}' has no annotation: "
            f"write its type, as in '{parameter.name}: str'{hint}."
        )
    plain = plain_function(function)
    code = getattr(plain, "__code__", None)
    around = dict(scope)
    for variable, cell in zip(getattr(code, "co_freevars", ()), getattr(plain, "__closure__", None) or (), strict=True):
        try:
            around[variable] = cell.cell_contents
        except ValueError:  # a name that is bound only later
            continue
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        hints = get_type_hints(holder, getattr(plain, "__globals__", {}), around, include_extras=True)
    except Exception as error:  # an annotation is an expression, and may raise anything
        raise ConfigurationError(
            f"The annotation of parameter '{parameter.name}' of tool '{name}' cannot be resolved ({error}). "
            "Define its type at module level, or import it outside of 'if TYPE_CHECKING'."
        ) from error
    return hints[parameter.name]


def _docstring(function: AnyFunction) -> docstring_parser.Docstring:
    text = plain_function(function).__doc__
    if not inspect.isroutine(inspect.unwrap(function)) and not isinstance(function, functools.partial):
        text = text or type(function).__doc__
    # of the styles it knows it takes the one that finds most, so text in none of them is all description
    return docstring_parser.parse(text or "")


def _describe(properties: dict[str, JSON], function: AnyFunction) -> None:
    for parameter in _docstring(function).params:
        if parameter.arg_name in properties and parameter.description:
            described = properties[parameter.arg_name]
            described.setdefault("description", parameter.description.strip())
            if "default" in described:
                described["default"] = described.pop("default")  # last, as in earlier releases: the same prompt


_PER_NAME = ("properties", "$defs", "patternProperties")
_DATA = ("default", "enum", "const", "examples")


def untitled(schema: JSON) -> JSON:
    """The schema without titles, and without the description that `dataclass` makes of a signature."""
    if isinstance(schema, list):
        return [untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made_up = f"{schema.get('title')}("
    return {
        key: _untitled_each(value) if key in _PER_NAME else value if key in _DATA else untitled(value)
        for key, value in schema.items()
        if key != "title" and not (key == "description" and value.startswith(made_up))
    }


def _untitled_each(schemas: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: untitled(schema) for name, schema in schemas.items()}
