"""Whether a turn is planned, what the planner is asked, and what of its answer is taken."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from september_engine._context.check import problems
from september_engine._turn.commands import CallModel, MakePlan, todo
from september_engine._turn.decide import decide
from september_engine._turn.facts import PlanChosen, PlanSkipped
from september_engine._turn.inputs import Cancelled, OutOfTime, PlanFailed, Resumed
from september_engine._turn.limits import Limits
from september_engine._turn.planning import PLAN_SCHEMA, is_small_talk, planning_prompt, steps_of
from september_engine.messages import Usage

from .._context.pictures import image
from .build import NOW, Turn, failure, planned, replied, returned, starting, steps, text, think, use

ASKED: dict[str, Any] = {"planner": True, "content": [text("Find the fox and tell everybody.")]}
COST = Usage(input_tokens=7, output_tokens=2)


class TestTheStep:
    def test_a_turn_with_a_planner_owes_the_plan_first_and_then_goes_on(self) -> None:
        turn = Turn(**ASKED)
        assert todo(turn.state) == (MakePlan(prefix="p1"),)
        assert turn.tell(planned("Look", "Tell", usage=COST)) == [
            PlanChosen(at=NOW, steps=steps("Look", "Tell"), by="planner", usage=COST, model="planner")
        ]
        assert [type(command) for command in todo(turn.state)] == [CallModel]
        assert turn.state.usage == COST

    @pytest.mark.parametrize(
        "of_start", [{"planner": False}, {"direct": True}, {"content": [text("Good morning! How are you?")]}]
    )
    def test_without_a_planner_or_direct_or_in_small_talk_there_is_no_such_step(self, of_start: Any) -> None:
        turn = Turn(**ASKED | of_start)
        assert [type(command) for command in todo(turn.state)] == [CallModel]
        assert turn.then(planned("Look", "Tell")) == []

    def test_no_plan_is_a_fact_too_so_that_the_planner_is_asked_once(self) -> None:
        turn = Turn(**ASKED)
        assert turn.tell(planned()) == [PlanSkipped(at=NOW, usage=Usage(input_tokens=7), model="planner")]
        assert turn.then(planned("Look", "Tell")) == []

    def test_a_planner_that_fails_costs_the_turn_its_plan_and_nothing_else(self) -> None:
        turn = Turn(**ASKED)
        assert turn.then(PlanFailed(now=NOW, problem="It broke.", usage=COST)) == ["no plan: It broke."]
        assert turn.state.usage == COST
        assert turn.then(replied(text())) == ["replied msg_2", "completed: end_turn"]

    def test_nothing_of_the_model_counts_before_the_plan(self) -> None:
        turn = Turn(**ASKED)
        assert turn.then(replied(text())) == turn.then(failure()) == []

    def test_it_can_be_cancelled_and_run_out_of_time(self) -> None:
        cancelled = Cancelled(now=NOW, message_id="m", usage=COST)
        turn = Turn(**ASKED)
        assert turn.then(cancelled) == ["failed: CANCELLED"]
        assert turn.state.usage == COST
        assert Turn(**ASKED).then(OutOfTime(now=NOW)) == ["failed: BUDGET_EXCEEDED"]

    def test_its_tokens_count_for_the_limit(self) -> None:
        turn = Turn(**ASKED, limits=Limits(tokens=5))
        assert turn.then(planned("Look", "Tell")) == ["planner chose Look, Tell", "failed: BUDGET_EXCEEDED"]

    def test_the_next_process_asks_again_where_there_was_no_answer(self) -> None:
        turn = Turn(Resumed(now=NOW, blocks=0, repeatable=[]), **ASKED)
        assert todo(turn.state) == (MakePlan(prefix="p1"),)


class TestSmallTalk:
    @pytest.mark.parametrize(
        "said", ["hi", "Hello!", "Hey there 👋", "Thanks!!!", "Thank you very much.", "Good night…", "Hi. How are you?",
                 "Danke schön!", "Merci, au revoir", "What’s up?"]
    )  # fmt: skip
    def test_greetings_and_thanks_need_no_planner(self, said: str) -> None:
        assert is_small_talk([text(said)])

    @pytest.mark.parametrize(
        "said", ["ok", "yes", "go on", "Hi, find the fox", "thanks for the fox, now the owl", "?", "👋", "hi " * 5,
                 "2 + 2", "hi, hi, hi, hi, hi"]
    )  # fmt: skip
    def test_what_may_be_the_go_ahead_for_work_is_not_small_talk(self, said: str) -> None:
        assert not is_small_talk([text(said)])

    def test_what_comes_with_a_picture_is_not(self) -> None:
        assert not is_small_talk([image(), text("hi")])
        assert not is_small_talk([])


class TestTheRequest:
    def test_it_has_the_tools_the_plan_and_the_last_messages_in_brief(self) -> None:
        first = Turn(planned("Look", "Tell"), replied(think(), text("Let me see."), use("a")), **ASKED)
        first.tell(starting("a"))
        first.tell(returned("a", "x" * 50_000))
        first.tell(replied(text("y" * 50_000), step=1))
        then = Turn(turn_id="turn_2", content=[image(), text("And the owl?")], planner=True)
        prompt = planning_prompt([*first.facts, *then.facts], prefix="p1")
        assert problems(prompt) == []
        assert prompt.tools == []
        [message] = prompt.messages
        [block] = message["content"]
        said = block["text"]
        assert len(said) < 5_000
        assert "## The agent's tools\n- look\n" in said
        assert "1. [pending] Look\n2. [pending] Tell" in said
        assert "Agent: Let me see.\n[calls look]\nPerson: [1 tool_result]" in said
        assert "hm" not in said
        assert "Person: And the owl?\n[1 image]" in said

    def test_a_long_conversation_costs_no_more(self) -> None:
        turns = [Turn(replied(text("z" * 9_000)), turn_id=f"turn_{n}", content=[text("z" * 9_000)]) for n in range(30)]
        prompt = planning_prompt([fact for turn in turns for fact in turn.facts], prefix="p1")
        assert len(prompt.messages[0]["content"][0]["text"]) < 20_000


class TestTheAnswer:
    def test_its_steps_are_numbered_and_pending(self) -> None:
        said = '{"worthwhile": true, "steps": ["Look\\n around", " Tell "]}'
        assert steps_of([think(), text(said)]) == steps("Look around", "Tell")

    @pytest.mark.parametrize("listed", ["[]", '["Look"]'])
    def test_none_is_worth_it(self, listed: str) -> None:
        assert steps_of([text(f'{{"worthwhile": false, "steps": {listed}}}')]) == []

    @pytest.mark.parametrize(
        "said",
        [
            "",
            "There is no need.",
            "[]",
            '{"worthwhile": true}',
            '{"steps": ["Look"]}',
            '{"worthwhile": true, "steps": []}',
            '{"worthwhile": "yes", "steps": ["Look"]}',
            '{"worthwhile": true, "steps": ["Look", 1]}',
            '{"worthwhile": true, "steps": ["Look", " "]}',
            '{"worthwhile": true, "steps": ["Look"], "why": "so"}',
            '{"worthwhile": true, "steps": ["Look"',
            '{"worthwhile": true, "steps": ["' + "x" * 201 + '"]}',
            '{"worthwhile": true, "steps": ["x"' + ', "x"' * 20 + "]}",
            "[" * 100_000,
        ],
    )
    def test_what_is_not_the_form_that_was_asked_for_is_no_plan(self, said: str) -> None:
        with pytest.raises(ValueError, match=r"plan"):
            steps_of([text(said)])

    def test_the_schema_is_one_that_structured_output_takes(self) -> None:
        assert PLAN_SCHEMA["additionalProperties"] is False
        assert PLAN_SCHEMA["required"] == list(PLAN_SCHEMA["properties"])


def test_a_late_answer_of_the_planner_is_stale() -> None:
    turn = Turn(planned("Look", "Tell"), replied(use("a")), **ASKED)
    assert decide(turn.state, planned("Other")) == []
    assert decide(turn.state, replace(planned(), now=NOW + 1)) == []
