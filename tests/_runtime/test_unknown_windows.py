"""Threads on models that do not say how large their window is: the provider's refusal is all there is to go by."""

from __future__ import annotations

import pytest

from september_engine import Limits
from september_engine._context.tokens import prompt_tokens
from september_engine.events import CompactionEvent
from september_engine.messages import Usage
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, fail, say, turn
from tests.engines import Bench, soon

from .test_long_threads import TOO_LONG, is_summary


@pytest.mark.parametrize("claimed", [None, 200_000])
@pytest.mark.parametrize("tokens_per_guess", [0.75, 1.3, 2.5])
async def test_a_small_window_that_nobody_knows_of_is_kept_to_as_well(
    tokens_per_guess: float, claimed: int | None
) -> None:
    window, refused = 4_000, 0

    def answer(request: ModelRequest) -> Step | Answer:
        nonlocal refused
        size = int(prompt_tokens(request.prompt) * tokens_per_guess)
        if size + request.max_tokens > window:
            refused += 1
            return fail(TOO_LONG)
        said = say("So it went. " * 20) if is_summary(request) else say("Yes. " * 60)
        return turn(said, usage=Usage(input_tokens=size, output_tokens=90))

    model = ScriptedModel(answer, context_window=claimed)
    async with Bench().running(model, limits=Limits(max_tokens=300)) as engine:
        told = []
        for number in range(60):
            events = await soon(engine.execute(f"{number}: " + "word " * 80, task_id="t"))
            told += [event.strategy for event in events if isinstance(event, CompactionEvent)]
            assert events[-1].type != "error"
    assert told.count("summary") >= len(told) / 2
    assert refused <= 2 * len(told)
