from __future__ import annotations

import pytest

from september_engine._turn.limits import Limits
from september_engine._turn.size import budget_of, room_for_answer
from september_engine.messages import Usage

from .build import Turn, failure, replied, returned, starting, use


@pytest.mark.parametrize(
    ("window", "max_tokens", "budget"),
    [(None, 100, None), (200_000, 4_096, 191_904), (1_000, 5_000, 480), (1, 5_000, 1)],
)
def test_a_request_leaves_room_for_its_answer(window: int | None, max_tokens: int, budget: int | None) -> None:
    assert budget_of(Limits(context_tokens=window, max_tokens=max_tokens)) == budget


def test_a_longer_answer_gets_what_is_left_of_the_window() -> None:
    limits = Limits(context_tokens=10_000, max_tokens=1_000)
    assert room_for_answer(limits, 2_000, 4_000) == 4_000
    assert room_for_answer(limits, 8_000, 4_000) == 1_800
    assert room_for_answer(limits, 9_900, 4_000) == 1_000
    assert room_for_answer(Limits(), 10**9, 4_000) == 4_000


def test_the_provider_counts_and_what_came_since_is_guessed() -> None:
    turn = Turn(context=100)
    assert turn.state.context == 100 + 9
    turn.tell(failure())
    assert turn.state.context == 109
    turn.tell(replied(use("a"), usage=Usage(input_tokens=500, output_tokens=60)))
    assert turn.state.context == 560
    turn.tell(starting("a"))
    turn.tell(returned("a", "x" * 300))
    assert turn.state.context == 560 + 120


def test_where_the_provider_says_nothing_the_answer_is_guessed_too() -> None:
    turn = Turn(context=100)
    before = turn.state.context
    turn.tell(replied(use("a"), usage=Usage()))
    assert turn.state.context > before
    refused = Turn(replied(stop_reason="refusal"), context=100)
    assert refused.state.context == 100
