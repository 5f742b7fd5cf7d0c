"""Plans: a planner says before a turn whether it is worth one; the agent keeps it up to date as it works.

It prints:

    > Hello!
    Hello. What can I do for you?
    > Count the words of both texts and tell me which is longer.
    plan: [ ] Count the first text  [ ] Count the second text  [ ] Compare
    plan: [x] Count the first text  [x] Count the second text  [>] Compare
    plan: [x] Count the first text  [x] Count the second text  [x] Compare
    The second one: 4 words, and the first has 2.
    The planner was asked 1 time. The plan is stored: 3 steps.
    After an edit from before it there is none: []
"""

from __future__ import annotations

import asyncio
import json
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine, TextDelta, tool
from september_engine.events import Plan
from september_engine.messages import JSON
from september_engine.models.scripted import ScriptedModel, Step, call, say, turn

STEPS = ["Count the first text", "Count the second text", "Compare"]
MARKS = {"pending": "[ ]", "active": "[>]", "done": "[x]", "dropped": "[-]"}


@tool
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def update(*statuses: str) -> Step:
    rows = zip(STEPS, statuses, strict=True)
    steps: list[JSON] = [{"id": str(n), "title": title, "status": status} for n, (title, status) in enumerate(rows, 1)]
    return call("update_plan", steps=steps)


async def ask(engine: Engine, message: str) -> str:
    print(f"> {message}")
    asked = engine.execute(message, task_id="texts")
    async for event in asked:
        match event:
            case TextDelta(text=text):
                print(text, end="")
            case Plan(steps=steps):
                print("plan:", "  ".join(f"{MARKS[step.status]} {step.title}" for step in steps))
    print()
    return (await asked).user_message_id


async def main(database: str) -> None:
    # with a key: Engine(planner="claude-haiku-5-5"), or PLANNER_MODEL=claude-haiku-5-5
    planner = ScriptedModel([say(json.dumps({"worthwhile": True, "steps": STEPS}))])
    model = ScriptedModel(
        [
            say("Hello. What can I do for you?"),
            turn(call("word_count", text="to be"), call("word_count", text="or not to be")),
            update("done", "done", "active"),
            update("done", "done", "done"),
            say("The second one: 4 words, and the first has 2."),
            say("Goodbye."),
        ]
    )
    async with Engine(database, model=model, planner=planner, tools=[word_count]) as engine:
        first = await ask(engine, "Hello!")
        await ask(engine, "Count the words of both texts and tell me which is longer.")
        stored = await engine.plan("texts")
        print(f"The planner was asked {len(planner.requests)} time. The plan is stored: {len(stored)} steps.")
        await engine.execute("Goodbye!", task_id="texts", edit_message_id=first)
        print("After an edit from before it there is none:", await engine.plan("texts"))


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
