from __future__ import annotations

from typing import Any

import msgspec
import pytest

from september_engine._context.definitions import definition_problems
from september_engine._turn.inputs import WriteNote
from september_engine.errors import ConfigurationError
from september_engine.tools.note import NoteKeys, note_tool
from september_engine.tools.tool import ToolInputError


class Seat(msgspec.Struct):
    row: int
    window: bool = False


TRIP = NoteKeys({"city": str, "budget": int, "seats": list[Seat]})


def written(keys: NoteKeys, **input: Any) -> WriteNote:
    writes = note_tool(keys).writes
    assert writes is not None
    write = writes(input)
    assert isinstance(write, WriteNote)
    return write


def test_the_tool_is_one_that_models_take() -> None:
    for keys in (NoteKeys(), TRIP):
        assert list(definition_problems([note_tool(keys).definition()])) == []


def test_without_types_any_json_stands_under_any_key() -> None:
    assert written(NoteKeys(), key="x", value={"a": [1]}, minutes=5) == WriteNote(key="x", value={"a": [1]}, minutes=5)
    assert written(NoteKeys(), key="x", value=None) == WriteNote(key="x", value=None)


def test_the_model_is_told_the_keys_and_what_stands_under_them() -> None:
    tool = note_tool(TRIP)
    assert tool.input_schema["properties"]["key"]["enum"] == ["city", "budget", "seats"]
    assert '- city: {"type":"string"}' in tool.description
    assert "enum" not in note_tool(NoteKeys()).input_schema["properties"]["key"]


@pytest.mark.parametrize(("key", "value"), [("city", "Rome"), ("budget", 300), ("seats", [{"row": 7}]), ("city", None)])
def test_what_fits_is_written(key: str, value: Any) -> None:
    assert written(TRIP, key=key, value=value) == WriteNote(key=key, value=value)


@pytest.mark.parametrize(
    ("input", "why"),
    [
        ({"key": "city", "value": 7}, "'city' does not fit"),
        ({"key": "budget", "value": "300"}, "'budget' does not fit"),
        ({"key": "seats", "value": [{"row": "a"}]}, "'seats' does not fit"),
        ({"key": "country", "value": "Italy"}, "Keys: city, budget, seats"),
        ({"key": "city"}, "Invalid input for"),
        ({"key": "city", "value": "Rome", "minutes": "5"}, "Invalid input for"),
    ],
)
def test_what_does_not_is_refused_with_the_reason(input: dict[str, Any], why: str) -> None:
    with pytest.raises(ToolInputError, match=why):
        written(TRIP, **input)


@pytest.mark.parametrize("kinds", [{"": str}, {"a\nb": int}, {"city": object()}, {"city": type("X", (), {})}])
def test_a_declaration_that_cannot_be_used_is_refused_at_once(kinds: Any) -> None:
    with pytest.raises(ConfigurationError):
        NoteKeys(kinds)
