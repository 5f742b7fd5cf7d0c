"""What the type checker must say to users. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, assert_type

import msgspec

from september_engine import BlockingEngine, Engine, Turn, TurnResult
from september_engine._demo import DEMO_TOOLS
from september_engine.tools import Tool, tool


@tool
async def word_count(text: str) -> int:
    return len(text.split())


@tool(name="add-up", timeout=None)
def add(left: int, right: int = 1) -> float:
    return left + right


class Shop:
    def price(self, item: str) -> int:
        return len(item)


coroutine = assert_type(word_count("a"), Coroutine[Any, Any, int])
assert_type(add(1), float)
assert_type(tool(Shop().price)("x"), int)
assert_type(word_count.decode({"text": "a"}), dict[str, object])
refused = word_count(1)  # type: ignore[arg-type]
add(1, 2, 3)  # type: ignore[call-arg]
tools: list[Tool[..., Any]] = [word_count, add]


class Trip(msgspec.Struct):
    city: str


class Stay(msgspec.Struct):
    nights: int


async def turns(engine: Engine, blocking: BlockingEngine) -> None:
    assert_type(engine.execute("Hi", task_id="t"), Turn[None])
    assert_type(engine.execute("Hi", task_id="t", output=Trip), Turn[Trip])
    assert_type((await engine.execute("Hi", task_id="t", output=Trip)).output, Trip)
    assert_type((await engine.execute("Hi", task_id="t", output=list[Trip])).output, list[Trip])
    assert_type((await engine.execute("Hi", task_id="t", output=Literal["yes", "no"])).output, Literal["yes", "no"])
    assert_type((await engine.execute("Hi", task_id="t", output=Trip | None)).output, Trip | None)
    assert_type((await engine.execute("Hi", task_id="t", output=Trip | Stay)).output, Trip | Stay)
    assert_type(blocking.execute("Hi", task_id="t", output=Literal["yes"]).result().output, Literal["yes"])
    assert_type(blocking.execute("Hi", task_id="t", output=Trip | None).result().output, Trip | None)
    engine.execute("Hi", task_id="t", output=5)  # type: ignore[call-overload]
    maybe: type[Trip] | None = Trip
    assert_type(engine.execute("Hi", task_id="t", output=maybe), Turn[Trip])
    assert_type((await engine.execute("Hi", task_id="t")).cost_usd, float | None)
    assert_type(blocking.execute("Hi", task_id="t", output=Trip).result().output, Trip)
    plain: Turn = engine.execute("Hi", task_id="t")  # what needs no parameter may go without
    result: TurnResult = await plain
    assert_type(result.output, None)


def engine() -> Engine:
    Engine("brain.sqlite", tools=DEMO_TOOLS)
    return Engine(tools=[word_count, add])
