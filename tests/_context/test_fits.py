"""A value and a schema: against a checker that we did not write, and by hand."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from september_engine._context.fits import misfit

from ..strategies import json_values

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^A"},
        "age": {"anyOf": [{"type": "integer", "minimum": 0, "exclusiveMaximum": 200}, {"type": "null"}]},
        "kind": {"enum": ["cat", 1, None]},
        "kids": {"type": "array", "items": {"$ref": "#/$defs/P"}, "minItems": 0, "maxItems": 2},
    },
    "required": ["name"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {**PERSON, "$defs": {"P": PERSON}}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"name": "Ada", "age": 3, "kids": [{"name": "Al"}]}, None),
        ({"name": "Ada", "age": None, "kind": "cat"}, None),
        ({"name": "Ada", "age": 3.0}, None),
        ([], "Expected `object` - at `$`."),
        ({}, "Object missing required field `name` - at `$`."),
        ({"name": 7}, "Expected `string` - at `$.name`."),
        ({"name": ""}, "Expected minLength 1 - at `$.name`."),
        ({"name": "Bob"}, "Expected pattern '^A' - at `$.name`."),
        ({"name": "Ada", "age": True}, "None of the forms it may have fits - at `$.age`."),
        ({"name": "Ada", "age": 200}, "None of the forms it may have fits - at `$.age`."),
        ({"name": "Ada", "kind": True}, "Expected one of 'cat', 1, None - at `$.kind`."),
        ({"name": "Ada", "size": 1}, "Object contains unknown field `size` - at `$`."),
        ({"name": "Ada", "kids": [{"name": "Al"}, {}]}, "Object missing required field `name` - at `$.kids[1]`."),
        ({"name": "Ada", "kids": [{"name": "A"}] * 3}, "Expected maxItems 2 - at `$.kids`."),
    ],
)
def test_a_value_is_told_where_it_does_not_fit(value: object, why: str | None) -> None:
    assert misfit(SCHEMA, value) == why


keys = st.sampled_from(["name", "age", "kind", "kids", "size"])
inner: st.SearchStrategy[Any] = st.sampled_from(["Ada", "", "Bob", 0, 1, -1, 200, 2.5, 3.0, True, None, "cat", [], {}])
people = st.recursive(
    st.dictionaries(keys, inner, max_size=4),
    lambda more: st.builds(lambda one, kids: {**one, "kids": kids}, st.dictionaries(keys, inner), st.lists(more)),
    max_leaves=4,
)


@settings(deadline=None)
@given(people | json_values)
def test_it_says_what_another_checker_says(value: object) -> None:
    expected = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert (misfit(SCHEMA, value) is None) is expected


@settings(deadline=None)
@given(json_values, json_values)
def test_any_schema_and_any_value_give_an_answer(schema: object, value: object) -> None:
    assert misfit(schema, value) is None or isinstance(misfit(schema, value), str)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"type": "string", "pattern": "("},
        {"type": "string", "minLength": "long"},
        {"$ref": "#/elsewhere"},
        {"format": "date"},
    ],
)
def test_what_is_not_understood_fits(schema: dict[str, Any]) -> None:
    assert misfit(schema, "x") is None


def test_a_constant_is_that_value() -> None:
    assert misfit({"const": 1}, 1) is None
    assert misfit({"const": 1}, True) == "Expected 1 - at `$`."


@pytest.mark.parametrize(("step", "value", "fits"), [(3, 6, True), (3, 4, False), (0.1, 0.3, True), (0, 1, True)])
def test_a_number_is_a_multiple_of_what_it_must_be(step: float, value: float, fits: bool) -> None:
    assert (misfit({"type": "number", "multipleOf": step}, value) is None) is fits
