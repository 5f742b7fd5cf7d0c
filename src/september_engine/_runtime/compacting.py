"""Compacting: having what came before told in brief. It ends in exactly one input, whatever happens, unless cancelled.

Asked are the model for summaries, else the provider of the turn's model where it offers to, then the turn's model
itself. Where all of them fail the thread is cut into excerpts: it never gets stuck because nobody could sum it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing

import anyio

from .._context.check import COMPACTION
from .._context.tokens import prompt_tokens
from .._turn.commands import Compact
from .._turn.compaction import SUMMARISE, Cut, Told, cut_of, excerpts, leaner, most_summary_bytes, outcome, summary_text
from .._turn.facts import Fact
from .._turn.history import prompt_of
from .._turn.inputs import Summarised
from .._turn.limits import backoff_ms
from ..errors import ModelError
from ..messages import Usage, text_of
from ..models.base import Model, ModelRequest, Progress, Reply, compacts, window_of
from .effects import Resources, is_cancelled

__all__ = ["Compaction"]


class Compaction:
    """One compaction. `usage` is what it is known to have cost so far."""

    def __init__(self, command: Compact, *, facts: Sequence[Fact], resources: Resources) -> None:
        self._command = command
        self._facts = facts
        self._resources = resources
        self._model = resources.answering(command.fallback)
        whole = prompt_of(facts, prefix=command.prefix, model=self._model.name)
        self._measure = command.context / max(prompt_tokens(whole), 1)
        self._clock = resources.world.clock
        self._progress: float | None = None
        self._scope = anyio.CancelScope()
        self._spent = Usage()
        self._running: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        total = self._spent + (self._running or Usage())
        return None if total == Usage() else total

    async def run(self) -> Summarised:
        """Cut, have the rest told, and say how much that saves. Cancelling closes the provider's stream."""
        cut = cut_of(self._facts, self._command, model=self._model.name)
        told = await self._told(cut)
        now = self._clock.now_ms()
        return outcome(self._facts, self._command, cut, told, now=now, model=self._model.name)

    def patience(self, now: float) -> float:
        """Seconds that the model may still be silent; at 0 this attempt is given up."""
        left = self._resources.progress_timeout
        if self._progress is not None:
            left += self._progress - now
            if left <= 0:
                self._scope.cancel()
        return max(left, 0.0)

    async def _told(self, cut: Cut) -> Told:
        most = most_summary_bytes(self._command)
        for ask, strategy, model in self._ways(cut):
            reply = await self._asked(model, ask)
            if reply is None:
                continue
            block = next((block for block in reply.content if block.get("type") == COMPACTION), None)
            text = block.get("content") if block is not None else text_of(reply.content)
            if isinstance(text, str) and text.strip():
                summary = summary_text(text, most)
                return Told(text=summary, strategy=strategy, block=block, model=model.name, usage=self.usage)
        summary = summary_text(excerpts(cut.dropped, most), most)
        return Told(text=summary, strategy="excerpts", usage=self.usage)

    def _ways(self, cut: Cut) -> Iterator[tuple[ModelRequest, str, Model]]:
        """Who is asked for what, in this order. What cannot fit its model is asked with less of the results, or not."""
        light = self._resources.light
        if light is not None:
            yield from self._fitting(light, "summary", cut)
        elif compacts(self._model):
            yield from self._fitting(self._model, "provider", cut)
        yield from self._fitting(self._model, "summary", cut)

    def _fitting(self, model: Model, strategy: str, cut: Cut) -> Iterator[tuple[ModelRequest, str, Model]]:
        own = strategy == "provider"
        prompt = prompt_of(cut.dropped, prefix=self._command.prefix, model=model.name, ask="" if own else SUMMARISE)
        window, most = self._command.window if model is self._model else window_of(model), self._command.max_tokens
        for tried in (prompt, leaner(prompt)) if cut.dropped else ():
            if window is None or prompt_tokens(tried) * self._measure + most <= window:
                yield ModelRequest(prompt=tried, max_tokens=most, compact=own), strategy, model
                return

    async def _asked(self, model: Model, request: ModelRequest) -> Reply | None:
        """The reply, after a few attempts where that may help; None where there is none to be had."""
        for attempt in range(1, self._command.attempts + 1):
            try:
                return await self._attempt(model, request)
            except ModelError as error:
                failed = error
            except (Exception, asyncio.CancelledError) as error:  # a model must raise ModelError only
                if is_cancelled(error):
                    raise
                return None
            finally:
                self._spent, self._running, self._progress = self._spent + (self._running or Usage()), None, None
            if not failed.retryable or attempt == self._command.attempts:
                return None
            wait = backoff_ms(attempt, failed.retry_after, self._resources.world.chance())
            await self._clock.sleep(wait / 1000)
        return None

    async def _attempt(self, model: Model, request: ModelRequest) -> Reply:
        self._scope = anyio.CancelScope()
        with self._scope:
            self._progress = self._clock.monotonic()
            async with aclosing(model.stream(request)) as chunks:  # type: ignore[type-var]  # a generator, by the port
                async for chunk in chunks:
                    self._progress = self._clock.monotonic()
                    if isinstance(chunk, Progress):
                        self._running = chunk.usage or self._running
                    elif isinstance(chunk, Reply):
                        self._running = chunk.usage
                        return chunk
        raise ModelError("The model's stream ended without a summary.", retryable=True)
