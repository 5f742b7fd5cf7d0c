"""Tools: typed functions that a model may call. Checked input, errors on purpose, calls at once, and a person's leave.

The model here follows a script, so that the example needs no key and always does the same.

It prints:

    in_stock(item='tea') → {'item': 'tea', 'left': 3}
    in_stock(item='moon') → not_found: We do not sell moon. We sell: coffee, tea.
    in_stock(item=7) → invalid_input: Invalid input for in_stock: Expected `str`, got `int` - at `$.item` (…)
    A person is asked: order(count=2, item='tea')
    order(count=2, item='tea') → 2 tea ordered
    Tea is ordered; there was no moon.
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec

from september_engine import Engine, ToolCall, ToolError, ToolResult, tool
from september_engine.events import HitlRequest
from september_engine.messages import JSON
from september_engine.models.scripted import ScriptedModel, call, say, turn

SHELF = {"tea": 3, "coffee": 5}


class Stock(msgspec.Struct):
    item: str
    left: int


@tool(safe_to_repeat=True)
async def in_stock(item: str) -> Stock:
    """How many of an item are left.

    Args:
        item: What it is called.
    """
    if item not in SHELF:
        raise ToolError(f"We do not sell {item}. We sell: {', '.join(sorted(SHELF))}.", reason="not_found")
    return Stock(item=item, left=SHELF[item])


@tool(requires_permission=True)
def order(item: str, count: Annotated[int, msgspec.Meta(ge=1, le=10, description="How many, at most ten.")] = 1) -> str:
    """Order an item. It costs money, so a person is asked first."""
    SHELF[item] -= count
    return f"{count} {item} ordered"


SCRIPT = [
    turn(call("in_stock", item="tea"), call("in_stock", item="moon"), call("in_stock", item=7)),
    call("order", item="tea", count=2),
    say("Tea is ordered; there was no moon."),
]


async def main(database: str) -> None:
    async with Engine(database, model=ScriptedModel(SCRIPT), tools=[in_stock, order]) as engine:
        calls: dict[str, str] = {}
        results: dict[str, str] = {}
        shopping = engine.execute("Order two packs of tea, and the moon.", task_id="shopping")
        async for event in shopping:
            match event:
                case ToolCall():
                    calls[event.tool_call_id] = written(event.tool, event.input)
                case ToolResult(error=None):
                    results[event.tool_call_id] = str(event.output)
                case ToolResult(error=error) if error is not None:
                    results[event.tool_call_id] = f"{error.reason}: {error.message}"
                case HitlRequest(tool=name, input=input):
                    report(calls, results)
                    print(f"A person is asked: {written(name, input)}")
                    await engine.respond("shopping", "yes", request_id=event.request_id)
        report(calls, results)
        print((await shopping).text)


def written(tool: str | None, input: dict[str, JSON] | None) -> str:
    return f"{tool}({', '.join(f'{name}={value!r}' for name, value in sorted((input or {}).items()))})"


def report(calls: dict[str, str], results: dict[str, str]) -> None:
    """In the order of the calls: results come as they land."""
    for call_id in [call_id for call_id in calls if call_id in results]:
        print(f"{calls.pop(call_id)} → {results.pop(call_id)}")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
