"""Working memory: what an agent must still know later, by key and type; your program reads and writes it, too.

It prints:

    city = Rome
    The agent has noted {'city': 'Rome'}.
    A wrong type is refused: The value of 'budget' does not fit: Expected `int`, got `str`.
    The model was shown: city: "Rome", budget: 300
    After an edit of the first message: {}
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine, InvalidRequest
from september_engine.events import WorkingMemoryUpdate
from september_engine.models.scripted import ScriptedModel, call, say


async def main(database: str) -> None:
    model = ScriptedModel([call("note", key="city", value="Rome"), say("Noted."), say("Rome, for 300."), say("Hello.")])
    async with Engine(database, model=model, notes={"city": str, "budget": int}) as engine:
        asked = engine.execute("I want to go to Rome.", task_id="trip")
        async for event in asked:
            if isinstance(event, WorkingMemoryUpdate):
                print(f"{event.key} = {event.value}")
        print(f"The agent has noted {await engine.notes.get('trip')}.")

        try:
            await engine.notes.set("trip", "budget", "300")
        except InvalidRequest as error:
            print(f"A wrong type is refused: {error.message}")
        await engine.notes.set("trip", "budget", 300, minutes=60)

        await engine.execute("Where to, and for how much?", task_id="trip")
        [_, shown] = model.requests[-1].prompt.messages[-1]["content"]
        print("The model was shown:", ", ".join(shown["text"].splitlines()[2:-1]))

        first = (await asked).user_message_id
        await engine.execute("Hello.", task_id="trip", edit_message_id=first)
        print(f"After an edit of the first message: {await engine.notes.get('trip')}")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
