"""Edit and retry: a thread goes on from an earlier message. Nothing is lost; the old branch stays readable.

The model here only says what it was given, so that one can see what still counts.

It prints:

    > My cat is called Tom.             I was told: My cat is called Tom.
    > How old is it?                    I was told: My cat is called Tom. + How old is it?
    edit: My cat is called Ada.         I was told: My cat is called Ada.
    retry:                              I was told: My cat is called Ada.
    The thread has 3 branches and stands on the newest.
    It now reads: My cat is called Ada. / I was told: My cat is called Ada.
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine
from september_engine.messages import text_of
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, Step, say


def told(request: ModelRequest) -> Step:
    said = [text_of(message["content"]) for message in request.prompt.messages if message["role"] == "user"]
    return say(f"I was told: {' + '.join(said)}")


async def main(database: str) -> None:
    async with Engine(database, model=ScriptedModel(told)) as engine:
        first = await engine.execute("My cat is called Tom.", task_id="cats")
        print(f"{'> My cat is called Tom.':36}{first.text}")
        second = await engine.execute("How old is it?", task_id="cats")
        print(f"{'> How old is it?':36}{second.text}")

        edited = await engine.execute("My cat is called Ada.", task_id="cats", edit_message_id=first.user_message_id)
        print(f"{'edit: My cat is called Ada.':36}{edited.text}")

        # an answer's id means the message that it answers; `message` is required and not used
        again = await engine.execute("(again)", task_id="cats", retry_message_id=edited.message_id)
        print(f"{'retry:':36}{again.text}")

        branches = (await engine.task("cats")).branches
        newest = "the newest" if branches[-1].current else "another one"
        print(f"The thread has {len(branches)} branches and stands on {newest}.")
        print("It now reads:", " / ".join(text_of(message.content) for message in await engine.messages("cats")))


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
