"""A turn that was asked for a value, from the caller's side."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import anyio
import msgspec
import pytest

from september_engine import BlockingEngine, Limits, Settings
from september_engine.errors import InvalidRequest, TurnFailed
from september_engine.events import Retry, TextDelta
from september_engine.models.offline import OfflineModel
from september_engine.models.scripted import ScriptedModel, call, say, turn
from tests.engines import Bench, look, names, soon, text, until


class Person(msgspec.Struct):
    name: str
    age: int


ADA, WRONG = '{"name":"Ada","age":36}', '{"name":"Ada"}'


async def test_the_result_has_the_value(bench: Bench) -> None:
    model = ScriptedModel([say(ADA)])
    async with bench.running(model) as engine:
        result = await engine.execute("Who?", task_id="t", output=Person)
    assert result.output == Person(name="Ada", age=36)
    assert result.text == ADA
    assert model.requests[0].output_schema is not None
    assert model.requests[0].output_schema["required"] == ["name", "age"]


async def test_a_value_that_is_no_object_is_unwrapped(bench: Bench) -> None:
    async with bench.running([say('{"value":[3,5]}')]) as engine:
        assert (await engine.execute("Which?", task_id="t", output=list[int])).output == [3, 5]


class Refused(msgspec.Struct):
    because: str


async def test_a_union_of_classes_and_a_choice_of_words_are_values_too(bench: Bench) -> None:
    answers = [say(f'{{"value":{ADA}}}'), say('{"value":{"because":"No."}}'), say('{"value":"yes"}')]
    async with bench.running(answers) as engine:
        assert (await engine.execute("Who?", task_id="t", output=Person | Refused)).output == Person("Ada", 36)
        assert (await engine.execute("Who?", task_id="t", output=Person | Refused)).output == Refused("No.")
        assert (await engine.execute("Is it?", task_id="t", output=Literal["yes", "no"])).output == "yes"


async def test_a_model_that_chooses_what_there_is_not_is_told_what_there_is(bench: Bench) -> None:
    model = ScriptedModel([say('{"value":"maybe"}'), say('{"value":"no"}')])
    async with bench.running(model) as engine:
        assert (await engine.execute("Is it?", task_id="t", output=Literal["yes", "no"])).output == "no"
    told = model.requests[1].prompt.messages[-1]["content"][0]["text"]
    assert 'it must be one of "yes", "no"' in told


async def test_tools_are_used_on_the_way(bench: Bench) -> None:
    async with bench.running([turn(say("Let me look."), call("look")), say(ADA)], tools=[look]) as engine:
        result = await engine.execute("Who?", task_id="t", output=Person)
    assert result.output == Person(name="Ada", age=36)


async def test_an_answer_that_does_not_fit_is_given_again_and_taken_off_the_screen(bench: Bench) -> None:
    model = ScriptedModel([say(WRONG), say(ADA)])
    async with bench.running(model) as engine:
        running = engine.execute("Who?", task_id="t", output=Person)
        events = await soon(running)
        result = await running
        again = next(event for event in events if isinstance(event, Retry))
        assert (again.reason, again.retracts) == ("INVALID_OUTPUT", [0])
        assert names(events)[-1] == "completed"
        assert text(events) == WRONG + ADA
        assert (result.text, result.output) == (ADA, Person(name="Ada", age=36))
        said = [message.role for message in await engine.messages("t")]
    assert said == ["user", "assistant", "user", "assistant"]
    told = model.requests[1].prompt.messages[-1]["content"][0]["text"]
    assert "Object missing required field `age`" in told


async def test_the_thread_goes_on_behind_it(bench: Bench) -> None:
    async with bench.running([say(WRONG), say(ADA), say("You are welcome.")]) as engine:
        await engine.execute("Who?", task_id="t", output=Person)
        assert (await engine.execute("Thanks.", task_id="t")).text == "You are welcome."


async def test_after_the_last_try_it_fails_with_a_code_and_a_reason(bench: Bench) -> None:
    async with bench.running(lambda request: say(WRONG), limits=Limits(attempts=3)) as engine:
        with pytest.raises(TurnFailed, match="None of 3 answers") as failed:
            await engine.execute("Who?", task_id="t", output=Person)
        assert (failed.value.code, failed.value.status) == ("INVALID_OUTPUT", 502)
        assert failed.value.details["answers"] == 3


async def test_a_refusal_is_no_value(bench: Bench) -> None:
    async with bench.running([turn(say("No."), stop_reason="refusal")]) as engine:
        with pytest.raises(TurnFailed, match="refused to answer"):
            await engine.execute("Who?", task_id="t", output=Person)


async def test_the_note_to_the_model_is_not_a_message_to_edit(bench: Bench) -> None:
    async with bench.running([say(WRONG), say(ADA)]) as engine:
        await engine.execute("Who?", task_id="t", output=Person)
        note = (await engine.messages("t"))[2]
        with pytest.raises(InvalidRequest, match="a note of the engine"):
            await engine.execute("Else", task_id="t", edit_message_id=note.id)


async def test_a_type_that_cannot_be_asked_for_is_refused_at_once(bench: Bench) -> None:
    async with bench.running([]) as engine:
        with pytest.raises(InvalidRequest, match="mapping with any keys"):
            engine.execute("Who?", task_id="t", output=dict[str, int])


async def test_a_turn_that_another_process_resumes_keeps_its_schema(bench: Bench) -> None:
    never = anyio.Event()
    async with bench.running([say(ADA, hold=never, at=2)]) as engine:
        await until(engine.execute("Who?", task_id="t", output=Person), TextDelta)
    model = ScriptedModel([say(WRONG), say(ADA)])
    async with bench.running(model, recovery="resume") as engine:
        events = await soon(engine.replay(task_id="t"))
        assert names(events)[-1] == "completed"
    assert [request.output_schema is None for request in model.requests] == [False, False]
    assert "missing required field `age`" in model.requests[1].prompt.messages[-1]["content"][0]["text"]


async def test_a_cut_answer_is_given_again_with_more_room(bench: Bench) -> None:
    model = ScriptedModel([turn(say('{"name":"A'), stop_reason="max_tokens"), say(ADA)])
    async with bench.running(model) as engine:
        assert (await engine.execute("Who?", task_id="t", output=Person)).output.age == 36
    assert [request.max_tokens for request in model.requests] == [4096, 4 * 4096]


def test_the_blocking_engine_gives_it_too(tmp_path: Path) -> None:
    model = ScriptedModel([say(ADA)])
    with BlockingEngine(tmp_path / "brain.sqlite", model=model, settings=Settings()) as engine:
        assert engine.execute("Who?", task_id="t", output=Person).result().output.name == "Ada"


class Sum(msgspec.Struct):
    left: int
    right: int


async def test_the_offline_model_fills_in_what_the_question_says(bench: Bench) -> None:
    async with bench.running(OfflineModel()) as engine:
        result = await engine.execute("Which numbers are in 17 plus 4?", task_id="t", output=Sum)
    assert result.output == Sum(left=17, right=4)
