"""Long-term memory: what was said in one conversation is known in the next, and every item says why it came.

It prints:

    The agent remembered: Remembered as mem_….
    In another conversation it was told:
      user, home town: Bergen (stated)
    Why the first of them: Recalled because it holds 'town', and it is about them. It came from task monday.
    After a new fact: Oslo, and before that Bergen
    In a new home: 6 memories, and the same again: 0
"""

from __future__ import annotations

import asyncio
import json
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine, ToolResult
from september_engine.memory.base import Knowledge
from september_engine.models.scripted import ScriptedModel, call, say


async def main(database: str) -> None:
    remember = call("remember", kind="knowledge", subject="user", attribute="home town", content="Bergen")
    model = ScriptedModel([remember, say("Welcome to Bergen!"), say("In Bergen.")])
    async with Engine(database, model=model, memory=True) as engine:
        async for event in engine.execute("I moved to Bergen last week!", task_id="monday"):
            if isinstance(event, ToolResult):
                print(f"The agent remembered: {event.output}")

        await engine.execute("In which town do I live now?", task_id="friday")
        [_, told] = model.requests[-1].prompt.messages[-1]["content"]
        print("In another conversation it was told:")
        for line in told["text"].splitlines()[2:-1]:
            memory = json.loads(line)
            print(f"  {memory['text']} ({memory['trust']})")

        [hit] = await engine.memory.recall("In which town do I live now?", limit=1)
        print(f"Why the first of them: {hit.why} It came from task {hit.task_id}.")

        [now] = await engine.memory.remember(Knowledge(subject="user", attribute="home town", content="Oslo"))
        [before, _] = await engine.memory.history(now.id)
        assert isinstance(before, Knowledge)
        print(f"After a new fact: Oslo, and before that {before.content}")
        await engine.remembered()  # what the last turn leaves is written in the background
        bundle = await engine.memory.export_bundle()

    async with Engine(":memory:", model=model, memory=True) as other:
        taken, again = await other.memory.import_bundle(bundle), await other.memory.import_bundle(bundle)
        print(f"In a new home: {taken} memories, and the same again: {again}")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
