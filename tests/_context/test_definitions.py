from __future__ import annotations

from typing import Any

import pytest

from september_engine._context.definitions import definition_problems, unusable_names

TOOL: dict[str, Any] = {"name": "look", "description": "", "input_schema": {"type": "object"}}


def taking(**schema: Any) -> dict[str, Any]:
    return {**TOOL, "input_schema": {"type": "object", **schema}}


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ("look", "tools.1: must be an object"),
        ({**TOOL, "name": "a b"}, "tools.1.name: must be 1 to 64 letters, digits, _ and -"),
        (TOOL, "tools.1.name: look is there twice"),
        ({"name": "b", "input_schema": {}}, "tools.1.input_schema: must be a JSON Schema of type object"),
        ({**taking(anyOf=[]), "name": "b"}, "tools.1.input_schema: must not have anyOf on top"),
        (
            {**taking(properties={"größe": {}}), "name": "b"},
            "tools.1.input_schema: 'gr\\xf6\\xdfe' must be 1 to 64 letters, digits, _, . and -",
        ),
    ],
)
def test_a_definition_that_the_api_refuses_is_told_with_where_it_is(tool: Any, says: str) -> None:
    assert list(definition_problems([TOOL, tool])) == [says]


def test_a_good_definition_has_no_problems() -> None:
    assert list(definition_problems([TOOL, {**taking(properties={"a.b-c_1": {}}), "name": "b"}])) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"ü": {}}},
        {"properties": {"a": {"anyOf": [{"type": "null"}, {"properties": {"ü": {}}}]}}},
        {"$defs": {"Point": {"properties": {"ü": {}}}}},
    ],
)
def test_a_name_is_found_at_any_depth(schema: Any) -> None:
    assert unusable_names(schema) == ["ü"]


def test_data_in_a_schema_is_not_taken_for_a_schema() -> None:
    property = {"default": {"properties": {"ü": 1}}, "enum": [{"properties": {"ü": 1}}]}
    assert unusable_names({"properties": {"properties": property, "default": {"properties": {"é": {}}}}}) == ["é"]
    assert unusable_names({"properties": ["ü"], "$defs": 5}) == []
