"""Random schedules: whatever happens to a task in whatever order, its log is whole after every step.

`shell.py` drives the core as the real shell does, without an event loop, and checks the state after every append; the
log that it leaves is checked here, at every point at which it may be cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine._context.check import problems
from september_engine._turn.decide import decide
from september_engine._turn.facts import (
    AssistantReplied,
    HumanAnswered,
    HumanAsked,
    PlanChosen,
    PlanSkipped,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
)
from september_engine._turn.history import prompt_of
from september_engine._turn.inputs import (
    Answered,
    Broken,
    Cancelled,
    Expired,
    Input,
    Interrupted,
    OutOfTime,
    PlanFailed,
    Resumed,
    WriteNote,
)
from september_engine._turn.limits import Limits
from september_engine._turn.notes import notes_of
from september_engine._turn.plan import plan_of
from september_engine._turn.state import fold, remembered
from september_engine.events import ToolResultError
from september_engine.messages import Block, Usage, tool_uses
from september_engine.testing.log_checker import check_log

from .._context.pictures import document, image, png
from .build import Turn, planned, text, think, use
from .shell import Shell

pytestmark = pytest.mark.campaign

Draw = Callable[[st.SearchStrategy[Any]], Any]

EXAMPLES = 350
STEPS = 60

LARGE = image(png(2001, 10))
words = st.sampled_from(["Hello", "", " \n", "é\u2028🦊", "x" * 40])
media = st.sampled_from([[], [], [], [image()], [document(), LARGE], [LARGE] * 9])
contents = st.builds(lambda blocks, said: [*blocks, text(said)], media, st.sampled_from(["Hi", "And now?", "🦊"]))
tools = st.sampled_from(["look", "look", "gated", "note", "update_plan", "no such tool!"])
calls = st.builds(use, st.sampled_from(["a", "b", "c 1"]), tools)
blocks: st.SearchStrategy[Block] = st.one_of(
    words.map(text),
    calls,
    calls,
    st.sampled_from(["s1", "s2"]).map(think),
    st.sampled_from([{"type": "redacted_thinking", "data": "x"}, {"type": "server_tool_use", "id": "a", "input": {}}]),
)
answers = st.lists(blocks, max_size=5)
outputs = st.sampled_from(["seen", "", None, {"rows": [1, 2]}, "y" * 300, [text("found"), image()], [text(" ")]])
limits = st.builds(
    Limits,
    steps=st.sampled_from([50, 50, 50, 1, 2]),
    tool_calls=st.sampled_from([200, 200, 200, 1, 3]),
    calls_per_message=st.sampled_from([64, 64, 1, 2]),
    tokens=st.sampled_from([None, None, None, 60]),
    usd=st.sampled_from([None, None, None, 0.5]),
    task_tokens=st.sampled_from([None, None, None, 300]),
    task_usd=st.sampled_from([None, None, None, 1.0]),
    repeats=st.sampled_from([None, 1, 2, 20]),
    seconds=st.sampled_from([None, 60.0]),
    attempts=st.integers(1, 3),
    output_bytes=st.just(100),
    max_tokens=st.just(4),
    context_tokens=st.sampled_from([None, None, 1_000, 2_000]),
    compactions=st.sampled_from([10, 10, 2, 0]),
)
read = st.one_of(st.integers(0, 30), st.integers(900, 2_500))
usages = st.builds(Usage, input_tokens=read, output_tokens=st.integers(0, 9))
costs = st.sampled_from([None, 0.0, 0.1, 0.1, 0.2])
schemas = st.sampled_from([None, None, {"type": "object"}])
misfits = st.sampled_from([None, None, "It is not JSON."])
stops = st.sampled_from(["tool_use", "end_turn", "end_turn", "max_tokens", "pause_turn", "refusal"])
errors = st.sampled_from([None, None, ToolResultError(reason="tool_failed", message="It broke.")])
failures = st.fixed_dictionaries(
    {
        "code": st.sampled_from(["LLM_PROVIDER_ERROR", "LLM_TIMEOUT", "LLM_AUTH", "CONTEXT_OVERFLOW"]),
        "retryable": st.booleans(),
        "bad_history": st.sampled_from([False, False, True]),
        "suspect": st.sampled_from([None, "media"]),
        "usage": st.none() | usages,
        "cost_usd": costs,
        "has_fallback": st.booleans(),
        "chance": st.floats(0, 0.99),
        "retry_after": st.sampled_from([None, 0.0, 5.0]),
    }
)
plans = st.sampled_from(
    [
        planned(cost_usd=0.1),
        planned("Look", "Tell"),
        PlanFailed(now=0, problem="It broke.", usage=Usage(input_tokens=3), cost_usd=0.1),
    ]
)
notes = st.builds(
    WriteNote,
    key=st.sampled_from(["a", "city", "budget"]),
    value=st.sampled_from([None, 0, "Rome", {"from": [1, 2]}]),
    minutes=st.sampled_from([None, None, 0.01, 1.0]),
)
clock_steps = st.sampled_from([0, 0, 1, 1000, -5000, 60_000])


TROUBLE = ["cancel", "time", "break", "expire", "crash", "crash", "duplicate", "duplicate", "note", "note"]


def possible(shell: Shell) -> list[str]:
    """What usually happens next; what is likely stands there more than once."""
    if shell.row.open_turn is None:
        first = ["start", "start", "start", "note"]
        return [*first, "edit", "retry", "duplicate"] if shell.messages() else first
    usual: list[str] = []
    if shell.owes:
        usual += ["obey"] * 4
    if shell.planning:
        usual += ["plan"] * 3
    if shell.attempt is not None:
        usual += ["stream"] * 2 + ["reply"] * 3 + ["fail"]
    if shell.running:
        usual += ["finish"] * 3
    if shell.state.open_requests:
        usual += ["answer"] * 3
    return usual


def step(shell: Shell, draw: Draw) -> None:
    """One thing happens."""
    shell.clock += draw(clock_steps)
    trouble = shell.row.open_turn is not None and draw(st.integers(0, 9)) == 5
    action = draw(st.sampled_from(TROUBLE if trouble else possible(shell)))
    match action:
        case "start":
            prefix, planner = draw(st.sampled_from(["p1", "p1", "p2"])), draw(st.booleans())
            direct, schema = draw(st.booleans()), draw(schemas)
            shell.start(
                content=draw(contents),
                limits=draw(limits),
                prefix=prefix,
                planner=planner,
                direct=direct,
                output_schema=schema,
            )
            assert shell.state.planning <= (planner and not direct)
        case "edit" | "retry":
            target = draw(st.sampled_from(sorted(shell.messages())))
            planner = draw(st.booleans())
            shell.start(
                content=draw(contents), limits=draw(limits), prefix="p1", kind=action, target=target, planner=planner
            )
        case "obey":
            shell.obey(lambda: draw(answers))
        case "plan":
            shell.plan(draw(plans))
        case "note":
            shell.note(*draw(st.lists(notes, min_size=1, max_size=2)))
        case "stream":
            shell.stream()
        case "reply":
            broken = draw(st.lists(st.sampled_from(["a", "b"]), max_size=1))
            more = {"usage": draw(usages), "cost_usd": draw(costs), "misfit": draw(misfits)}
            shell.reply(stop_reason=draw(stops), broken=broken, **more)
        case "fail":
            shell.fail(**draw(failures))
        case "finish":
            write = draw(st.none() | notes)
            shell.finish(draw(st.sampled_from(sorted(shell.running))), draw(outputs), draw(errors), write)
        case "answer":
            answer(shell, draw)
        case "crash":
            shell.crash()
            boot(shell, draw)
        case "duplicate":
            for input in shell.duplicates():
                assert decide(shell.state, input) == []
        case _:
            end(shell, action)


def answer(shell: Shell, draw: Draw) -> None:
    request = draw(st.sampled_from(shell.state.open_requests))
    said = draw(st.sampled_from(["yes", "yes", "no", "maybe"]))
    added = draw(st.sampled_from([[], [], [text("Only once."), image()]]))
    shell.take(Answered(now=shell.clock, request_id=request.id, answer=said, content_blocks=added))
    assert (request in shell.state.open_requests) is (said == "maybe")


def boot(shell: Shell, draw: Draw) -> None:
    """A new process: what waits for a person is kept, the rest is abandoned or resumed."""
    if shell.row.open_turn is None or shell.row.waiting_since is not None:
        return
    if draw(st.booleans()):
        repeatable = draw(st.sampled_from([[], ["look"]]))
        shell.take(Resumed(now=shell.clock, blocks=shell.shown_in_vain(), repeatable=repeatable))
    else:
        shell.take(Interrupted(now=shell.clock))


def end(shell: Shell, action: str) -> None:
    """What may end a turn. What is under way is stopped first, but only where the turn really ends."""
    now, waits = shell.clock, shell.state.waiting_since is not None
    match action:
        case "cancel":
            shown = shell.land()
            ends = shell.take(Cancelled(now=now, message_id=shell.id("msg"), text=shown))
        case "time":
            ends = shell.stop(OutOfTime(now=now))
            assert bool(ends) is (shell.state.limits.seconds is not None)
        case "expire":
            ends = shell.stop(Expired(now=now))
            assert bool(ends) is waits
        case _:
            ends = shell.stop(Broken(now=now, code="STORE_FULL", message="The disk is full."))
    assert (shell.state.status == "errored") is bool(ends)


@settings(max_examples=EXAMPLES, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_happens_the_log_is_whole(data: st.DataObject) -> None:
    shell = Shell()
    for _ in range(STEPS):
        step(shell, data.draw)
    assert check_log(shell.facts, shell.events) == []
    assert_the_promises(shell)
    assert_the_next_message_always_works(shell)
    assert_a_request_needs_no_more_than_what_was_kept(shell)


@settings(max_examples=300, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_after_a_crash_between_any_two_appends_the_next_process_goes_on(data: st.DataObject) -> None:
    shell, moments = Shell(), list[Shell]()
    for _ in range(STEPS // 6):
        appended = len(shell.events) + len(shell.facts)
        step(shell, data.draw)
        if len(shell.events) + len(shell.facts) > appended:
            moments.append(shell.copy())
    for moment in moments:
        for policy in POLICIES:
            survivor = moment.copy()
            survivor.crash()
            go_on(survivor, policy)
            assert check_log(survivor.facts, survivor.events, every_prefix=False) == []
            assert_the_promises(survivor)


POLICIES: list[Callable[[Shell], Input]] = [
    lambda shell: Interrupted(now=shell.clock),
    lambda shell: Resumed(now=shell.clock, blocks=shell.shown_in_vain(), repeatable=[]),
    lambda shell: Resumed(now=shell.clock, blocks=shell.shown_in_vain(), repeatable=["look"]),
]


def go_on(shell: Shell, policy: Callable[[Shell], Input]) -> None:
    """Boot, and bring the turn to its end; then the thread takes another message."""
    if shell.row.open_turn is not None and shell.row.waiting_since is None:
        assert shell.take(policy(shell))
    while shell.row.open_turn is not None:
        for request in shell.state.open_requests:
            shell.take(Answered(now=shell.clock, request_id=request.id, answer="yes"))
        shell.obey(lambda: [text("Done.")])
        if shell.planning:
            shell.plan(planned("Look", "Tell"))
        for call_id in sorted(shell.running):
            shell.finish(call_id, "seen")
        if shell.attempt is not None:
            shell.reply(stop_reason="end_turn", usage=Usage(), broken=[])
    shell.start(content=[text("And now?")], limits=Limits(), prefix="p1")
    assert shell.row.open_turn is not None


def assert_the_promises(shell: Shell) -> None:
    """Said again in few words, apart from the log checker: what the engine promises of tools and ends."""
    for turn_id in dict.fromkeys(row.turn_id for row in shell.facts):
        tools: dict[str, str] = {}
        allowed, started, finished = set[str](), Counter[str](), Counter[str]()
        asked: dict[str, str] = {}
        over, plans = False, 0
        for fact in shell.turn(turn_id):
            assert not over, "nothing follows the end"
            match fact:
                case AssistantReplied():
                    tools |= {use["id"]: use["name"] for use in tool_uses(fact.content)}
                case PlanChosen(by="planner") | PlanSkipped():
                    plans += 1
                    assert plans == 1 and not tools, "a turn is planned once, before anything else"
                case HumanAsked():
                    asked[fact.request_id] = fact.tool_call_id
                case HumanAnswered(answer="yes"):
                    allowed.add(asked[fact.request_id])
                case ToolStarted(tool_call_id=id):
                    started[id] += 1
                    assert not finished[id], "a stored result is final"
                    assert tools[id] != "gated" or id in allowed, "no tool runs without the leave it needs"
                    assert started[id] == 1 or tools[id] == "look", "only what is safe to repeat is repeated"
                case ToolFinished(tool_call_id=id):
                    finished[id] += 1
                case TurnCompleted() | TurnFailed():
                    over = True
        assert set(finished.values()) <= {1}
        assert not over or finished.keys() == tools.keys(), "every call has one result"


def assert_a_request_needs_no_more_than_what_was_kept(shell: Shell) -> None:
    """Read from where the turn says, a thread gives the very same request, rules, plan and notes as read whole."""
    for turn_id in dict.fromkeys(row.turn_id for row in shell.facts):
        whole, since = shell.thread(turn_id), fold(shell.turn(turn_id)).since
        begin = next(
            (at for at, fact in enumerate(whole) if isinstance(fact, TurnStarted) and fact.turn_id == since), 0
        )
        prefix = fold(shell.turn(turn_id)).prefix
        assert prompt_of(whole[begin:], prefix=prefix, model="big") == prompt_of(whole, prefix=prefix, model="big")
        assert remembered(whole[begin:]) == remembered(whole)
        if fold(shell.turn(turn_id)).counts:  # nothing goes on from a turn that does not count
            assert plan_of(whole[begin:]) == plan_of(whole)
            assert notes_of(whole[begin:]) == notes_of(whole)


def assert_the_next_message_always_works(shell: Shell) -> None:
    """Wherever the log of the thread is cut, a new turn behind it gives a prompt that can be sent."""
    facts = shell.thread(shell.row.open_turn or shell.row.head)
    following = Turn(turn_id="turn_next", prefix="p1").facts
    last = None
    for count in range(len(facts) + 1):
        prompt = prompt_of([*facts[:count], *following], prefix="p1", model="big")
        assert prompt == last or problems(prompt) == []
        last = prompt
