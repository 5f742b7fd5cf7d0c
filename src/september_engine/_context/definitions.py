"""What the Messages API takes as the definition of a tool. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..messages import JSON

__all__ = ["TOOL_NAME", "definition_problems", "unusable_names"]

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_NOT_ON_TOP = ("anyOf", "oneOf", "allOf")
_DATA = ("default", "enum", "const", "examples")


def definition_problems(tools: list[JSON]) -> Iterator[str]:
    """Everything the API would refuse these tools for. Total: they may be anything."""
    names: set[str] = set()
    for index, tool in enumerate(tools):
        where = f"tools.{index}"
        if not isinstance(tool, dict):
            yield f"{where}: must be an object"
            continue
        name, schema = tool.get("name"), tool.get("input_schema")
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            yield f"{where}.name: must be 1 to 64 letters, digits, _ and -"
        elif name in names:
            yield f"{where}.name: {name} is there twice"
        else:
            names.add(name)
        if not isinstance(schema, dict) or schema.get("type") != "object":
            yield f"{where}.input_schema: must be a JSON Schema of type object"
            continue
        for key in _NOT_ON_TOP:
            if key in schema:
                yield f"{where}.input_schema: must not have {key} on top"
        for unusable in unusable_names(schema):
            yield f"{where}.input_schema: {unusable!a} must be 1 to 64 letters, digits, _, . and -"


def unusable_names(schema: JSON) -> list[str]:
    """The names of properties, at any depth, that the API refuses; without recursion, so that depth cannot hurt."""
    found: list[str] = []
    open_values: list[JSON] = [schema]
    while open_values:
        item = open_values.pop()
        if isinstance(item, list):
            open_values += item
        elif isinstance(item, dict):
            properties = item.get("properties")
            if isinstance(properties, dict):
                found += [str(name) for name in properties if not _PROPERTY.fullmatch(str(name))]
                open_values += properties.values()
            definitions = item.get("$defs")
            if isinstance(definitions, dict):
                open_values += definitions.values()
            open_values += [value for key, value in item.items() if key not in ("properties", "$defs", *_DATA)]
    return found
