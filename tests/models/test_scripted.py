from __future__ import annotations

from typing import Any

import anyio
import pytest

from september_engine.errors import ModelError
from september_engine.messages import Block, Prompt, Usage
from september_engine.models.base import Chunk, Model, ModelRequest, Reply, TextChunk, ThinkingChunk
from september_engine.models.scripted import ScriptedModel, call, fail, hold, say, think, turn
from september_engine.testing.model_contract import ModelContract

LOOK: Block = {"name": "look", "input_schema": {"type": "object"}}


def user(*blocks: Block | str) -> Block:
    content = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    return {"role": "user", "content": content}


def assistant(*content: Block) -> Block:
    return {"role": "assistant", "content": list(content)}


def result(call_id: str) -> Block:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "x"}


def request(*messages: Block, system: str = "", tools: list[Block] | None = None) -> ModelRequest:
    given = [LOOK] if tools is None else tools
    return ModelRequest(prompt=Prompt(system=system, tools=given, messages=list(messages)), max_tokens=100)


async def chunks(model: ScriptedModel, *messages: Block, **prefix: Any) -> list[Chunk]:
    return [chunk async for chunk in model.stream(request(*messages, **prefix))]


async def ask(model: ScriptedModel, *messages: Block, **prefix: Any) -> Reply:
    last = (await chunks(model, *messages, **prefix))[-1]
    assert isinstance(last, Reply)
    return last


class TestScriptedModel(ModelContract):
    def make_model(self) -> Model:
        answer = turn(think("Hm, three."), say("One, two, three."), call("count", to=3), call("count", broken="cut"))
        return ScriptedModel(lambda request: answer)

    def open_streams(self, model: Model) -> int:
        assert isinstance(model, ScriptedModel)
        return model.open_streams


async def test_a_script_is_answered_in_order_and_requests_are_kept() -> None:
    model = ScriptedModel([say("one"), turn(say("two"), stop_reason="max_tokens", usage=Usage(input_tokens=7))])
    first = await ask(model, user("a"))
    second = await ask(model, user("b"))
    assert (first.content, first.stop_reason, first.model) == (
        [{"type": "text", "text": "one"}],
        "end_turn",
        "scripted",
    )
    assert (second.stop_reason, second.usage) == ("max_tokens", Usage(input_tokens=7))
    assert [each.prompt.messages for each in model.requests] == [[user("a")], [user("b")]]
    await model.aclose()
    assert model.closed


async def test_a_script_that_is_over_says_so() -> None:
    model = ScriptedModel([say("one")])
    await ask(model, user("a"))
    with pytest.raises(ModelError, match="The script has no further answer: all 1 were given") as caught:
        await ask(model, user("a"))
    assert not caught.value.retryable


@pytest.mark.parametrize("given", ["hello", None, 5, [say("a")]])
async def test_a_script_that_gives_no_step_says_so(given: Any) -> None:
    with pytest.raises(TypeError, match="a script gives say"):
        await ask(ScriptedModel(lambda request: given), user("a"))


async def test_text_and_thinking_come_in_pieces() -> None:
    model = ScriptedModel([turn(think("deep", signature="s"), say("abcdefg"))], piece=3)
    got = await chunks(model, user("a"))
    assert [chunk.text for chunk in got if isinstance(chunk, ThinkingChunk)] == ["dee", "p"]
    assert [chunk.text for chunk in got if isinstance(chunk, TextChunk)] == ["abc", "def", "g"]
    assert isinstance(got[-1], Reply)
    assert got[-1].content[0] == {"type": "thinking", "thinking": "deep", "signature": "s"}


async def test_calls_have_ids_of_their_own() -> None:
    model = ScriptedModel([turn(call("a"), call("b", id="mine", x=1)), call("c", broken="cut off")])
    first, second = await ask(model, user("1")), await ask(model, user("2"))
    ids = [block["id"] for block in (*first.content, *second.content)]
    assert ids == ["toolu_scripted_1_0", "mine", "toolu_scripted_2_0"]
    assert first.content[1]["input"] == {"x": 1}
    assert first.stop_reason == "tool_use"
    assert second.broken_inputs == {"toolu_scripted_2_0": "cut off"}


