"""The prompt of the next model call: valid whatever the log holds, and append-only as long as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from september_engine._context.check import changed_prefix, problems
from september_engine._turn.facts import Fact, HumanAnswered
from september_engine._turn.history import prompt_of
from september_engine._turn.inputs import Ask, Cancelled, Expired, Interrupted
from september_engine.events import ToolResultError
from september_engine.messages import Block, Prompt

from .._context.pictures import document, image, png
from .build import (
    LOOK,
    NOW,
    Turn,
    answered,
    asking,
    assistant,
    failure,
    finished,
    replied,
    result,
    returned,
    starting,
    text,
    think,
    use,
    user,
)

HI = user(text("Hi"))
MEDIA_REMOVED = text("[An attachment stood here. It was removed because the provider takes no more of them.]")


def prompt(*turns: Turn, prefix: str = "p1", model: str = "big") -> Prompt:
    """The prompt after these turns; it is checked, since there is no log that may give a broken one."""
    made = prompt_of([fact for turn in turns for fact in turn.facts], prefix=prefix, model=model)
    assert problems(made) == []
    return made


def messages(*turns: Turn, **bound_to: str) -> list[Block]:
    return prompt(*turns, **bound_to).messages


def second(*inputs: Any, says: str = "And now?", **changes: Any) -> Turn:
    return Turn(*inputs, **{"turn_id": "turn_2", "message_id": "msg_9", "content": [text(says)]} | changes)


def looked(output: Any, **changes: Any) -> Turn:
    """A turn whose one call gave this output, before the model has seen it."""
    return Turn(replied(text("Let me see."), use("a")), starting("a"), returned("a", output, **changes))


class TestPrefix:
    def test_a_prompt_begins_with_the_prefix_that_the_log_holds(self) -> None:
        assert prompt(Turn()) == Prompt(system="Be brief.", tools=[LOOK], messages=[HI])

    def test_the_last_text_of_a_prefix_counts_and_others_do_not(self) -> None:
        turns = [
            Turn(replied(text()), prefix="p1", system="one"),
            second(replied(text()), prefix="p2", system="two"),
            second(prefix="p1", system="three", tools=[]),
        ]
        assert prompt(*turns, prefix="p1").system == "three"
        assert prompt(*turns, prefix="p2").system == "two"

    def test_a_prefix_that_is_not_there_is_empty(self) -> None:
        assert prompt(Turn(), prefix="p9") == Prompt(system="", tools=[], messages=[HI])

    def test_tools_that_are_gone_are_defined_as_gone_where_they_were_called(self) -> None:
        bare = second(prefix="p2", system="none", tools=[])
        [gone] = prompt(looked("a view"), bare, prefix="p2").tools
        assert (gone["name"], gone["input_schema"]) == (LOOK["name"], {"type": "object"})
        assert "no longer available" in gone["description"]
        assert prompt(Turn(replied(text())), bare, prefix="p2").tools == []

    def test_tools_that_are_gone_are_those_from_before_the_prefix_and_stay_so(self) -> None:
        made_up = Turn(replied(think(), use("b", "dig")), starting("b"), returned("b"), prefix="p2", tools=[])
        both = looked("a view"), made_up
        assert [tool["name"] for tool in prompt(*both, prefix="p2").tools] == ["look"]
        assert messages(*both, prefix="p2")[4] == assistant(think(), use("b", "dig"))
        assert [tool["name"] for tool in prompt(made_up, prefix="p2").tools] == ["dig"]

    def test_a_prefix_without_tools_that_comes_again_after_others_has_other_ones_and_none_of_its_thinking(self) -> None:
        first = Turn(replied(think(), text("Hello")), prefix="p2", tools=[])
        assert prompt(first, prefix="p2").tools == []
        again = second(prefix="p2", tools=[])
        assert messages(first, again, prefix="p2")[1] == assistant(think(), text("Hello"))
        turns = first, looked("a view"), again
        assert [tool["name"] for tool in prompt(*turns, prefix="p2").tools] == ["look"]
        assert messages(*turns, prefix="p2")[1] == assistant(text("Hello"))


class TestConversation:
    def test_what_was_said_goes_back_as_it_was_said(self) -> None:
        turns = [Turn(replied(think(), text("Hello"))), second()]
        assert messages(*turns) == [HI, assistant(think(), text("Hello")), user(text("And now?"))]

    def test_calls_are_answered_in_call_order_in_the_message_right_after(self) -> None:
        turn = Turn(replied(use("a"), use("b")), starting("a", "b"), returned("b", {"n": 1}), returned("a", "seen"))
        assert messages(turn) == [
            HI,
            assistant(use("a"), use("b")),
            user(result("a", "seen"), result("b", '{"n":1}')),
        ]

    def test_a_call_that_gave_an_error_says_so(self) -> None:
        turn = looked(None, error=ToolResultError(reason="timeout", message="It took too long."))
        assert messages(turn)[-1] == user(result("a", "timeout: It took too long.", is_error=True))

    @pytest.mark.parametrize(
        ("output", "content"),
        [
            (None, "null"),
            ("", "(no output)"),
            (" \n", "(no output)"),
            ([], "[]"),
            ([text(" ")], "(no output)"),
            ([text(" "), text("a")], [text("a")]),
            ([text("a"), image()], [text("a"), image()]),
            ({"type": "text", "text": ""}, '{"type":"text","text":""}'),
        ],
    )
    def test_an_output_is_text_or_blocks_and_never_blank(self, output: Any, content: Any) -> None:
        assert messages(looked(output))[-1] == user(result("a", content))

    def test_what_a_person_added_to_an_answer_follows_the_results(self) -> None:
        turn = Turn(asking("a", "b"), answered("yes", content_blocks=[image(), text(" ")]), starting("a"))
        turn.tell(answered("no", "hitl_2", content_blocks=[text("because")]))
        turn.tell(returned("a"))
        assert messages(turn)[-1] == user(
            result("a", "seen"),
            result("b", "permission_denied: A person did not allow this.", is_error=True),
            image(),
            text("because"),
        )

    def test_a_turn_that_failed_stays_in_the_conversation(self) -> None:
        turns = [Turn(failure(retryable=False)), second()]
        assert messages(*turns) == [HI, user(text("And now?"))]

    def test_a_turn_that_was_refused_does_not(self) -> None:
        before = Turn(replied(text("Hello")))
        refused = second(replied(text("I will not"), use("a"), stop_reason="refusal"), says="Something bad")
        assert messages(before, refused, second()) == [HI, assistant(text("Hello")), user(text("And now?"))]
        assert messages(refused, second()) == [user(text("And now?"))]

    def test_an_answer_of_a_person_in_a_refused_turn_is_forgotten_with_it(self) -> None:
        stray = HumanAnswered(at=NOW, request_id="h", answer="yes", content_blocks=[text("stray")])
        refused = Turn(replied(text(), stop_reason="refusal"))
        refused.facts.insert(-1, stray)
        turn = second(replied(use("a")), starting("a"), returned("a"))
        assert messages(refused, turn)[-1] == user(result("a", "seen"))


class TestWhatTheApiRefuses:
    def test_blank_text_is_left_out(self) -> None:
        assert messages(Turn(replied(text(""), text("a"), text("\n"))), second())[1] == assistant(text("a"))

    @pytest.mark.parametrize("content", [[], [text(" ")], [think()], [text("\n"), think()]])
    def test_an_answer_of_nothing_is_no_message(self, content: list[Block]) -> None:
        assert messages(Turn(replied(*content)), second()) == [HI, user(text("And now?"))]

    def test_a_message_does_not_end_in_thinking(self) -> None:
        turns = [Turn(replied(text("Hello"), think(), think("sig2"))), second()]
        assert messages(*turns)[1] == assistant(text("Hello"))

    @pytest.mark.parametrize("bound_to", [{"model": "small"}, {"prefix": "p2"}])
    def test_thinking_of_another_model_or_prefix_is_left_out(self, bound_to: dict[str, str]) -> None:
        hidden: Block = {"type": "redacted_thinking", "data": "x"}
        turns = [Turn(replied(think(), hidden, text("Hello"))), second()]
        assert messages(*turns)[1] == assistant(think(), hidden, text("Hello"))
        assert messages(*turns, **bound_to)[1] == assistant(text("Hello"))
        only = Turn(replied(think(), use("a")), starting("a"), returned("a"))
        assert messages(only, **bound_to)[1] == assistant(use("a"))

    def test_blocks_of_the_provider_that_are_not_known_here_go_back_as_they_came(self) -> None:
        call: Block = {"type": "server_tool_use", "id": "s", "name": "search", "input": {}}
        found: Block = {"type": "search_tool_result", "tool_use_id": "s", "content": []}
        assert messages(Turn(replied(call, found, text("So."))), second())[1] == assistant(call, found, text("So."))

    @pytest.mark.parametrize("source", [{}, {"source": {"type": "base64", "data": "a"}}, image()])
    def test_media_in_an_answer_neither_goes_back_nor_is_weighed(self, source: Block) -> None:
        turns = [Turn(replied(text("Here."), {**source, "type": "image"}, *[document()] * 200)), second()]
        assert messages(*turns) == [HI, assistant(text("Here.")), user(text("And now?"))]

    def test_a_name_or_id_that_the_model_made_up_is_made_sendable(self) -> None:
        turn = Turn(replied(use("call 1", "functions.look")), starting("call 1"), returned("call 1"))
        assert messages(turn)[1:] == [assistant(use("call_1", "functions_look")), user(result("call_1", "seen"))]

    def test_ids_are_unique_through_the_thread(self) -> None:
        turns = [
            Turn(replied(use(id)), starting(id), returned(id, id), turn_id=f"turn_{number}")
            for number, id in enumerate(["a", "a-2", "a", "a b", "a_b"])
        ]
        sent = messages(*turns)
        assert [message["content"][0]["id"] for message in sent[1::3]] == ["a", "a-2", "a-3", "a_b", "a_b-2"]
        assert [message["content"][0]["content"] for message in sent[2::3]] == ["a", "a-2", "a", "a b", "a_b"]


class TestCuts:
    """Where a crash, a cancel or an expiry cut the log."""

    def test_a_call_without_a_result_has_an_unknown_outcome(self) -> None:
        turn = Turn(replied(use("a"), use("b")), starting("a", "b"), returned("b"))
        assert messages(turn)[-1] == user(
            result("a", "The outcome of this call is unknown: the process was interrupted.", is_error=True),
            result("b", "seen"),
        )

    def test_a_call_that_lost_its_result_does_not_get_that_of_an_earlier_turn(self) -> None:
        sent = messages(looked("seen in turn 1"), second(replied(use("a")), starting("a")))
        assert sent[-1]["content"][0]["content"].startswith("The outcome of this call is unknown")

    def test_of_two_results_the_first_is_sent(self) -> None:
        turn = looked("first")
        turn.facts.append(finished("a", "second"))
        assert messages(turn)[-1] == user(result("a", "first"))

    def test_an_answer_is_followed_by_a_word_of_the_user(self) -> None:
        assert messages(Turn(replied(text("Hello")))) == [HI, assistant(text("Hello")), user(text("Continue."))]

    def test_an_answer_that_was_stopped_is_there_as_far_as_it_was_shown(self) -> None:
        turns = [Turn(Cancelled(now=NOW, message_id="m", text="Hello, I")), second()]
        assert messages(*turns) == [HI, assistant(text("Hello, I")), user(text("And now?"))]

    def test_a_turn_that_was_cancelled_in_its_tools_has_a_result_for_each(self) -> None:
        turn = Turn(replied(use("a"), use("b")), starting("a"), Cancelled(now=NOW, message_id="m"))
        results = messages(turn, second())[2]["content"]
        assert [(block["tool_use_id"], block["content"].split(":")[0]) for block in results] == [
            ("a", "outcome_unknown"),
            ("b", "cancelled"),
        ]

    @pytest.mark.parametrize(
        ("kind", "answer", "said"),
        [
            ("permission", "yes", [text("A person added: Mind the dog.")]),
            ("permission", "no", []),
            ("question", "no", [text("A person added: Mind the dog.")]),
        ],
    )
    def test_what_a_person_added_stands_behind_the_results(self, kind: Any, answer: str, said: list[Block]) -> None:
        ask = Ask(request_id="hitl_1", question="?", kind=kind)
        turn = Turn(replace(replied(use("a")), asks=[ask]), answered(answer, feedback="Mind the dog."))
        content = messages(turn, second())[2]["content"]
        assert content[0]["type"] == "tool_result"
        assert content[1:] == said

    def test_a_request_that_expired_has_its_result(self) -> None:
        results = messages(Turn(asking("a"), Expired(now=NOW)), second())[2]["content"]
        assert results[0]["content"].startswith("hitl_expired: Not run")

    def test_every_prefix_of_a_log_gives_a_valid_prompt(self) -> None:
        turn = Turn(
            failure(bad_history=True),
            replied(think(), text("Let me see."), use("a"), use("b"), asks={"b": "May b run?"}),
            starting("a"),
            answered("no", feedback="No."),
            returned("a", [text("x"), image()]),
            replied(text("So."), use("c"), step=1),
            Interrupted(now=NOW),
        )
        facts: Sequence[Fact] = [*turn.facts, *second(replied(text())).facts]
        for count in range(1, len(facts) + 1):
            for model in ("big", "small"):
                assert problems(prompt_of(facts[:count], prefix="p1", model=model)) == []


class TestRepair:
    """What a provider refused once is not sent again, and thinking that was bound to it goes with it."""

    refused = failure(bad_history=True, recovers_media=True)
    with_media = Turn(
        replied(think(), text("A fox."), use("a")),
        starting("a"),
        returned("a", [text("see"), image()]),
        replied(think("sig2"), text("Yes."), step=1),
        content=[image(), document(), text("What is it?")],
    )

    def test_thinking_goes_first(self) -> None:
        assert messages(self.with_media, second(self.refused)) == [
            user(image(), document(), text("What is it?")),
            assistant(text("A fox."), use("a")),
            user(result("a", [text("see"), image()])),
            assistant(text("Yes.")),
            user(text("And now?")),
        ]

    def test_media_goes_next_with_a_note_in_its_place(self) -> None:
        again = second(self.refused, self.refused, content=[image(), text("And this?")])
        assert messages(self.with_media, again) == [
            user(MEDIA_REMOVED, MEDIA_REMOVED, text("What is it?")),
            assistant(text("A fox."), use("a")),
            user(result("a", [text("see"), MEDIA_REMOVED])),
            assistant(text("Yes.")),
            user(MEDIA_REMOVED, text("And this?")),
        ]

    def test_unless_it_is_wanted_the_media_of_the_turns_own_message_stay(self) -> None:
        refused = failure(bad_history=True, suspect="media")
        again = second(refused, replied(use("b")), content=[image(), text("And this?")])
        again.tell(starting("b"))
        again.tell(returned("b", [image()]))
        assert messages(self.with_media, again) == [
            user(MEDIA_REMOVED, MEDIA_REMOVED, text("What is it?")),
            assistant(text("A fox."), use("a")),
            user(result("a", [text("see"), MEDIA_REMOVED])),
            assistant(text("Yes.")),
            user(image(), text("And this?")),
            assistant(use("b")),
            user(result("b", [image()])),
        ]
        # what stays is counted: there is room for so much and no more
        many = [second(content=[image(png(2001, 1))] * count) for count in (1, 20)]
        many[0].tell(refused)
        assert messages(*many)[0] == user(MEDIA_REMOVED)

    def test_last_goes_everything_that_not_every_model_knows(self) -> None:
        strange: Block = {"type": "hologram", "beam": 1}
        turn = Turn(
            replied(think(), strange, {**text("A fox."), "citations": [{}]}, {**use("a"), "caller": {"type": "x"}}),
            starting("a"),
            returned("a"),
            replied(strange, step=1),
        )
        again = second(self.refused, self.refused, self.refused)
        assert messages(turn, again) == [
            HI,
            assistant(text("A fox."), use("a")),
            user(result("a", "seen")),
            assistant(text("[An answer stood here. It was removed because the provider takes no more of it.]")),
            user(text("And now?")),
        ]

    def test_a_result_that_is_text_is_left_alone(self) -> None:
        turn = Turn(replied(use("a")), starting("a"), returned("a"), failure(step=1, bad_history=True))
        turn.tell(failure(step=1, bad_history=True))
        assert messages(turn)[-1] == user(result("a", "seen"))

    def test_what_comes_after_a_repair_is_sent_as_usual(self) -> None:
        turn = second(self.refused, self.refused, replied(think("sig3"), text("Ok.")))
        assert messages(turn, second(content=[image()]))[1:] == [assistant(think("sig3"), text("Ok.")), user(image())]

    def test_media_takes_the_thinking_with_it_that_came_after_an_earlier_repair(self) -> None:
        turn = Turn(self.refused, replied(think(), use("a")), starting("a"), returned("a"), content=[image()])
        assert messages(turn)[1] == assistant(think(), use("a"))
        turn.tell(failure(step=1, bad_history=True, recovers_media=True))
        assert messages(turn) == [user(MEDIA_REMOVED), assistant(use("a")), user(result("a", "seen"))]

    def test_a_turn_that_was_refused_after_a_repair_leaves_what_was_before_it(self) -> None:
        refused = second(self.refused, replied(text(), stop_reason="refusal"))
        assert messages(self.with_media, refused, second())[1] == assistant(text("A fox."), use("a"))


class TestRoom:
    """A request holds so much media and no more: the old gives way to the new."""

    LARGE = image(png(2001, 10))

    def test_what_fits_stays(self) -> None:
        turns = [Turn(replied(think(), text("Ok.")), content=[self.LARGE] * 10), second(content=[self.LARGE] * 10)]
        assert messages(*turns) == [user(*[self.LARGE] * 10), assistant(think(), text("Ok.")), user(*[self.LARGE] * 10)]

    def test_old_pictures_give_way_with_the_thinking_that_saw_them(self) -> None:
        turns = [Turn(replied(think(), text("Ok.")), content=[self.LARGE] * 20), second(content=[image()])]
        assert messages(*turns) == [user(*[MEDIA_REMOVED] * 20), assistant(text("Ok.")), user(image())]

    def test_there_is_room_again_afterwards(self) -> None:
        turns = [Turn(replied(text("Ok.")), content=[image()] * 100), *[second(content=[image()] * 50)] * 2]
        assert [len(message["content"]) for message in messages(*turns) if image() in message["content"]] == [50, 50]

    def test_pictures_of_tools_count(self) -> None:
        shots = [
            Turn(replied(use("a")), starting("a"), returned("a", [self.LARGE] * 7), turn_id=f"turn_{number}")
            for number in range(3)
        ]
        contents = [message["content"][0]["content"] for message in messages(*shots)[2::3]]
        assert contents == [[MEDIA_REMOVED] * 7, [MEDIA_REMOVED] * 7, [self.LARGE] * 7]

    def test_pictures_of_a_turn_that_was_refused_take_no_room(self) -> None:
        old = Turn(replied(think(), text("Ok.")), content=[self.LARGE] * 15)
        refused = second(replied(text(), stop_reason="refusal"), content=[self.LARGE] * 5)
        assert messages(old, refused, second(content=[self.LARGE]))[0] == user(*[self.LARGE] * 15)

    def test_a_refused_turn_that_made_room_has_made_it(self) -> None:
        old = Turn(replied(text("Ok.")), content=[self.LARGE] * 20)
        refused = second(replied(text(), stop_reason="refusal"), content=[self.LARGE])
        sent = messages(old, refused, second(content=[self.LARGE] * 20))
        assert [sent[0], sent[-1]] == [user(*[MEDIA_REMOVED] * 20), user(*[self.LARGE] * 20)]

    def test_one_message_with_too_much_by_itself_keeps_none(self) -> None:
        calls = [use(f"c{number}") for number in range(11)]
        ids = [call["id"] for call in calls]
        turn = Turn(replied(*calls), starting(*ids), *[returned(id, [image()] * 10) for id in ids], content=[image()])
        first, _, results = messages(turn)
        assert first == user(MEDIA_REMOVED)
        assert all(block["content"] == [MEDIA_REMOVED] * 10 for block in results["content"])
        assert messages(turn, second(content=[image()]))[-1] == user(image())


class TestAppendOnly:
    def test_each_request_begins_with_the_one_before_and_its_reply(self) -> None:
        replies = [replied(think(f"s{step}"), text("Hm."), use("a"), step=step) for step in range(4)]
        turn, requests = Turn(), []
        for reply in replies:
            requests.append(prompt(turn))
            turn.tell(reply)
            call = turn.state.calls[0]
            turn.tell(starting(call.id))
            turn.tell(returned(call.id, f"seen by {call.id}"))
        requests.append(prompt(turn))
        for before, reply, after in zip(requests, replies, requests[1:], strict=False):
            assert changed_prefix(before, reply.content, after) is None

    def test_the_facts_are_left_as_they_were(self) -> None:
        turns = [TestRepair.with_media, second(TestRepair.refused, TestRepair.refused)]
        before = repr([turn.facts for turn in turns])
        prompt(*turns)
        assert repr([turn.facts for turn in turns]) == before
