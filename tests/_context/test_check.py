from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine._context.check import changed_prefix, media_problems, problems, sent_form, sent_id
from september_engine.messages import Prompt

from .pictures import document, image, png

Json = dict[str, Any]

TOOL: Json = {"name": "look", "description": "", "input_schema": {"type": "object"}}


def text(value: str = "Hi") -> Json:
    return {"type": "text", "text": value}


def use(call_id: str = "a", **changes: Any) -> Json:
    return {"type": "tool_use", "id": call_id, "name": "look", "input": {}, **changes}


def result(call_id: str = "a", **changes: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "x", **changes}


def think(**changes: Any) -> Json:
    return {"type": "thinking", "thinking": "", "signature": "s", **changes}


def user(*blocks: Any) -> Json:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> Json:
    return {"role": "assistant", "content": list(blocks)}


SEARCH: Json = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
FOUND: Json = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}


def system(*blocks: Any) -> Json:
    return {"role": "system", "content": list(blocks)}


def prompt(*messages: Any, tools: list[Any] | None = None, system: str = "Be brief.") -> Prompt:
    return Prompt(system=system, tools=[TOOL] if tools is None else tools, messages=list(messages))


BRIEF = {"type": "compaction", "content": "In short.", "signature": "c2ln"}
VALID = [
    prompt(user(text())),
    prompt(user(image(), document(), text())),
    prompt(user(text()), user(text("again"))),
    prompt(user(text()), system(text("remembered")), assistant(text("Hello")), user(text())),
    prompt(user(text()), assistant(text("Hello")), user(text()), system(text("remembered"))),
    prompt(user(text()), assistant(think(), text("ok"), use("a"), use("b")), user(result("a"), result("b"), text())),
    prompt(user(text()), assistant(use()), user(result(content=[text(), image()], is_error=True))),
    prompt(user(text()), assistant(use()), user({"type": "tool_result", "tool_use_id": "a"})),
    prompt(user(text()), assistant({"type": "redacted_thinking", "data": "x"}, text()), user(text())),
    prompt(user(text()), assistant(SEARCH, FOUND, {**text(), "citations": [{"type": "any"}]}), user(text())),
    prompt(user(text()), assistant({"type": "hologram", "id": 1}), user(text())),
    prompt(user(text()), assistant(think(), use("a")), user(result("a")), assistant(use("b")), user(result("b"))),
    prompt(user(*[image(png(2001, 1))] * 20)),
    prompt(user(*[{"type": "image", "source": {"type": "url", "url": "https://example.org"}}] * 100)),
    prompt(assistant(BRIEF), user(text())),
]


