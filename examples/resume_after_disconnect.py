"""Resume: a client leaves in the middle of an answer. The turn goes on without it, and it comes back for the rest.

The model follows a script that waits where the client leaves, so that this example always does the same.

It prints:

    The client has read 'Once upon a tim' and is gone.
    The turn went on without it and ended: end_turn
    The client is back and reads 'e there was an engine that did not need you to watch.'
"""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory

from september_engine import Engine, TextDelta
from september_engine.models.scripted import ScriptedModel, say


async def main(database: str) -> None:
    gone = asyncio.Event()
    story = say("Once upon a time there was an engine that did not need you to watch.", hold=gone, at=3)
    async with Engine(database, model=ScriptedModel([story])) as engine:
        turn = engine.execute("Tell me a story.", task_id="story")
        read = ""
        async for event in turn:
            if isinstance(event, TextDelta):
                read += event.text
            if len(read) == 15:
                break  # a closed tab, a lost network: reading stops, the turn does not
        print(f"The client has read {read!r} and is gone.")
        gone.set()
        print(f"The turn went on without it and ended: {(await turn).stop_reason}")

        # `cursor` is the time of the last event read. Over HTTP it is the SSE id, and GET /execute/replay takes it.
        missed = [event async for event in engine.replay(task_id="story", after=turn.cursor)]
        print(f"The client is back and reads {''.join(e.text for e in missed if isinstance(e, TextDelta))!r}")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
