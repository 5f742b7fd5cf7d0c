"""Distilling: a small model draws facts from what was said, in the background, several turns at once.

It begins with what is said after it was first switched on. How far it has come is kept beside the memories, so it goes
on after a restart; a batch that was remembered and not ticked off is asked again, and its ids keep it from doubling.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

import anyio

from .._context.causes import reason_of
from .._memory.distilling import DISTIL_SCHEMA, DISTILLED, distillable, distilled, distilling_prompt, drawn_from
from .._memory.records import Episode
from .._memory.rules import is_erased
from .._seams import Clock
from ..errors import InvalidRequest, ModelError
from ..memory.base import LongTerm
from ..messages import text_of
from ..models.base import Model, ModelRequest, Reply, checked_chunk
from .isolation import is_cancelled, isolated

__all__ = ["Distilling"]

logger = logging.getLogger(__name__)

TURNS = 4
"""A call is made for this many turns together."""

PATIENCE_SECONDS = 300.0
"""With fewer, how long they wait for more."""

CALL_SECONDS = 120.0
ERASED_MEANWHILE = "what it was drawn from was erased"
PAGE = 40
"""Episodes of one call: twice as many as turns."""

TOKENS = 4_096
ATTEMPTS = 3
"""After this many useless answers a batch is given up, and so is one that the provider refuses as it is: each time
half as much is asked. A provider that only fails is asked again later, however often.
"""


class Distilling:
    """What draws facts from a memory's episodes and puts them into it."""

    def __init__(self, memory: LongTerm, *, model: Model, clock: Clock) -> None:
        self._memory = memory
        self._model = model
        self._clock = clock
        self._turns = 0
        self._arrived = anyio.Event()
        self._wasted = 0

    def went_on(self) -> None:
        """A turn was remembered."""
        self._turns += 1
        self._arrived.set()

    async def run(self) -> None:
        """Until cancelled. Nothing that goes wrong ends it."""
        while True:
            try:
                await self._begin()
                while await self.step():
                    pass
            except Exception as error:
                logger.warning("What was said is not distilled for now. %s", reason_of(error))
                self._arrived.set()  # it is tried again, though nobody may say anything more
            await self._more()

    async def _more(self) -> None:
        """Wait until there are turns enough, or until some have waited for so long."""
        await self._arrived.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(self._lose_patience, group.cancel_scope)
            while self._turns < TURNS:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            group.cancel_scope.cancel()
        self._turns, self._arrived = 0, anyio.Event()

    async def _lose_patience(self, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(PATIENCE_SECONDS)
        scope.cancel()

    async def _begin(self) -> None:
        """The first time: what is there already is not gone through."""
        if await self._memory.marked(DISTILLED) is not None:
            return
        last = ""
        while page := await self._memory.page(kinds=["episode"], past=True, after=last or None, limit=2_000):
            last = page[-1].id
        await self._memory.mark(DISTILLED, last)

    async def step(self) -> bool:
        """Distil one batch; False where nothing is left.

        Raises what memory and model raise, and `ValueError` for an answer that is no use; then nothing is ticked off.
        """
        after = await self._memory.marked(DISTILLED)
        page = await self._memory.page(kinds=["episode"], after=after or None, limit=PAGE >> self._wasted)
        if not page:
            return False
        episodes = distillable(page)
        if episodes:
            try:
                found = distilled(await self._ask(episodes), episodes)
                if await self._memory.known([episode.id for episode in episodes]) != episodes:
                    return True  # some were left or forgotten meanwhile: the others are asked about alone
                await self._memory.remember(*found, repeat=True)
                gone = [
                    memory for memory in await self._memory.known([each.id for each in episodes]) if is_erased(memory)
                ]
                await self._memory.erase_all(
                    [memory.id for memory in drawn_from(found, gone)], because=ERASED_MEANWHILE
                )
            except (ValueError, InvalidRequest, ModelError) as error:
                if isinstance(error, ModelError) and not (error.bad_history or error.code == "CONTEXT_OVERFLOW"):
                    raise
                self._wasted += 1
                if self._wasted < ATTEMPTS:
                    raise
                logger.warning("%d messages are not distilled: the answers were no use.", len(episodes))
        self._wasted = 0
        await self._memory.mark(DISTILLED, page[-1].id)
        return True

    async def _ask(self, episodes: Sequence[Episode]) -> str:
        """The text of the answer. Raises what the model raises, and `TimeoutError`."""
        prompt = distilling_prompt(episodes)
        request = ModelRequest(prompt=prompt, max_tokens=TOKENS, output_schema=DISTIL_SCHEMA)
        outcome = await isolated(self._answer(request), clock=self._clock, seconds=CALL_SECONDS)
        if outcome is None:
            raise TimeoutError(f"The model took longer than {CALL_SECONDS:g} seconds.")
        if isinstance(outcome, Exception):
            raise outcome
        usage = {"input_tokens": outcome.usage.input_tokens, "output_tokens": outcome.usage.output_tokens}
        logger.info("distilled", extra={"extra": {"model": outcome.model, **usage}})
        return text_of(outcome.content)

    async def _answer(self, request: ModelRequest) -> Reply | Exception:
        """Raises nothing: what goes wrong is returned."""
        try:
            async with aclosing(self._model.stream(request)) as chunks:  # type: ignore[type-var]  # as in the planner
                async for given in chunks:
                    chunk = checked_chunk(given)
                    if isinstance(chunk, Reply):
                        return chunk
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            return error if isinstance(error, Exception) else RuntimeError("The model gave up.")
        return RuntimeError("The model's stream ended without an answer.")
