"""Planner: the one short model call before a turn that may be worth a plan. Nothing of it is shown but its plan.

It ends in exactly one input, unless cancelled, and never in the turn's failure: a turn without a plan is a turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

import attrs

from .._context.causes import reason_of
from .._turn.commands import MakePlan
from .._turn.facts import Fact
from .._turn.inputs import PlanFailed, Planned
from .._turn.planning import PLAN_SCHEMA, planning_prompt, steps_of
from ..errors import ModelError
from ..messages import Usage
from ..models.base import Model, ModelRequest, Progress, Reply, checked_chunk, checked_error
from ..models.prices import cost_of
from .isolation import is_cancelled, isolated
from .resources import Resources

__all__ = ["PLANNING_SECONDS", "PlanCall"]

logger = logging.getLogger(__name__)

PLANNING_SECONDS = 30.0
"""A person waits meanwhile: with a slower planner the turn goes on without a plan."""

PLAN_TOKENS = 2048
"""Room for a plan, and for what a model thinks that cannot be told not to."""


@attrs.define(kw_only=True)
class PlanCall:
    """One planning step. `usage` is what it is known to have used so far."""

    command: MakePlan
    facts: Sequence[Fact]
    resources: Resources
    task_id: str
    usage: Usage | None = None

    @property
    def cost_usd(self) -> float | None:
        """What `usage` costs; None where that is unknown."""
        planner = self.resources.planner
        return None if planner is None else cost_of(self.resources.prices, planner.name, self.usage)

    async def run(self) -> Planned | PlanFailed:
        """Ask the planner, once. Cancelling closes its stream."""
        planner, clock = self.resources.planner, self.resources.world.clock
        if planner is None:  # the turn was started by a process that had one
            return self._failed("This engine has no planner.", None)
        outcome = await isolated(self._attempt(planner), clock=clock, seconds=PLANNING_SECONDS)
        if outcome is None:
            outcome = self._failed(f"The planner took longer than {PLANNING_SECONDS:g} seconds.", planner)
        if isinstance(outcome, PlanFailed):
            logger.warning("A turn goes on without a plan. %s", outcome.problem)
        return outcome

    async def _attempt(self, planner: Model) -> Planned | PlanFailed:
        """Raises nothing: whatever goes wrong is an outcome."""
        try:
            prompt = planning_prompt(self.facts, prefix=self.command.prefix)
            prompt = await self.resources.attachments.restored(self.task_id, prompt)
            request = ModelRequest(prompt=prompt, max_tokens=PLAN_TOKENS, output_schema=PLAN_SCHEMA)
            reply = await self._reply(planner, request)
            if reply is None:
                return self._failed("The planner's stream ended without an answer.", planner)
            self.usage = reply.usage
            steps = steps_of(reply.content)
        except ModelError as raised:
            error = checked_error(raised)
            return self._failed(f"{error.code}: {error.message}", planner)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            return self._failed(reason_of(error), planner)
        now = self.resources.world.clock.now_ms()
        cost = cost_of(self.resources.prices, reply.model, reply.usage)
        return Planned(now=now, steps=steps, usage=reply.usage, model=reply.model, cost_usd=cost)

    async def _reply(self, planner: Model, request: ModelRequest) -> Reply | None:
        async with aclosing(planner.stream(request)) as chunks:  # type: ignore[type-var]  # the port asks for a generator
            async for given in chunks:
                chunk = checked_chunk(given)
                if isinstance(chunk, Progress):
                    self.usage = chunk.usage or self.usage
                elif isinstance(chunk, Reply):
                    return chunk
        return None

    def _failed(self, problem: str, planner: Model | None) -> PlanFailed:
        now, name = self.resources.world.clock.now_ms(), None if planner is None else planner.name
        return PlanFailed(now=now, problem=problem, usage=self.usage, model=name, cost_usd=self.cost_usd)
