from __future__ import annotations

from typing import Any, Literal

import anyio
import pytest

from september_engine._context.asides import aside
from september_engine._turn.planning import PLAN_SCHEMA, steps_of
from september_engine.errors import ConfigurationError
from september_engine.messages import Block, Prompt, text_of
from september_engine.models.base import Model, ModelRequest, Reply, TextChunk
from september_engine.models.offline import OfflineModel, _command_in
from september_engine.testing.fakes import FakeClock
from september_engine.testing.model_contract import ModelContract
from september_engine.tools import tool

from .._context.pictures import document, image, png, url


@tool
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@tool
def git_log(limit: int = 1) -> str:
    """Show the log of the repository."""
    return ""


@tool
def add(left: float, right: float) -> float:
    """Add two numbers."""
    return left + right


@tool
def calculator(expression: str) -> float:
    """Evaluate an arithmetic expression."""
    return 0.0


@tool
def bash(command: str) -> str:
    """Run a shell command."""
    return command


@tool
def read_file(path: str, encoding: str = "utf-8") -> str:
    """Read a file."""
    return path


@tool
def average(values: list[float], exact: bool) -> float:
    """The average of some values."""
    return 0.0


@tool
def forecast(city: str, units: Literal["celsius", "fahrenheit"], days: int, extra: dict[str, str] | None = None) -> str:
    """The weather forecast."""
    return city


@tool
def draw(shape: dict[str, str]) -> str:
    """Draw a shape."""
    return ""


def ask(question: str, *tools: Any) -> Prompt:
    return Prompt(
        system="",
        tools=[each.definition() for each in tools],
        messages=[{"role": "user", "content": [{"type": "text", "text": question}]}],
    )


async def reply_to(prompt: Prompt) -> Reply:
    chunks = [chunk async for chunk in OfflineModel().stream(ModelRequest(prompt=prompt, max_tokens=100))]
    last = chunks[-1]
    assert isinstance(last, Reply)
    return last


class TestOfflineModel(ModelContract):
    def make_model(self) -> Model:
        return OfflineModel()


class TestOfflineModelThatCalls(TestOfflineModel):
    def make_request(self) -> ModelRequest:
        return ModelRequest(prompt=ask("How many words are in 'to be or not'?", word_count), max_tokens=100)


@pytest.mark.parametrize(
    ("question", "tools", "name", "input"),
    [
        ("How many words are in 'to be or not'?", [git_log, word_count], "word_count", {"text": "to be or not"}),
        ("Count the words: to be or not", [word_count], "word_count", {"text": "to be or not"}),
        ("Find the latest commit and summarize it.", [word_count, git_log], "git_log", {}),
        ("Find the latest commit and summarize it.", [word_count, bash], "bash", {"command": "git log -1 --stat"}),
        ("Run the command `ls -l` please", [bash], "bash", {"command": "ls -l"}),
        ("Run `ls -la`", [bash], "bash", {"command": "ls -la"}),
        ("run the command: git status", [bash], "bash", {"command": "git status"}),
        ("Please execute `pytest -q`.", [word_count, bash], "bash", {"command": "pytest -q"}),
        ('Could you run "echo hi" for me?', [word_count, bash], "bash", {"command": "echo hi"}),
        ("Run the following command: uname -a", [word_count, bash], "bash", {"command": "uname -a"}),
        ("run the following: make all", [word_count, bash], "bash", {"command": "make all"}),
        ("Use bash to run sort a.txt", [word_count, bash], "bash", {"command": "sort a.txt"}),
        ("Can you run this command: cat a.txt | wc -l?", [bash], "bash", {"command": "cat a.txt | wc -l"}),
        ("run: make test", [bash], "bash", {"command": "make test"}),
        ("Run ls -la", [bash], "bash", {"command": "ls -la"}),
        ('Run the command "echo hi > /srv/x"', [bash], "bash", {"command": "echo hi > /srv/x"}),
        ("What is 12 + 30.5?", [word_count, add], "add", {"left": 12, "right": 30.5}),
        ("What is 12 plus 3?", [word_count, add], "add", {"left": 12, "right": 3}),
        ("What is 12 * 3?", [add, calculator], "calculator", {"expression": "12 * 3"}),
        ("Please read the file docs/intro.md", [read_file], "read_file", {"path": "docs/intro.md"}),
        (
            "Weather forecast in Fahrenheit for 3 days in 'Rome'",
            [forecast],
            "forecast",
            {"city": "Rome", "units": "fahrenheit", "days": 3},
        ),
        ("Average the values 1, 2 and 4", [average], "average", {"values": [1, 2, 4], "exact": False}),
    ],
)
async def test_it_calls_the_tool_that_fits_with_the_questions_own_words(
    question: str, tools: list[Any], name: str, input: dict[str, Any]
) -> None:
    reply = await reply_to(ask(question, *tools))
    assert reply.stop_reason == "tool_use"
    assert reply.content[1] == {"type": "tool_use", "id": "toolu_offline_1", "name": name, "input": input}
    assert text_of(reply.content).startswith("Offline model: no API key is set")
    next(each for each in tools if each.name == name).decode(input)


