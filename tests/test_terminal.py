"""What a person sees of a turn."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._terminal import BOLD, CYAN, DIM, RED, RESET, Terminal
from september_engine.events import (
    ContentBlockStart,
    ContentBlockStop,
    Error,
    Event,
    Plan,
    PlanStep,
    Retry,
    Rewound,
    TextDelta,
    ThinkingDelta,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
    ToolResultError,
    WorkingMemoryUpdate,
)
from september_engine.messages import JSON, Usage


class Screen(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*events: Event) -> str:
    out = io.StringIO()
    terminal = Terminal(out)
    for event in events:
        terminal.show(event)
    return out.getvalue()


def text_block(index: int, *pieces: str) -> list[Event]:
    return [
        ContentBlockStart(block_index=index, block_type="text"),
        *[TextDelta(text=piece) for piece in pieces],
        ContentBlockStop(block_index=index, block_type="text"),
    ]


def completed(usage: Usage) -> ThreadLifecycle:
    return ThreadLifecycle(
        phase="completed", task_id="a", turn_id="t", timestamp="", stop_reason="end_turn", usage=usage
    )


def call(input: dict[str, JSON], call_id: str = "c") -> ToolCall:
    return ToolCall(tool="look", tool_call_id=call_id, input=input)


def result(output: JSON, error: ToolResultError | None = None, call_id: str = "c") -> ToolResult:
    return ToolResult(tool_call_id=call_id, tool="look", output=output, error=error)


def test_text_streams_as_it_comes_and_is_flushed() -> None:
    class Unflushed(io.StringIO):
        seen = ""

        def flush(self) -> None:
            self.seen = self.getvalue()

    out = Unflushed()
    Terminal(out).show(TextDelta(text="Hel"))
    assert out.seen == "Hel"


def test_blocks_of_text_are_paragraphs() -> None:
    assert shown(*text_block(0, "One, ", "two."), *text_block(1, "Three.")) == "One, two.\n\nThree."


def test_an_answer_stands_apart_from_the_thinking() -> None:
    thinking: list[Event] = [ContentBlockStart(block_index=0, block_type="thinking"), ThinkingDelta(text="Hm.")]
    assert shown(*thinking, *text_block(1, "Yes.")) == "Hm.\n\nYes."


def test_a_tool_call_stands_apart_from_the_thinking() -> None:
    thinking: list[Event] = [ContentBlockStart(block_index=0, block_type="thinking"), ThinkingDelta(text="Hm.")]
    tool = ContentBlockStart(block_index=1, block_type="tool_use")
    assert shown(*thinking, tool, call({}), result("done")) == "Hm.\n\n● look() → done\n"


def test_a_call_and_its_result_are_one_line() -> None:
    assert shown(*text_block(0, "Wait."), call({"at": "sea", "count": 2}), result({"ships": 3})) == (
        'Wait.\n● look(at=sea, count=2) → {"ships":3}\n'
    )


def test_parallel_calls_are_told_apart_in_whatever_order_they_end() -> None:
    first, second = call({"at": 1}, "c1"), call({"at": 2}, "c2")
    said = shown(first, second, result("b", call_id="c2"), result("a", call_id="c1"))
    assert said == "● look(at=2) → b\n● look(at=1) → a\n"


def test_a_failed_tool_says_why() -> None:
    failed = result(None, ToolResultError(reason="not_found", message="No such place."))
    assert shown(call({}), failed) == "● look() ✗ No such place.\n"


def test_a_result_without_a_call_that_was_seen_has_the_tools_name() -> None:
    assert shown(result(1)) == "● look → 1\n"


@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("output", ["a\n\n  b\tc ", "word " * 100, "x" * 1000, {"k": ["v" * 50] * 20}, "漢字" * 100])
def test_whatever_a_tool_returns_is_one_line_as_wide_as_the_terminal(
    output: JSON, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    said = shown(call({f"argument_{number}": "漢" * 30 for number in range(5)}), result(output))
    assert said.endswith("\n")
    assert said.count("\n") == 1
    assert sum(1 + (unicodedata.east_asian_width(char) == "W") for char in said[:-1]) <= width
    assert " → " in said


def test_a_long_call_has_the_room_that_a_short_outcome_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert shown(call({"at": "x" * 35}), result(1)) == f"● look(at={'x' * 35}) → 1\n"


def test_the_end_tells_the_tokens_after_an_empty_line() -> None:
    usage = Usage(input_tokens=10, output_tokens=2)
    assert shown(*text_block(0, "Hi."), completed(usage)) == "Hi.\n\nend_turn · 10 tokens in, 2 out\n"


def test_the_end_tells_what_came_from_the_cache() -> None:
    usage = Usage(input_tokens=10, output_tokens=2, cache_hit_tokens=8)
    assert "10 tokens in (8 from cache), 2 out" in shown(completed(usage))


def test_a_retry_is_told_with_what_no_longer_counts() -> None:
    again = shown(*text_block(0, "Hal"), Retry(attempt=1, reason="LLM_TIMEOUT", wait_ms=1500, retracts=[0]))
    assert again == "Hal\n↻ LLM_TIMEOUT: trying again in 1.5 s. What was shown of this answer no longer counts.\n"
    assert "no longer" not in shown(Retry(attempt=1, reason="LLM_TIMEOUT", wait_ms=0))


def test_an_error_is_a_line_with_its_code() -> None:
    assert shown(TextDelta(text="Hal"), Error(error="CANCELLED", message="It was stopped.")) == (
        "Hal\n✗ CANCELLED: It was stopped.\n"
    )


def test_events_that_are_not_for_people_show_nothing() -> None:
    started = ThreadLifecycle(phase="started", task_id="a", turn_id="t", timestamp="")
    assert shown(started, Rewound(message_id="m", kind="edit")) == ""


@given(st.text())
def test_no_text_can_steer_the_terminal(text: str) -> None:
    said = shown(TextDelta(text=text), ThinkingDelta(text=text), call({"at": text}), result(text))
    assert not any(char < " " and char not in "\n\t" for char in said)
    assert not any("\x7f" <= char < "\xa0" for char in said)


def test_an_escape_sequence_of_a_model_is_defused_and_the_words_stay() -> None:
    assert shown(TextDelta(text="\x1b[2Jgone\r\u202eback")) == "[2Jgoneback"


def test_emoji_of_several_parts_stay_whole() -> None:
    family = "👩\u200d👩\u200d👧 ❤\ufe0f"
    assert shown(TextDelta(text=family)) == family


def test_a_terminal_gets_colours() -> None:
    out = Screen()
    terminal = Terminal(out, colours=True)
    for event in (call({}), result("a"), call({}), result(None, ToolResultError(reason="r", message="m"))):
        terminal.show(event)
    terminal.line("bold", BOLD)
    terminal.show(ThinkingDelta(text="hm"))
    said = out.getvalue()
    assert f"{CYAN}● look() → a{RESET}\n" in said
    assert f"{RED}● look() ✗ m{RESET}\n" in said
    assert f"{BOLD}bold{RESET}\n" in said
    assert said.endswith(f"{DIM}hm{RESET}")


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_that_show_them_and_people_who_want_them(
    environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for out, expected in ((Screen(), coloured), (io.StringIO(), False)):
        Terminal(out).line("x", RED)
        assert (RED in out.getvalue()) is expected


@pytest.mark.parametrize(("echoed", "written"), [(True, "Yes? ● look() → 6\n"), (False, "Yes? \n● look() → 6\n")])
def test_after_an_answer_a_line_begins_where_the_terminal_is(echoed: bool, written: str) -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.say("Yes? ")
    terminal.end_line(echoed=echoed)
    terminal.end_line(echoed=False)
    terminal.show(call({}))
    terminal.show(ToolResult(tool="look", tool_call_id="c", output=6))
    assert out.getvalue() == written


def steps(*statuses: Any) -> Plan:
    return Plan(steps=[PlanStep(id=str(n), title=f"Step {n}", status=status) for n, status in enumerate(statuses, 1)])


def test_a_plan_is_a_few_lines_around_what_is_being_worked_on() -> None:
    assert shown(steps("done", "active", "pending", "dropped")) == (
        "Plan: 2 of 4 steps done\n  ● Step 1\n  ◐ Step 2\n  ○ Step 3\n  – Step 4\n"
    )
    assert shown(steps(*["done"] * 5, "active", *["pending"] * 9)) == (
        "Plan: 5 of 15 steps done\n  … 4 before\n"
        "  ● Step 5\n  ◐ Step 6\n  ○ Step 7\n  ○ Step 8\n  ○ Step 9\n  ○ Step 10\n"
        "  … 5 more\n"
    )
    assert shown(steps(*["done"] * 8)).startswith("Plan: 8 of 8 steps done\n  … 2 before\n")
    assert shown(Plan(steps=[])) == "Plan: none any more\n"


def test_a_note_is_one_line() -> None:
    assert shown(WorkingMemoryUpdate(key="city", value="Ro\nme")) == "✎ city = Ro me\n"
    assert shown(WorkingMemoryUpdate(key="\x1b[2Jcity", value=None)) == "✎ [2Jcity is gone\n"