@pytest.mark.parametrize("valid", VALID)
def test_a_valid_prompt_has_no_problems(valid: Prompt) -> None:
    assert problems(valid) == []


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (prompt(), "messages: there must be at least one"),
        (prompt(assistant(text()), user(text())), "messages.0: the first message must be the user's"),
        (prompt(system(text()), user(text())), "messages.0: the first message must be the user's"),
        (
            prompt(user(text()), assistant(text())),
            "messages.1: the last message must be the user's; no model continues its own answer",
        ),
        (
            prompt(user(text()), assistant(BRIEF), user(text())),
            "messages.1: a compaction must be the first message",
        ),
        (
            prompt(assistant(BRIEF, text()), user(text())),
            "messages.0: the first message must be the user's",
        ),
        (prompt("hello"), "messages.0: must have role and content, and nothing else"),
        (prompt({**user(text()), "id": "m"}), "messages.0: must have role and content, and nothing else"),
        (prompt({"role": "tool", "content": []}), "messages.0.role: must be user, assistant or system"),
        (prompt(user()), "messages.0.content: must be a list of at least one block"),
        (prompt({"role": "user", "content": "hi"}), "messages.0.content: must be a list of at least one block"),
        (prompt(user("hi")), "messages.0.content.0: must be an object with a type"),
        (prompt(user({"type": 5})), "messages.0.content.0: must be an object with a type"),
        (prompt(user(text(" \n\t"))), "messages.0.content.0: text must not be blank"),
        (prompt(user({"type": "text"})), "messages.0.content.0: text must be text"),
        (prompt(user(use())), "messages.0.content.0: tool_use is not a block of a user message"),
        (prompt(user(text()), assistant(image()), user(text())), "messages.1.content.0: image is not a block of a"),
        (prompt(user(text()), system(image())), "messages.1.content.0: image is not a block of a system message"),
        (
            prompt(user(text()), assistant(text()), system(text())),
            "messages.2: a system message must follow a user message",
        ),
        (
            prompt(user(text()), system(text()), user(text())),
            "messages.1: a system message must come before an assistant message, or last",
        ),
        (prompt(user({**text(), "citations": [{}]})), "messages.0.content.0: citations stand only in what a model"),
        (
            prompt(user(text()), assistant(SEARCH, text()), user(text())),
            "messages.1.content.0: server_tool_use must have its result in the same message",
        ),
        (prompt(user(text()), assistant(use()), user(result()), tools=[]), "tools: must be defined where messages"),
        (prompt(*[user(text())] * 100_001), "messages: there are 100001; at most 100000 are taken"),
        (
            prompt(user(text()), assistant(use(input={"k": [float("nan")]})), user(result())),
            "messages.1.content.0.input.k.0: nan is not a number that JSON has",
        ),
        (prompt(user(image(b"x"))), "messages.0.content.0: source.data is not image/png"),
        (prompt(user(text()), assistant(use())), "messages.2: is missing; it must answer the calls ['a']"),
        (
            prompt(user(text()), assistant(use()), user(text())),
            "messages.2: must answer exactly the calls before it, in order (['a']), and answers []",
        ),
        (
            prompt(user(text()), assistant(use("a"), use("b")), user(result("b"), result("a"))),
            "messages.2: must answer exactly the calls before it, in order (['a', 'b']), and answers ['b', 'a']",
        ),
        (
            prompt(user(text()), assistant(use()), user(result(), result())),
            "messages.2: must answer exactly the calls before it, in order (['a']), and answers ['a', 'a']",
        ),
        (
            prompt(user(result())),
            "messages.0: must answer exactly the calls before it, in order ([]), and answers ['a']",
        ),
        (
            prompt(user(text()), assistant(use()), user(text()), user(result())),
            "messages.2: must answer exactly the calls before it, in order (['a']), and answers []",
        ),
        (
            prompt(user(text()), assistant(use()), user(text(), result())),
            "messages.2: tool results must come before everything else",
        ),
        (
            prompt(user(text()), assistant(use()), user(result()), assistant(use()), user(result())),
            "messages.3: the call id a is there twice",
        ),
        (
            prompt(user(text()), assistant(use("a"), use("a")), user(result(), result())),
            "messages.1: the call id a is there twice",
        ),
        (prompt(user(text()), assistant(use("a b")), user(result("a b"))), "messages.1.content.0: id must be letters"),
        (prompt(user(text()), assistant(use(name="")), user(result())), "messages.1.content.0: name must be 1 to 64"),
        (prompt(user(text()), assistant(use(input="{}")), user(result())), "messages.1.content.0: input must be an"),
        (
            prompt(user(text()), assistant(text(), think()), user(text())),
            "messages.1.content.1: an assistant message must not end in thinking",
        ),
        (
            prompt(user(text()), assistant(think()), user(text())),
            "messages.1.content.0: an assistant message must not end in thinking",
        ),
        (prompt(user(text()), assistant(think(thinking=None), text()), user(text())), "thinking must be text"),
        (prompt(user(text()), assistant(think(signature=""), text()), user(text())), "must have its signature"),
        (prompt(user(text()), assistant({"type": "redacted_thinking"}, text()), user(text())), "must have its data"),
        (prompt(user(text()), assistant(use()), user(result(tool_use_id=1))), "tool_use_id must be text"),
        (prompt(user(text()), assistant(use()), user(result(is_error="no"))), "is_error must be true or false"),
        (prompt(user(text()), assistant(use()), user(result(content=5))), "content must be text or a list of blocks"),
        (
            prompt(user(text()), assistant(use()), user(result(content=[text(""), use()]))),
            "messages.2.content.0: content.0: text must not be blank",
        ),
        (
            prompt(user(text()), assistant(use()), user(result(content=[use()]))),
            "messages.2.content.0: content.0: must be a text, image or document block",
        ),
        (prompt(user(text("a\ud800"))), "messages.0.content.0.text: is not valid UTF-8 (a lone surrogate)"),
        (prompt(user(text()), system="\udfff"), "system: is not valid UTF-8"),
        (
            prompt(user(text()), assistant(use(input={"k": [{"\ud800": 1}]})), user(result())),
            "messages.1.content.0.input.k.0: is not valid UTF-8",
        ),
        (prompt(user(text()), tools=[{**TOOL, "description": "\ud800"}]), "tools.0.description: is not valid UTF-8"),
        (prompt(user(text()), tools=["look"]), "tools.0: must be an object"),
        (prompt(user(*[image()] * 101)), "messages.0: there are 101 images; at most 100 are taken"),
        (
            prompt(user(text()), assistant(use()), user(result(content=[image(png(1, 2001))]), *[image()] * 20)),
            "messages.2: with more than 20 images, each must be within 2000 pixels a side",
        ),
    ],
)
def test_what_the_api_refuses_is_told_with_where_it_is(broken: Prompt, says: str) -> None:
    found = problems(broken)
    assert any(says in problem for problem in found), found


def test_the_depth_of_an_input_cannot_hurt() -> None:
    deep: Any = "\ud800"
    for _ in range(100_000):
        deep = [deep]
    assert len(problems(prompt(user(text()), assistant(use(input={"k": deep})), user(result())))) == 1


junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "text", "user", "a", "image", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "id", "name", "input", "source", "tool_use_id", "data"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(VALID), st.data())
def test_however_broken_a_prompt_is_the_check_ends_with_a_list(valid: Prompt, data: st.DataObject) -> None:
    messages = copy.deepcopy(valid.messages)
    place = data.draw(st.integers(0, len(messages) - 1))
    content = messages[place]["content"]
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(junk)
    if data.draw(st.booleans()):
        messages.insert(place, data.draw(junk))
    broken = Prompt(system="", tools=data.draw(st.lists(junk, max_size=2)), messages=messages)
    assert all(isinstance(problem, str) for problem in problems(broken))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([valid for valid in VALID if len(valid.messages) > 2]), st.data())
def test_a_lost_message_with_calls_or_results_is_noticed(valid: Prompt, data: st.DataObject) -> None:
    kinds = [{block["type"] for block in message["content"]} for message in valid.messages]
    paired = [index for index, kind in enumerate(kinds) if kind & {"tool_use", "tool_result"}]
    if not paired:
        return
    messages = list(valid.messages)
    del messages[data.draw(st.sampled_from(paired))]
    assert problems(Prompt(system="", tools=[], messages=messages))


def test_media_from_a_person_is_refused_by_its_index() -> None:
    blocks = [image(), text("a caption"), image(b"x"), document(), text(" "), 7, text("\ud800")]
    assert media_problems(blocks) == [
        (2, "source.data is not image/png"),
        (4, "text must not be blank"),
        (5, "must be an image or document block"),
        (6, "is not valid UTF-8"),
    ]


def test_more_media_than_one_prompt_holds_is_refused_from_the_block_on_that_is_too_much() -> None:
    assert [index for index, _ in media_problems([image()] * 102)] == [100, 101]
    assert [index for index, _ in media_problems([*[image(png(2001, 1))] * 20, image()])] == [20]
    assert [index for index, _ in media_problems([document(b"%PDF-" + b"x" * 13_000_000)] * 2)] == [1]


def test_a_tool_name_that_the_model_made_up_is_sent_back_as_one_that_the_api_takes() -> None:
    made_up = [use(name="functions.look"), use(name="l" * 80), use(name="")]
    assert [block["name"] for block in sent_form(made_up)] == ["functions_look", "l" * 64, "_"]
    assert sent_id("call 1.2") == "call_1_2"
    assert sent_id("") == "_"


def test_what_only_a_user_may_send_does_not_go_back() -> None:
    for block in (image(), document(), result(), {"type": "search_result"}, {"type": "image", "url": "x"}):
        assert sent_form([text("a"), block]) == [text("a")]


def test_a_call_of_the_provider_s_own_tools_goes_back_with_its_result_only() -> None:
    assert sent_form([SEARCH, FOUND, text("a")]) == [SEARCH, FOUND, text("a")]
    assert sent_form([text("a"), SEARCH]) == [text("a")]
    assert sent_form([{**SEARCH, "id": ["odd"]}, FOUND, text("a")]) == [FOUND, text("a")]


def test_a_reply_goes_back_verbatim_but_for_what_the_api_refuses() -> None:
    assert sent_form([think(), text(" "), text("a"), use()]) == [think(), text("a"), use()]
    assert sent_form([text("a"), think(), text("")]) == [text("a")]
    assert sent_form([think()]) == []


FIRST = prompt(user(text()))
REPLY = [think(), text("ok"), use()]
SECOND = prompt(user(text()), assistant(*REPLY), user(result()))


def test_the_append_only_law_holds_for_a_prompt_that_goes_on() -> None:
    assert changed_prefix(FIRST, REPLY, SECOND) is None
    assert changed_prefix(FIRST, [*REPLY, think()], SECOND) is None
    assert changed_prefix(FIRST, [think()], prompt(user(text()), user(text("more")))) is None
    renamed = prompt(user(text()), assistant(think(), text("ok"), use("a-2")), user(result("a-2")))
    assert changed_prefix(FIRST, REPLY, renamed) is None


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (prompt(*SECOND.messages, system="Be long."), "system: has changed"),
        (prompt(*SECOND.messages, tools=[]), "tools: have changed"),
        (prompt(user(text("Hello")), *SECOND.messages[1:]), "messages.0: has changed"),
        (FIRST, "messages.1: the reply is gone"),
        (prompt(user(text()), user(text())), "messages.1: is not the reply as it was given"),
        (prompt(user(text()), assistant(*REPLY[1:]), user(result())), "messages.1: is not the reply as it was given"),
        (prompt(user(text()), {"role": "assistant", "content": "ok"}), "messages.1: is not the reply as it was given"),
        (prompt(), "messages.0: is gone"),
    ],
)
def test_a_changed_prefix_is_told_with_where_it_changed(after: Prompt, says: str) -> None:
    assert changed_prefix(FIRST, REPLY, after) == says
