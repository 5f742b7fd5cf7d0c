"""Compacting: having what came before summarised. It ends in exactly one input, whatever happens, unless cancelled.

Asked is the model for summaries, or, without one, the provider of the turn's model where it offers to; then the turn's
model itself. Where they fail, excerpts take the place of a summary: no thread gets stuck because nobody could make one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from .._context.causes import reason_of
from .._context.check import COMPACTION
from .._context.tokens import prompt_tokens
from .._turn.commands import Compact
from .._turn.compaction import (
    SUMMARISE,
    Cut,
    Summary,
    cut_of,
    excerpts,
    leaner,
    most_summary_bytes,
    outcome,
    summary_text,
)
from .._turn.facts import Fact
from .._turn.history import prompt_of
from .._turn.inputs import Summarised
from .._turn.limits import backoff_ms
from ..errors import ModelError
from ..messages import Usage, text_of, tool_uses
from ..models.base import Model, ModelRequest, Progress, Reply, checked_chunk, checked_error, compacts, window_of
from ..models.prices import cost_of
from .isolation import is_cancelled
from .resources import Resources
from .stopwatch import Patience

__all__ = ["Compaction"]

logger = logging.getLogger(__name__)


class Compaction:
    """One compaction. `usage` and `cost_usd` are what it is known to have taken so far; a cost of None is unknown."""

    def __init__(self, command: Compact, *, facts: Sequence[Fact], resources: Resources, task_id: str) -> None:
        self._command = command
        self._task_id = task_id
        self._facts = facts
        self._resources = resources
        self._model = resources.answering(command.fallback)
        whole = prompt_of(facts, prefix=command.prefix, model=self._model.name)
        self._measure = command.context / max(prompt_tokens(whole), 1)
        self._clock = resources.world.clock
        self.patience = Patience(self._clock, resources.progress_timeout)
        self._spent: list[tuple[str, Usage]] = []
        self._running: tuple[str, Usage] | None = None

    @property
    def usage(self) -> Usage | None:
        total = sum((usage for _, usage in self._parts), Usage())
        return None if total == Usage() else total

    @property
    def cost_usd(self) -> float | None:
        """By the model of each attempt; unknown where that of one is."""
        costs = [cost_of(self._resources.prices, model, usage) for model, usage in self._parts]
        known = [cost for cost in costs if cost is not None]
        return round(sum(known), 10) if len(known) == len(costs) else None

    @property
    def _parts(self) -> Sequence[tuple[str, Usage]]:
        return self._spent if self._running is None else [*self._spent, self._running]

    async def run(self) -> Summarised:
        """Cut, have the rest summarised, and say how much that saves. Cancelling closes the provider's stream."""
        cut = cut_of(self._facts, self._command, model=self._model.name)
        summary = await self._summary(cut)
        now = self._clock.now_ms()
        return outcome(self._facts, self._command, cut, summary, now=now, model=self._model.name)

    async def _summary(self, cut: Cut) -> Summary:
        most = most_summary_bytes(self._command)
        for ask, strategy, model in self._ways(cut):
            whole = await self._resources.attachments.restored(self._task_id, ask.prompt)
            reply = await self._asked(model, replace(ask, prompt=whole))
            if reply is None or reply.stop_reason == "refusal" or tool_uses(reply.content):
                continue  # what stands in such a reply is no summary, however it reads
            block = next((block for block in reply.content if block.get("type") == COMPACTION), None)
            text = block.get("content") if block is not None else text_of(reply.content)
            if isinstance(text, str) and text.strip():
                return Summary(
                    text=summary_text(text, most),
                    strategy=strategy,
                    block=block,
                    model=model.name,
                    usage=self.usage,
                    cost_usd=self.cost_usd,
                )
        text = summary_text(excerpts(cut.dropped, most), most)
        return Summary(text=text, strategy="excerpts", usage=self.usage, cost_usd=self.cost_usd)

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
                failed = checked_error(error)
            except (Exception, asyncio.CancelledError) as error:  # a model must raise ModelError only
                if is_cancelled(error):
                    raise
                failed = ModelError(f"The model adapter failed: {reason_of(error)}")
            finally:
                self._spent, self._running = [*self._parts], None
            if not failed.retryable or attempt == self._command.attempts:
                logger.warning("%s made no summary. %s: %s", model.name, failed.code, failed.message)
                return None
            wait = backoff_ms(attempt, failed.retry_after, self._resources.world.chance())
            await self._clock.sleep(wait / 1000)
        return None

    async def _attempt(self, model: Model, request: ModelRequest) -> Reply:
        with self.patience.over():
            async with aclosing(model.stream(request)) as chunks:  # type: ignore[type-var]  # a generator, by the port
                async for given in chunks:
                    chunk = checked_chunk(given)
                    self.patience.heard()
                    if isinstance(chunk, Progress):
                        self._running = self._running if chunk.usage is None else (model.name, chunk.usage)
                    elif isinstance(chunk, Reply):
                        self._running = (chunk.model, chunk.usage)
                        return chunk
        raise ModelError("The model's stream ended without a summary.", retryable=True)