async def test_an_attempt_fails_where_the_script_says() -> None:
    error = ModelError("overloaded", retryable=True)
    model = ScriptedModel([turn(say("par"), fail(error)), say("whole")])
    shown: list[Chunk] = []
    with pytest.raises(ModelError) as caught:
        async for chunk in model.stream(request(user("a"))):
            shown += [chunk]
    assert caught.value is error
    assert TextChunk("par") in shown
    assert model.open_streams == 0
    assert (await ask(model, user("a"))).content == [{"type": "text", "text": "whole"}]


@pytest.mark.parametrize("within", [True, False])
async def test_a_test_controls_when_it_goes_on(within: bool) -> None:
    gate = anyio.Event()
    answer = say("abcd", hold=gate, at=1) if within else turn(say("ab"), hold(gate), say("cd"))
    model = ScriptedModel([answer], piece=2)
    shown: list[str] = []
    seen = anyio.Event()

    async def listen() -> None:
        async for chunk in model.stream(request(user("a"))):
            if isinstance(chunk, TextChunk):
                shown.append(chunk.text)
                seen.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await seen.wait()
            await anyio.wait_all_tasks_blocked()
            assert shown == ["ab"]
            gate.set()
    assert shown == ["ab", "cd"]


async def test_a_request_the_api_would_refuse_is_refused() -> None:
    model = ScriptedModel([say("never"), say("lax")])
    with pytest.raises(ModelError, match=r"messages\.0\.content\.0: text must not be blank") as caught:
        await ask(model, user(" "))
    assert caught.value.bad_history
    lax = ScriptedModel([say("lax")], strict=False)
    assert (await ask(lax, user(" "))).content == [{"type": "text", "text": "lax"}]


ANSWER = turn(think("hm"), say("Hello there"), call("look", id="a"))
FIRST = user("Hi")


async def started(**settings: Any) -> tuple[ScriptedModel, list[Block]]:
    model = ScriptedModel(lambda _: ANSWER, **settings)
    return model, (await ask(model, FIRST)).content


async def test_what_may_lawfully_follow_an_answer() -> None:
    model, content = await started()
    thinking, text, use = content
    await ask(model, FIRST)
    await ask(model, user("An edit"))
    await ask(model, FIRST, assistant(*content), user(result("a")))
    await ask(model, FIRST, assistant(text, use), user(result("a")))
    await ask(model, FIRST, assistant({"type": "text", "text": "Hello"}), user("Go on"))
    await ask(model, FIRST, user("That did not count"))
    assert thinking["signature"] == "signed_1_0"


async def test_a_changed_reply_breaks_the_law() -> None:
    model, content = await started()
    changed = {"type": "text", "text": "Bonjour"}
    with pytest.raises(ModelError, match=r"messages\.1: is not the reply as it was given") as caught:
        await ask(model, FIRST, assistant(content[0], changed, content[2]), user(result("a")))
    assert caught.value.bad_history


async def test_a_changed_prefix_breaks_the_law_unless_it_is_declared() -> None:
    after = (FIRST, assistant({"type": "text", "text": "Hello"}), user("Go on"))
    model, _ = await started()
    with pytest.raises(ModelError, match="system: has changed"):
        await ask(model, *after, system="New.")
    with pytest.raises(ModelError, match="tools: have changed"):
        await ask(model, *after, tools=[])
    lenient, _ = await started(new_prefix=True)
    await ask(lenient, *after, system="New.", tools=[])


async def test_another_conversation_that_began_alike_is_its_own() -> None:
    model, content = await started()
    other = (await ask(model, FIRST, system="Other.")).content
    await ask(model, FIRST, assistant(*other), user(result("a")), system="Other.")
    await ask(model, FIRST, assistant(*content), user(result("a")))


async def test_thinking_is_bound_to_its_prefix_and_its_bytes() -> None:
    model, content = await started(new_prefix=True)
    with pytest.raises(
        ModelError, match=r"messages\.1\.content\.0: this thinking is bound to a different conversation"
    ):
        await ask(model, FIRST, assistant(*content), user(result("a")), system="New.")
    with pytest.raises(ModelError, match=r"messages\.1\.content\.0: this thinking is bound to a different"):
        await ask(model, user("Edited"), assistant(*content), user(result("a")))
    with pytest.raises(ModelError, match=r"messages\.1\.content\.0: this thinking was changed"):
        await ask(model, FIRST, assistant({**content[0], "thinking": "Hm"}, *content[1:]), user(result("a")))


async def test_thinking_of_another_process_cannot_be_checked_and_passes() -> None:
    _, content = await started()
    fresh = ScriptedModel([say("ok")])
    await ask(fresh, FIRST, assistant(*content), user(result("a")))
