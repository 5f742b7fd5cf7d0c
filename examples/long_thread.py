"""A thread that outgrows the model's window: what came before is summarised, and nothing is lost from the log.

The model here has a window of 2,000 tokens and remembers one thing, as long as it is told of it.

It prints:

    turn 14: … tokens become … (summary)
    turn 21: … tokens become … (summary)
    turn 28: … tokens become … (summary)
    After 30 turns the thread has 60 messages, and the last request had … of them.
    What is my cat called? Your cat is called Ada.
    And the first message can still be edited: Your cat is called Tom.
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine, Limits
from september_engine.events import CompactionEvent
from september_engine.messages import text_of
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, Step, say

CHAT = "The weather is fine, the tea is hot, and there is nothing else to tell. "


def answer(request: ModelRequest) -> Step:
    """Know only what the request holds, as any model does."""
    given = " ".join(text_of(message["content"]) for message in request.prompt.messages)
    name = "Tom" if "called Tom" in given else "Ada" if "called Ada" in given else "something"
    last = text_of(request.prompt.messages[-1]["content"])
    if last.startswith("Everything above will be taken out"):
        return say(f"The person has a cat that is called {name}, and likes to chat.")
    return say(f"Your cat is called {name}." if "cat" in last else CHAT * 3)


async def main(database: str) -> None:
    model = ScriptedModel(answer, context_window=2_000)
    async with Engine(database, model=model, limits=Limits(max_tokens=200)) as engine:
        first = await engine.execute("My cat is called Ada.", task_id="cats")
        for number in range(2, 31):
            async for event in engine.execute(CHAT * 3, task_id="cats"):
                if isinstance(event, CompactionEvent):
                    print(f"turn {number}: {event.before_tokens} tokens become {event.after_tokens} ({event.strategy})")
        total, sent = len(await engine.messages("cats")), len(model.requests[-1].prompt.messages)
        print(f"After 30 turns the thread has {total} messages, and the last request had {sent} of them.")

        asked = await engine.execute("What is my cat called?", task_id="cats")
        print("What is my cat called?", asked.text)
        edited = await engine.execute("My cat is called Tom.", task_id="cats", edit_message_id=first.user_message_id)
        print("And the first message can still be edited:", edited.text)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
