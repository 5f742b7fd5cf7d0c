"""Person: somebody at the terminal, who is asked what a turn waits for."""

from __future__ import annotations

from typing import TextIO

import anyio
import msgspec

from ._context.text import visible
from ._runtime.isolation import in_thread
from ._terminal import BOLD, DIM, Terminal
from .engine import Engine
from .errors import HitlAlreadyAnswered, HitlNotPending, InvalidRequest
from .events import HitlRequest

__all__ = ["Person"]

NO = ("n", "no", "")
YES = ("y", "yes")
ALWAYS = ("a", "always")
OPEN = "The request stays open; the same command asks again."


class Person:
    """Reads answers from a text stream, one line each."""

    def __init__(self, lines: TextIO, terminal: Terminal) -> None:
        self._lines = lines
        self._terminal = terminal
        self._limiter = anyio.CapacityLimiter(1)

    async def answer(self, engine: Engine, request: HitlRequest) -> bool:
        """Ask until the request is answered; False where nobody is there, and the request stays open.

        Cancelling leaves it open, too. A permission needs a "y"; "n" or nothing is a no, and so is any other text,
        which the model is then told.
        """
        self._show(request)
        while (said := await self._line(_prompt(request))) is not None:
            try:
                await self._respond(engine, request, said.strip())
            except InvalidRequest as error:
                self._terminal.line(error.message, DIM)
                continue
            except (HitlAlreadyAnswered, HitlNotPending) as error:
                self._terminal.line(error.message, DIM)
            return True
        self._terminal.line(f"Nobody is here to answer. {OPEN}", DIM)
        return False

    async def _respond(self, engine: Engine, request: HitlRequest, said: str) -> None:
        answer, feedback, remember = said, None, False
        if request.kind == "permission":
            answer = "yes" if said.lower() in (*YES, *ALWAYS) else "no"
            remember = said.lower() in ALWAYS
            feedback = None if answer == "yes" or said.lower() in NO else said
        await engine.respond(
            request.task_id, answer, request_id=request.request_id, feedback=feedback, remember=remember
        )

    def _show(self, request: HitlRequest) -> None:
        """All of what would run: nobody can allow what they were not shown."""
        self._terminal.line(f"? {visible(request.question)}", BOLD)
        for name, value in (request.input or {}).items():
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            first, *more = text.split("\n")
            self._terminal.line(f"  {visible(name)}: {visible(first)}")
            for line in more:
                self._terminal.line(f"  {' ' * len(name)}  {visible(line)}")
        for rule in request.remember or ():
            self._terminal.line(f"  (always: {visible(rule)})", DIM)

    async def _line(self, prompt: str) -> str | None:
        self._terminal.say(prompt, BOLD)
        # a daemon thread: a read that nobody answers must not keep the program from ending
        try:
            line = await in_thread(self._lines.readline, limiter=self._limiter, name="september-engine-person")
        except anyio.get_cancelled_exc_class():
            self._terminal.line(OPEN, DIM)
            raise
        self._terminal.end_line(echoed=self._lines.isatty() and line.endswith("\n"))
        return line or None


def _prompt(request: HitlRequest) -> str:
    if request.kind == "question":
        return "> "
    always = ", [a]lways in this task" if request.remember else ""
    return f"[y]es, [N]o{always}, or say what to do instead: "
