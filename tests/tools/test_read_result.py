from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from september_engine import Engine, Settings, tool
from september_engine._turn.limits import Limits
from september_engine.events import ToolResult
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, Step, call, say
from september_engine.tools.read_result import read_result
from september_engine.tools.tool import ToolInputError
from tests.engines import Bench, soon

LINES = "\n".join(f"line {number}: 🦊" for number in range(2_000))
LIMITS = Limits(output_bytes=2_000)
NOTE = re.compile(r'Read on with read_result\(result_id="([0-9a-f]{64})", offset=(\d+)\)')
NEXT = re.compile(r"Read on with offset=(\d+)\.")


@tool
async def lines() -> str:
    """Give lines."""
    return LINES


def result_of(request: ModelRequest) -> str:
    content: str = request.prompt.messages[-1]["content"][0]["content"]
    return content


class Reading:
    """A script that reads a large result on to its end."""

    def __init__(self) -> None:
        self.read = ""
        self.id = ""

    def __call__(self, request: ModelRequest) -> Step:
        last = request.prompt.messages[-1]["content"][0]
        if last["type"] == "text":
            return call("lines") if "lines" in last["text"] else call("read_result", result_id=self.id)
        if (note := NOTE.search(last["content"])) is not None:
            self.id = note[1]
            return call("read_result", result_id=self.id, offset=0)
        self.read += last["content"].rpartition("\n[Bytes ")[0]
        following = NEXT.search(last["content"])
        return (
            say("I have it.") if following is None else call("read_result", result_id=self.id, offset=int(following[1]))
        )


async def test_a_large_result_is_given_in_part_and_read_to_its_end() -> None:
    script = Reading()
    bench = Bench()
    async with bench.running(script, tools=[lines], limits=LIMITS) as engine:
        events = await soon(engine.execute("Give me the lines.", task_id="t"))
        assert events[-1].type == "thread_lifecycle"
        sizes = [len(str(event.output).encode()) for event in events if isinstance(event, ToolResult)]
        assert max(sizes) < 2_300
        assert script.read == LINES
    row = await bench.store.task("t")
    assert row is not None
    assert row.head is not None
    facts = await bench.store.turn("t", row.head)
    assert sum(len(fact.body) for fact in facts) < 3 * len(LINES.encode())


async def test_it_can_be_read_in_a_later_process_and_not_from_another_task(tmp_path: Path) -> None:
    script = Reading()
    path = tmp_path / "brain.sqlite"

    def engine() -> Engine:
        return Engine(path, model=ScriptedModel(script), tools=[lines], limits=LIMITS, settings=Settings())

    async with engine() as first:
        await first.execute("Give me the lines.", task_id="t")
    script.read = ""
    async with engine() as second:
        await second.execute("Once more.", task_id="t")
        assert script.read == LINES
        await second.execute("Give me the lines.", task_id="other")
        assert await second.delete("other")
        [refused] = [
            event
            async for event in second.execute("And elsewhere?", task_id="third")
            if isinstance(event, ToolResult) and event.error is not None
        ][:1]
        assert refused.error is not None
        assert refused.error.reason == "not_found"


@pytest.mark.parametrize(
    "input", [{}, {"result_id": ""}, {"result_id": "x", "offset": -1}, {"result_id": "x", "offset": "1"}]
)
def test_what_does_not_fit_is_refused(input: dict[str, object]) -> None:
    with pytest.raises(ToolInputError, match="Invalid input for read_result"):
        read_result.decode(input)


async def test_it_is_there_where_there_are_tools_and_a_tool_of_the_host_takes_its_place() -> None:
    @tool(name="read_result")
    async def mine() -> str:
        """Mine."""
        return "mine"

    async def offered(*tools: Any) -> list[str]:
        model = ScriptedModel([say("Yes.")])
        async with Bench().running(model, tools=tools) as engine:
            await engine.execute("go", task_id="t")
        return [each["description"][:4] for each in model.requests[0].prompt.tools]

    assert await offered() == []
    assert await offered(lines) == ["Give", "Read"]
    assert await offered(mine) == ["Mine"]
