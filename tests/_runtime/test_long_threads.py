"""Threads that grow far beyond the model's window: what is sent stays small, and nothing that matters is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import anyio
import attrs
import pytest

from september_engine import Engine, Turn, tool
from september_engine._context.check import changed_prefix, problems
from september_engine._context.tokens import prompt_tokens
from september_engine._turn.compaction import SUMMARISE
from september_engine._turn.limits import Limits
from september_engine.errors import ModelError, TurnFailed
from september_engine.events import CompactionEvent, Event, TextDelta, UsageEvent
from september_engine.messages import Prompt, Usage, text_of
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, fail, hold, say, think, turn
from september_engine.store.base import FactRow
from september_engine.store.memory import MemoryStore
from tests.engines import Bench, FlakyStore, held, names, soon, ticks

WINDOW = 2_400
LIMITS = Limits(context_tokens=WINDOW, max_tokens=300)
TOO_LONG = ModelError("prompt is too long: 9 tokens > 8 maximum", code="CONTEXT_OVERFLOW")


def said_last(request: ModelRequest) -> str:
    return text_of(request.prompt.messages[-1]["content"])


def is_summary(request: ModelRequest) -> bool:
    return said_last(request) == SUMMARISE


def first_text(prompt: Prompt) -> str:
    return text_of(prompt.messages[0]["content"])


def answering(answer: Callable[[ModelRequest], Step | Answer], summary: str = "The number is 7.") -> ScriptedModel:
    """A strict model that answers a request for a summary by itself."""
    return ScriptedModel(lambda request: say(summary) if is_summary(request) else answer(request))


@tool
async def rows(count: int) -> str:
    """Give rows."""
    return "\n".join(f"row {number}" for number in range(count))


@attrs.define
class Watched:
    """A script for very many turns that looks at each request: valid, within the window, going on from the last."""

    summaries: int = 0
    requests: int = 0
    largest: int = 0

    def __call__(self, request: ModelRequest) -> Step | Answer:
        assert problems(request.prompt) == []
        size = prompt_tokens(request.prompt)
        assert size + request.max_tokens <= WINDOW
        if is_summary(request):
            self.summaries += 1
            return say("## Goals and open work\nCounting on. " + "So it is. " * 20)
        self.requests += 1
        self.largest = max(self.largest, size)
        usage = Usage(input_tokens=size, output_tokens=40)
        if self.requests % 7 == 3:
            return turn(think("Rows, then."), call("rows", count=self.requests % 90), usage=usage)
        return turn(say(f"That was number {self.requests}. " * 5), usage=usage)


@pytest.mark.campaign
async def test_two_thousand_turns_never_exceed_the_window_and_read_little_of_the_past() -> None:
    script, store = Watched(), RowCount()
    model = ScriptedModel(script, strict=False, piece=10_000)
    bench = Bench(store=store)
    async with bench.engine(model, tools=[rows], limits=LIMITS) as engine:
        for number in range(2_000):
            result = await engine.execute(f"Go on with {number}, please.", task_id="t")
            assert result.stop_reason == "end_turn"
            model.requests.clear()
            model._answered.clear()
        assert store.rows == {}  # a process that goes on with a thread reads nothing of it
        assert len(await engine.messages("t", limit=1_001)) == 1_001
    assert script.largest > WINDOW / 2
    assert 20 < script.summaries < script.requests / 10
    # a process that knows nothing of the thread reads what it sends, not the 2,000 turns
    store.rows.clear()
    async with bench.engine(model, tools=[rows], limits=LIMITS) as engine:
        await engine.execute("Still there?", task_id="t")
        assert sum(store.rows.values()) < 100


@attrs.define(slots=False)
class RowCount(FlakyStore):
    """Counts the rows of facts that are read."""

    rows: Counter[str] = attrs.field(factory=Counter)

    async def turn(self, task_id: str, turn_id: str, /) -> list[FactRow]:
        found = await super().turn(task_id, turn_id)
        self.rows["turn"] += len(found)
        return found

    async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
        found = await super().thread(task_id, turn_id, since=since)
        self.rows["thread"] += len(found)
        return found


LONG = "word " * 200


async def test_a_compaction_is_shown_and_the_next_requests_begin_with_the_summary() -> None:
    model = answering(lambda request: say("Yes. " * 50))
    async with Bench().running(model, limits=LIMITS) as engine:
        events = []
        for number in range(8):
            events += await soon(engine.execute(f"{number}: {LONG}", task_id="t"))
        told = [event for event in events if isinstance(event, CompactionEvent)]
        assert told
        assert {event.strategy for event in told} == {"summary"}
        assert all(event.after_tokens * 5 <= event.before_tokens * 4 for event in told)
        [summary] = [request for request in model.requests if is_summary(request)][:1]
        before = model.requests[model.requests.index(summary) - 1].prompt
        after = model.requests[model.requests.index(summary) + 1].prompt
        # the summary is asked for behind the very messages that are taken out, so the provider has them cached
        asked = summary.prompt.messages[:-1]
        assert asked == before.messages[: len(asked)]
        assert (summary.prompt.system, summary.prompt.tools) == (before.system, before.tools)
        assert "The number is 7." in first_text(after)
        assert after.messages[1:-2] == before.messages[len(asked) :]
        assert len(await engine.messages("t")) == 16
    usages = [event for event in events if isinstance(event, UsageEvent)]
    assert len(usages) == len(model.requests)


async def test_requests_after_a_compaction_go_on_from_each_other() -> None:
    model = answering(lambda request: say("Yes. " * 50))
    async with Bench().running(model, limits=LIMITS) as engine:
        for number in range(9):
            await engine.execute(f"{number}: {LONG}", task_id="t")
    sent = [request.prompt for request in model.requests if not is_summary(request)]
    broken = [changed_prefix(one, [{"type": "text", "text": "Yes. " * 50}], two) for one, two in pairwise(sent)]
    assert sum(problem is not None for problem in broken) == sum(map(is_summary, model.requests)) >= 1


async def test_the_model_for_summaries_is_asked_where_there_is_one() -> None:
    light = ScriptedModel(lambda request: say("In short: 7."), name="light", new_prefix=True)
    model = ScriptedModel(lambda request: turn(think("Hm."), say("Yes. " * 50)))
    async with Bench().running(model, light=light, limits=LIMITS) as engine:
        for number in range(8):
            await engine.execute(f"{number}: {LONG}", task_id="t")
    assert light.requests
    assert all(is_summary(request) for request in light.requests)
    # thinking of another model means nothing to it
    assert "thinking" not in {kind for request in light.requests for kind in kinds(request.prompt)}
    assert "In short: 7." in first_text(model.requests[-1].prompt)


def kinds(prompt: Prompt) -> set[str]:
    return {block["type"] for message in prompt.messages for block in message["content"]}


@pytest.mark.parametrize("broken", [fail(ModelError("It is down.")), say("  "), call("rows", count=1)])
async def test_where_nobody_can_sum_it_up_excerpts_take_its_place(broken: Step) -> None:
    model = ScriptedModel(lambda request: broken if is_summary(request) else say("Yes. " * 50))
    async with Bench().running(model, tools=[rows], limits=LIMITS) as engine:
        events = []
        for number in range(8):
            events += await soon(engine.execute(f"{number}: {LONG}", task_id="t"))
    assert {event.strategy for event in events if isinstance(event, CompactionEvent)} == {"excerpts"}
    told = first_text(model.requests[-1].prompt)
    assert "Person: " in told
    assert "You: Yes. Yes." in told
    assert "older messages are left out" in told


async def test_a_model_that_falls_silent_over_a_summary_is_given_up() -> None:
    bench, silent = Bench(), anyio.Event()
    light = ScriptedModel(lambda request: turn(hold(silent), say("Never said.")), name="light", new_prefix=True)
    model = ScriptedModel(lambda request: say("In short." if is_summary(request) else "Yes. " * 50))
    async with bench.running(model, light=light, limits=LIMITS, progress_timeout=30.0) as engine:
        events: list[Event] = []

        async def talk() -> None:
            for number in range(8):
                events.extend(await soon(engine.execute(f"{number}: {LONG}", task_id="t")))
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(talk)
            while True:
                await bench.clock.advance(10.0)
    assert light.requests
    assert light.open_streams == 0
    assert "In short." in first_text(model.requests[-1].prompt)
    assert names(events).count("completed") == 8


async def test_a_summary_is_tried_again_where_that_may_help() -> None:
    attempts: list[ModelRequest] = []

    def summing(request: ModelRequest) -> Step:
        attempts.append(request)
        busy = ModelError("Busy.", code="LLM_RATE_LIMITED", retryable=True, retry_after=0.0)
        return fail(busy) if len(attempts) == 1 else say("All is well.")

    model = ScriptedModel(lambda request: summing(request) if is_summary(request) else say("Yes. " * 50))
    async with Bench().running(model, limits=LIMITS) as engine:
        for number in range(6):
            await engine.execute(f"{number}: {LONG}", task_id="t")
    assert len(attempts) == 2
    assert "All is well." in first_text(model.requests[-1].prompt)


async def test_a_provider_that_finds_it_too_long_is_answered_by_one_compaction() -> None:
    def answer(request: ModelRequest) -> Step:
        return fail(TOO_LONG) if len(request.prompt.messages) > 6 else say("Yes.")

    model = answering(answer)
    async with Bench().running(model) as engine:
        for number in range(3):
            await engine.execute(f"{number}: {LONG}", task_id="t")
        events = await soon(engine.execute("Go on.", task_id="t"))
        shown = [type(event).__name__ for event in events]
        assert shown.count("CompactionEvent") == 1
        assert shown.index("Retry") < shown.index("CompactionEvent") < shown.index("TextDelta")
        assert (await engine.execute("And now?", task_id="t")).text == "Yes."


async def test_what_is_too_long_still_leaves_the_thread_where_it_stood() -> None:
    model = answering(lambda request: fail(TOO_LONG) if "heavy" in said_last(request) else say("Yes."))
    async with Bench().running(model) as engine:
        await engine.execute("light", task_id="t")
        with pytest.raises(TurnFailed) as failed:
            await engine.execute("heavy", task_id="t")
        assert failed.value.code == "CONTEXT_OVERFLOW"
        assert len([request for request in model.requests if is_summary(request)]) == 1
        assert (await engine.execute("light again", task_id="t")).text == "Yes."
        last = model.requests[-1].prompt
        assert [message["role"] for message in last.messages] == ["user", "assistant", "user"]
        with pytest.raises(TurnFailed) as alone:
            await engine.execute("heavy", task_id="new")
        assert alone.value.code == "CONTEXT_OVERFLOW"


async def test_a_message_that_cannot_fit_is_refused_before_it_is_sent() -> None:
    model = answering(lambda request: say("Yes."))
    async with Bench().running(model, limits=LIMITS) as engine:
        await engine.execute("light", task_id="t")
        with pytest.raises(TurnFailed) as failed:
            await engine.execute("word " * 3_000, task_id="t")
        assert failed.value.code == "CONTEXT_OVERFLOW"
        assert "context window of 2400 tokens" in failed.value.message
        assert (await engine.execute("light again", task_id="t")).text == "Yes."
    assert max(prompt_tokens(request.prompt) for request in model.requests) < WINDOW


async def test_without_compaction_the_provider_has_the_last_word() -> None:
    model = ScriptedModel(lambda request: say("Yes. " * 50))
    async with Bench().running(model, limits=LIMITS, reactive_compact_enabled=False) as engine:
        for number in range(8):
            await engine.execute(f"{number}: {LONG}", task_id="t")
    assert len(model.requests[-1].prompt.messages) == 15


async def test_one_long_turn_keeps_its_message_and_its_last_steps() -> None:
    def answer(request: ModelRequest) -> Step | Answer:
        steps = len([1 for message in request.prompt.messages if message["role"] == "assistant"])
        done = "Step 30" in str(request.prompt.messages[-2:]) and steps
        return say("Done.") if done else next(numbers)

    numbers = iter([turn(say(f"Step {number}."), call("rows", count=59 + number % 3)) for number in range(1, 31)])
    model = answering(answer, summary="I have counted rows.")
    async with Bench().running(model, tools=[rows], limits=LIMITS) as engine:
        events = await soon(engine.execute("Count all rows.", task_id="t"))
    assert len([event for event in events if isinstance(event, CompactionEvent)]) > 2
    last = model.requests[-1].prompt
    assert problems(last) == []
    assert text_of(last.messages[1]["content"]) == "Count all rows."
    assert "I have counted rows." in first_text(last)
    assert last.messages[2]["role"] == "assistant"


async def test_a_turn_that_must_be_shortened_too_often_ends() -> None:
    model = answering(lambda request: call("rows", count=100))
    limits = Limits(context_tokens=WINDOW, max_tokens=300, compactions=2)
    async with Bench().running(model, tools=[rows], limits=limits) as engine:
        with pytest.raises(TurnFailed, match="limit: compactions") as failed:
            await engine.execute("Count for ever.", task_id="t")
    assert failed.value.code == "BUDGET_EXCEEDED"


@pytest.mark.parametrize("kind", ["edit", "retry"])
async def test_a_message_that_was_told_in_brief_can_be_edited_and_retried(kind: str) -> None:
    model = answering(lambda request: say("Yes. " * 50))
    bench = Bench(store=MemoryStore())
    async with bench.running(model, limits=LIMITS) as engine:
        turns = [await engine.execute(f"{number}: {LONG}", task_id="t") for number in range(8)]
        assert any(map(is_summary, model.requests))
        target = {f"{kind}_message_id": turns[1].user_message_id}
        await engine.execute("1: otherwise", task_id="t", **target)  # type: ignore[call-overload]
        sent = [
            first_text(Prompt(system="", tools=[], messages=[message]))
            for message in model.requests[-1].prompt.messages
        ]
        assert [text[:2] for text in sent] == ["0:", "Ye", "1:"]
        assert (await engine.execute("On from here.", task_id="t")).text == "Yes. " * 50


async def test_what_people_allowed_for_the_task_still_holds_behind_a_summary() -> None:
    ran: list[str] = []

    @tool(requires_permission=True)
    async def send(to: str) -> str:
        """Send it."""
        ran.append(to)
        return "sent"

    def answer(request: ModelRequest) -> Step:
        if "send" in said_last(request):
            return call("send", to="Ann")
        return say("Yes. " * 50)

    bench = Bench(store=MemoryStore())
    async with bench.running(answering(answer), tools=[send], limits=LIMITS) as engine:
        first = engine.execute("send", task_id="t")
        async for event in first:
            if event.type == "hitl_request":
                await engine.respond("t", "yes", remember=True)
        for number in range(8):
            await engine.execute(f"{number}: {LONG}", task_id="t")
    async with bench.running(answering(answer), tools=[send], limits=LIMITS) as engine:
        await engine.execute("send", task_id="t")
    assert ran == ["Ann", "Ann"]


async def test_a_question_without_an_answer_survives_word_for_word() -> None:
    def answer(request: ModelRequest) -> Step:
        return fail(ModelError("It is down.")) if "Why" in said_last(request) else say("Yes. " * 50)

    model = answering(answer)
    async with Bench().running(model, limits=LIMITS) as engine:
        with pytest.raises(TurnFailed):
            await engine.execute("Why is the sky blue?", task_id="t")
        for number in range(12):
            await engine.execute(f"{number}: {LONG}", task_id="t")
    assert sum(map(is_summary, model.requests)) > 1
    assert "Why is the sky blue?" in first_text(model.requests[-1].prompt)


async def compacting(model: ScriptedModel, engine: Engine) -> Turn:
    """A turn that waits for its summary."""
    for number in range(12):
        running = engine.execute(f"{number}: {LONG}", task_id="t")
        while not turn_is_over(engine) and not any(map(is_summary, model.requests)):
            await ticks(1)
        if any(map(is_summary, model.requests)):
            return running
        await running
    raise AssertionError("nothing was summarised")


def turn_is_over(engine: Engine) -> bool:
    return not engine._running.live


async def test_a_cancel_ends_a_compaction_and_the_next_turn_makes_its_own() -> None:
    waits = ScriptedModel(lambda request: held("In short") if is_summary(request) else say("Yes. " * 50))
    bench = Bench()
    async with bench.running(waits, limits=LIMITS) as engine:
        waiting = await compacting(waits, engine)
        assert await engine.cancel("t")
        events = await soon(waiting)
        assert [event.type for event in events[-2:]] == ["thread_lifecycle", "error"]
        assert not any(isinstance(event, TextDelta) for event in events)
        assert waits.open_streams == 0
    async with bench.running(answering(lambda request: say("Yes.")), limits=LIMITS) as engine:
        events = await soon(engine.execute("Go on.", task_id="t"))
        assert sum(isinstance(event, CompactionEvent) for event in events) == 1


async def test_a_process_that_dies_in_a_compaction_loses_nothing_but_the_summary() -> None:
    waits = ScriptedModel(lambda request: held("In short") if is_summary(request) else say("Yes. " * 50))
    bench = Bench()
    async with bench.running(waits, limits=LIMITS) as engine:
        await compacting(waits, engine)
        before = await engine.messages("t")
    model = answering(lambda request: say("Yes."))
    async with bench.running(model, limits=LIMITS, recovery="resume") as engine:
        events = await soon(engine.replay(task_id="t"))
        assert sum(isinstance(event, CompactionEvent) for event in events) == 1
        assert [is_summary(request) for request in model.requests] == [True, False]
        assert (await engine.messages("t"))[: len(before)] == before


async def test_what_a_provider_comes_to_refuse_in_the_past_is_told_in_brief_and_the_thread_goes_on() -> None:
    refusing = False

    def answer(request: ModelRequest) -> Step:
        answers = [message for message in request.prompt.messages if message["role"] == "assistant"]
        if refusing and "poison" in str(answers):
            return fail(ModelError("messages: no.", bad_history=True))
        return say("Yes." if refusing else "Here is poison.")

    model = ScriptedModel(answer)
    async with Bench().running(model) as engine:
        await engine.execute("What is it?", task_id="t")
        refusing = True
        events = await soon(engine.execute("And now?", task_id="t"))
        assert [event.strategy for event in events if isinstance(event, CompactionEvent)] == ["excerpts"]
        assert "You: Here is poison." in first_text(model.requests[-1].prompt)
        assert (await engine.execute("Still there?", task_id="t")).text == "Yes."
        assert len(await engine.messages("t")) == 6
