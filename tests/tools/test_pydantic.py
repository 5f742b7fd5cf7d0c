"""Pydantic's models and constraints in tools and outputs, checked and told by pydantic."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from pydantic import BaseModel, BeforeValidator, Field, PositiveInt, RootModel, StringConstraints, computed_field
from pydantic.dataclasses import dataclass

from september_engine._output import Output
from september_engine.errors import ConfigurationError
from september_engine.tools import Tool, ToolInputError, tool
from september_engine.tools._pydantic import made_with_pydantic


class Guest(BaseModel):
    """Somebody who stays."""

    name: str = Field(min_length=2, alias="Name", description="As in the passport.")
    arrival: dt.date
    tags: set[str] = {"c", "a", "b"}
    seen: dt.datetime = dt.datetime(2026, 1, 1)
    id: uuid.UUID = uuid.UUID(int=1)
    nights: int = Field(default=3, le=30)
    friends: list[Guest] = []

    @pydantic.field_validator("arrival")
    @classmethod
    def not_long_ago(cls, arrival: dt.date) -> dt.date:
        if arrival.year < 2000:
            raise ValueError("that is long ago")
        return arrival

    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.name[0]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    sound: str


class Numbers(RootModel[list[int]]):
    pass


@dataclass
class Limit:
    most: int = Field(le=5)


class Trip(msgspec.Struct):
    guest: Guest
    pet: Cat | Dog | None = None
    seats: Annotated[int, Field(le=5)] = 1


def taking(kind: Any) -> Tool[..., Any]:
    def take(x: Any) -> str:
        """Take it."""
        return ""

    take.__annotations__["x"] = kind
    return tool(take)


ANA = {"Name": "Ana", "arrival": "2026-01-01"}


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (Guest, ANA, Guest(Name="Ana", arrival=dt.date(2026, 1, 1))),
        (Guest, {**ANA, "nights": 4.0}, Guest(Name="Ana", arrival=dt.date(2026, 1, 1), nights=4)),
        (Guest | None, None, None),
        (Cat | Dog, {"kind": "dog", "sound": "w"}, Dog(kind="dog", sound="w")),
        (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cat", "lives": 9}, Cat(kind="cat", lives=9)),
        (Cat | list[int], [1], [1]),
        (Numbers, [1, 2.0], Numbers([1, 2])),
        (Limit, {"most": 5}, Limit(5)),
        (Annotated[int, Field(le=5)], 5.0, 5),
        (PositiveInt, 1, 1),
        (Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)], " ab ", "ab"),
        (Annotated[int, BeforeValidator(int)], "4", 4),
        (Trip, {"guest": ANA, "pet": {"kind": "cat", "lives": 9}}, None),
    ],
    ids=str,
)
def test_what_pydantic_takes_is_taken_as_a_parameter_and_as_an_output(kind: Any, value: Any, meant: Any) -> None:
    if kind is Trip:
        meant = Trip(Guest(Name="Ana", arrival=dt.date(2026, 1, 1)), Cat(kind="cat", lives=9))
    assert taking(kind).decode({"x": value})["x"] == meant
    output = Output(kind)
    wrapped = output.schema["properties"].keys() == {"value"}
    assert output.read(msgspec.json.encode({"value": value} if wrapped else value).decode()) == meant


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (Guest, {**ANA, "nights": "3"}, "Input should be a valid integer - at `$.x.nights`"),
        (Guest, {**ANA, "nights": 31}, "less than or equal to 30 - at `$.x.nights`"),
        (Guest, {**ANA, "arrival": "1999-01-01"}, "that is long ago - at `$.x.arrival`"),
        (Guest, {"arrival": "x"}, "Field required - at `$.x.Name` (also arrival: "),
        (Guest, {**ANA, "friends": [{**ANA, "Name": "a"}]}, "at `$.x.friends[0].Name`"),
        (list[Limit], [{"most": 6}], "less than or equal to 5 - at `$.x[0].most`"),
        (Annotated[int, Field(le=5)], 40, "less than or equal to 5 - at `$.x`"),
        (Annotated[int, Field(le=5)], "3", "valid integer - at `$.x`"),
        (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cow"}, "expected tags: 'cat', 'dog'"),
        (Trip, {"guest": ANA, "seats": 6}, "less than or equal to 5 - at `$.x.seats`"),
        (Annotated[int, pydantic.AfterValidator(lambda value: 1 // 0)], 1, "ZeroDivisionError"),
    ],
    ids=str,
)
def test_what_it_refuses_is_refused_with_the_place(kind: Any, value: Any, says: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        taking(kind).decode({"x": value})
    assert says in caught.value.message


def test_the_model_is_told_what_pydantic_checks() -> None:
    schema = taking(list[Guest]).input_schema
    guest = schema["$defs"]["Guest"]
    assert guest["description"] == "Somebody who stays."
    assert guest["properties"]["Name"] == {"description": "As in the passport.", "minLength": 2, "type": "string"}
    assert guest["properties"]["nights"] == {"default": 3, "maximum": 30, "type": "integer"}
    assert guest["properties"]["tags"]["default"] == ["a", "b", "c"]
    assert "default" not in guest["properties"]["seen"]
    assert "default" not in guest["properties"]["id"]
    assert "title" not in str(schema)


def test_two_models_of_one_name_are_two_parts() -> None:
    def outer(field: str) -> Any:
        inner = pydantic.create_model("Inner", **{field: (int, ...)})  # type: ignore[call-overload]
        return pydantic.create_model(f"Outer{field}", inner=(inner, ...))

    def take(a: Any, b: Any, c: Any) -> str:
        """Take it."""
        return ""

    one, two = outer("x"), outer("y")
    take.__annotations__.update(a=one, b=two, c=one)
    schema = tool(take).input_schema
    references = [schema["properties"][name]["properties"]["inner"]["$ref"] for name in "abc"]
    assert references == ["#/$defs/Inner", "#/$defs/Inner_2", "#/$defs/Inner"]
    assert list(schema["$defs"]["Inner_2"]["properties"]) == ["y"]


def test_what_pydantic_cannot_describe_is_refused_at_the_decorator() -> None:
    class Struct(msgspec.Struct):
        x: int

    with pytest.raises(ConfigurationError, match="pydantic: "):
        taking(Annotated[Struct, Field(alias="y")])


def test_pydantic_is_known_by_what_it_makes() -> None:
    assert made_with_pydantic(Guest)
    assert made_with_pydantic(Field(le=5))
    assert not made_with_pydantic(Trip)
    assert not made_with_pydantic("how many")


def test_it_is_not_imported_for_others_types() -> None:
    code = (
        "import sys\nfrom september_engine import tool\n@tool\ndef f(x: list[int | None]) -> str:\n"
        "    'It.'\n    return ''\nf.decode({'x': [1]})\nassert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
