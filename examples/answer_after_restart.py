"""Answer after a restart: a turn waits for people, its engine is closed, and another one takes the answers.

While it waits, a turn needs no process: it is in the file. The model is a function of what it is given, so the one
after the restart goes on where the one before it stopped.

It prints:

    The engine is closed. Tables reserved: []
    Another engine on the same file. It waits for:
      question on 'dinner': Indoors or outdoors?
      permission on 'dinner': reserve {'guests': 4, 'hour': 19}
    A new message on that task is refused: HITL_REQUIRED
    The turn goes on.
      ask_user → Outdoors, please.
      reserve → table for 4 at 19:00
    A second answer is refused: HITL_ALREADY_ANSWERED, the recorded one is 'yes'
    > I was told: Outdoors, please. / table for 4 at 19:00
    Tables reserved: ['table for 4 at 19:00']
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine, EngineError, ToolResult, tool
from september_engine.events import HitlRequest
from september_engine.messages import text_of
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, say, turn
from september_engine.tools.ask_user import ask_user

RESERVED: list[str] = []


@tool(requires_permission=True)
def reserve(guests: int, hour: int) -> str:
    """Reserve a table. It costs a deposit, so a person is asked first."""
    RESERVED.append(f"table for {guests} at {hour}:00")
    return RESERVED[-1]


def waiter(request: ModelRequest) -> Step | Answer:
    results = [block for block in request.prompt.messages[-1]["content"] if block["type"] == "tool_result"]
    if not results:
        return turn(call("ask_user", question="Indoors or outdoors?"), call("reserve", guests=4, hour=19))
    return say(f"I was told: {' / '.join(result['content'] for result in results)}")


def engine_on(database: str) -> Engine:
    return Engine(database, model=ScriptedModel(waiter), tools=[ask_user, reserve])


async def main(database: str) -> None:
    async with engine_on(database) as engine:
        waits = 0
        async for event in engine.execute("A table for four at seven.", task_id="dinner"):
            waits += isinstance(event, HitlRequest)
            if waits == 2:
                break
    print(f"The engine is closed. Tables reserved: {RESERVED}")

    async with engine_on(database) as engine:
        print("Another engine on the same file. It waits for:")
        question, permission = await engine.pending()
        print(f"  question on {question.task_id!r}: {question.question}")
        print(f"  permission on {permission.task_id!r}: {permission.tool} {permission.input}")
        try:
            await engine.execute("Hello?", task_id="dinner")
        except EngineError as error:
            print(f"A new message on that task is refused: {error.code}")

        # in any order; each request has one answer
        await engine.respond("dinner", "yes", request_id=permission.request_id)
        await engine.respond("dinner", "Outdoors, please.", request_id=question.request_id)
        print("The turn goes on.")
        results = {}
        async for event in engine.replay(task_id="dinner"):
            if isinstance(event, ToolResult):
                results[event.tool] = event.output
        for name in sorted(results):
            print(f"  {name} → {results[name]}")
        try:
            await engine.respond("dinner", "no", request_id=permission.request_id)
        except EngineError as error:
            print(f"A second answer is refused: {error.code}, the recorded one is {error.details['answer']!r}")
        print(f"> {text_of((await engine.messages('dinner'))[-1].content)}")
    print(f"Tables reserved: {RESERVED}")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