async def test_quoted_words_are_never_run_as_a_command() -> None:
    reply = await reply_to(ask("Summarise the commit 'rm -rf /'", bash))
    assert reply.content[1]["input"] == {"command": "git log -1 --stat"}


@pytest.mark.parametrize(
    "question", ["How do I run the app?", "Do not run `rm -rf x`'s twin", "Run faster next time", "Run a quick check"]
)
async def test_only_a_plain_request_to_run_something_is_one(question: str) -> None:
    assert _command_in(question) is None


async def test_it_says_what_it_cannot_look_at() -> None:
    media = [image(png(320, 120)), document(), url("https://example.org/a.png")]
    content = [*media, {"type": "text", "text": "What is it?"}]
    prompt = Prompt(system="", tools=[], messages=[{"role": "user", "content": content}])
    told = text_of((await reply_to(prompt)).content)
    assert "image/png of up to 320 pixels a side and application/pdf and https://example.org/a.png, and cannot" in told


@pytest.mark.parametrize(
    "question", ["Hello", "Sing a song about words?", "What is the sum?", "Read the file", "Draw a shape", "Forecast"]
)
async def test_without_a_fitting_tool_it_says_how_to_set_a_key(question: str) -> None:
    reply = await reply_to(ask(question, add, read_file, draw, forecast))
    told = text_of(reply.content)
    assert reply.stop_reason == "end_turn"
    assert told.startswith("Offline model: no API key is set, so simple rules answer instead of Claude.")
    assert "ANTHROPIC_API_KEY" in told
    assert told.endswith("match: add, read_file, draw, forecast.")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"content": "4"}, "Offline model: word_count gave: 4"),
        ({"content": "bad", "is_error": True}, "Offline model: word_count did not work: bad"),
        ({"content": ""}, "Offline model: word_count gave: nothing"),
        ({"content": '{"words":4,"lines":1}'}, "Offline model: word_count gave: words: 4, lines: 1"),
        ({"content": "a\n\nb\nc\nd\ne"}, "Offline model: word_count gave: a. It goes on: b; c; d; and 1 more lines."),
        ({"content": [{"type": "text", "text": "x"}, {"type": "image"}]}, "word_count gave: x [1 attachments]"),
        ({"content": "x" * 1000}, "word_count gave: " + "x" * 400 + "…"),
    ],
)
async def test_it_answers_from_the_tools_result(result: dict[str, Any], told: str) -> None:
    asked = ask("How many words are in 'a b'?", word_count)
    first = await reply_to(asked)
    block: Block = {"type": "tool_result", "tool_use_id": first.content[1]["id"], **result}
    messages = [
        *asked.messages,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [block]},
    ]
    second = await reply_to(Prompt(system="", tools=asked.tools, messages=messages))
    assert told in text_of(second.content)
    assert second.stop_reason == "end_turn"
    messages += [
        {"role": "assistant", "content": second.content},
        {"role": "user", "content": [{"type": "text", "text": "And how many words in 'c'?"}]},
    ]
    third = await reply_to(Prompt(system="", tools=asked.tools, messages=messages))
    assert (third.content[1]["id"], third.content[1]["input"]) == ("toolu_offline_2", {"text": "c"})


async def test_it_streams_word_by_word_at_its_pace() -> None:
    clock = FakeClock()
    model = OfflineModel(pace=0.5, clock=clock)
    words: list[str] = []

    async def listen() -> None:
        async for chunk in model.stream(ModelRequest(prompt=ask("Hello"), max_tokens=10)):
            match chunk:
                case TextChunk(text):
                    words.append(text)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await clock.until_asleep()
            assert words == []
            await clock.advance(1.0)
            assert words == ["Offline", " model:"]
            await clock.advance(60.0)


def test_a_pace_needs_a_clock() -> None:
    with pytest.raises(ConfigurationError, match="needs a clock"):
        OfflineModel(pace=1.0)


async def test_what_the_engine_adds_to_a_message_is_no_part_of_the_question() -> None:
    notes = aside("working_memory", "word_count: how many words are in 'to be'")
    said = {"role": "user", "content": [{"type": "text", "text": "Hello."}, notes]}
    request = ModelRequest(prompt=Prompt(system="", tools=[word_count.definition()], messages=[said]), max_tokens=99)
    reply = [chunk async for chunk in OfflineModel().stream(request)][-1]
    assert isinstance(reply, Reply)
    assert reply.stop_reason == "end_turn"


async def test_as_a_planner_it_says_that_no_plan_is_worth_it() -> None:
    prompt = ask("Find 'the fox', then tell everybody.", add)
    asked = ModelRequest(prompt=prompt, max_tokens=100, output_schema=PLAN_SCHEMA)
    reply = [chunk async for chunk in OfflineModel().stream(asked)][-1]
    assert isinstance(reply, Reply)
    assert steps_of(reply.content) == []
