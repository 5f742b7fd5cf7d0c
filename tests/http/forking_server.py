"""A server whose tool forks, and starts a command that inherits what it can; both go on when the server has ended."""

from __future__ import annotations

import os
import signal
import sys
import time

from september_engine import Engine, Settings, tool
from september_engine.http.serve import serve_engine
from september_engine.models.scripted import ScriptedModel, call, say

SECONDS = 60


@tool
def spread() -> list[int]:
    """Fork, and run a command in the background."""
    os.system(f"sleep {SECONDS} >/dev/null 2>&1 & echo $! > pid")
    if (child := os.fork()) == 0:
        try:
            os.closerange(1, 3)  # the output is the program's own, and the test waits for its end
            time.sleep(SECONDS)
        finally:
            os._exit(0)
    with open("pid") as pid:
        return [child, int(pid.read())]


if __name__ == "__main__":
    model = ScriptedModel([call("spread"), say("Done.")])
    signal.alarm(SECONDS)
    serve_engine(Engine(model=model, tools=[spread], settings=Settings.from_env()), port=int(sys.argv[1]))
