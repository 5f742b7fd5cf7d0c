"""Types as what an answer must be: the schema a model gets, and the check of what it says."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from anthropic import transform_schema

from september_engine._context.fits import misfit as schema_misfit
from september_engine._output import Output, misfit_of
from september_engine.errors import InvalidRequest


class Point(msgspec.Struct):
    """A place on a map."""

    x: Annotated[int, msgspec.Meta(ge=0, description="Steps to the right.")]
    y: int = 0


@dataclasses.dataclass
class Trip:
    stops: list[Point]
    mode: Literal["walk", "train"]
    on: datetime.date | None = None


class Dish(TypedDict):
    name: str


@attrs.define
class Cat:
    name: str
    age: int | None = None


class Tree(msgspec.Struct):
    name: str
    inner: list[Tree] = []


class Even(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")


class Rude(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        raise RuntimeError("I fail.")


class Pair(NamedTuple):
    left: int
    right: int


class Loose(msgspec.Struct):
    anything: Any


class Left(msgspec.Struct, tag=True):
    x: int


class Right(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    y: int


FITS: list[tuple[Any, str, Any]] = [
    (Point, '{"x":1}', Point(x=1)),
    (
        Trip,
        '{"stops":[{"x":1,"y":2}],"mode":"walk","on":"2026-11-25"}',
        Trip([Point(1, 2)], "walk", datetime.date(2026, 11, 25)),
    ),
    (Dish, '{"name":"soup"}', {"name": "soup"}),
    (Cat, '{"name":"Tom"}', Cat("Tom")),
    (Tree, '{"name":"a","inner":[{"name":"b"}]}', Tree(name="a", inner=[Tree(name="b")])),
    (list[Point], '{"value":[{"x":1}]}', [Point(x=1)]),
    (int, '{"value":7}', 7),
    (Point | None, '{"value":null}', None),
    (Left | Right, '{"value":{"type":"Right","y":3}}', Right(y=3)),
    (Literal["a", "b"], '{"value":"b"}', "b"),
    (Pair, '{"left":1,"right":2}', Pair(1, 2)),
]
KINDS = [kind for kind, _, _ in FITS]


@pytest.mark.parametrize(("kind", "text", "value"), FITS, ids=lambda each: str(each)[:30])
def test_an_answer_becomes_the_value(kind: Any, text: str, value: object) -> None:
    output = Output(kind)
    assert output.misfit(text) is None
    assert output.read(text) == value
    assert misfit_of(output.schema, text) is None


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_schema_is_a_closed_object_that_a_provider_takes(kind: Any) -> None:
    schema = Output(kind).schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert transform_schema(schema)["additionalProperties"] is False
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema


def test_what_the_type_says_is_in_the_schema() -> None:
    assert Output(Point).schema == {
        "type": "object",
        "description": "A place on a map.",
        "properties": {
            "x": {"type": "integer", "minimum": 0, "description": "Steps to the right."},
            "y": {"type": "integer", "default": 0},
        },
        "required": ["x"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "It has no text."),
        ("Here it is.", "DecodeError: JSON is malformed: invalid character (byte 0)."),
        ('{"x":1', "DecodeError: Input data was truncated."),
        ('{"x":"1"}', "Expected `int`, got `str` - at `$.x`."),
        ('{"x":-1}', "Expected `int` >= 0 - at `$.x`."),
        ("{}", "Object missing required field `x`."),
        ("[1]", "Expected `object`, got `array`."),
        ('```json\n{"x":1}\n```', "DecodeError: JSON is malformed: invalid character (byte 0)."),
    ],
)
def test_an_answer_that_does_not_fit_is_told_why(text: str, why: str) -> None:
    assert Output(Point).misfit(text) == why
    assert misfit_of(Output(Point).schema, text) is not None


def test_a_class_may_check_itself() -> None:
    assert Output(Even).misfit('{"number":3}') == "3 is odd."
    assert Output(Even).misfit('{"number":4}') is None
    assert Output(Rude).misfit('{"number":4}') == "RuntimeError: I fail."


class Thing:
    pass


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (dict[str, int], "mapping with any keys"),
        (list[dict[str, int]], "mapping with any keys"),
        (dict, "mapping with any keys"),
        (dict[str, Any], "mapping with any keys"),
        (Any, "may be anything"),
        (Loose, r"output\.anything may be anything"),
        (tuple[int, str], "is a tuple"),
        (list, "list of anything"),
        (Thing, "cannot be asked for"),
        (7, "cannot be asked for"),
        ("Point", "cannot be asked for"),
    ],
)
def test_a_type_that_no_model_can_be_asked_for_is_refused_by_name(kind: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        Output(kind)


def test_the_two_checks_agree_where_only_the_schema_is_at_hand() -> None:
    schema = Output(Trip).schema
    assert schema_misfit(schema, {"stops": [], "mode": "fly"}) == "Expected one of 'train', 'walk' - at `$.mode`."
    assert misfit_of(schema, "{") == "DecodeError: Input data was truncated."
