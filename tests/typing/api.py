"""What the type checker must say to users. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from september_engine import Engine
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


def engine() -> Engine:
    Engine("brain.sqlite", tools=DEMO_TOOLS)
    return Engine(tools=[word_count, add])
