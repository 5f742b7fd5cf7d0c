"""Where a thread is cut, what is told of the rest, and what a request is made of then."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from september_engine._context.check import problems
from september_engine._turn.commands import Compact
from september_engine._turn.compaction import Summary, carried_over, cut_of, excerpts, outcome
from september_engine._turn.facts import (
    Compacted,
    Fact,
    Noted,
    NotesShown,
    PlanChosen,
    ToolFinished,
    TurnCompleted,
    TurnStarted,
)
from september_engine._turn.history import prompt_of, shortened
from september_engine._turn.inputs import Ask, Cancelled
from september_engine._turn.kept import kept_facts
from september_engine._turn.limits import Limits, brief
from september_engine._turn.notes import notes_of, recall
from september_engine._turn.plan import plan_of
from september_engine.events import PlanStep
from september_engine.messages import Block, text_of

from .build import NOW, Turn, assistant, failure, replied, result, returned, starting, text, think, use, user

LIMITS = Limits(context_tokens=3_000, max_tokens=300)


def told_turn(number: int, said: str, answer: str, **of_start: Any) -> list[Fact]:
    """A whole turn: a message, and its answer behind some thinking."""
    known = {} if number == 1 else {"system": None, "tools": None}
    start = {
        "turn_id": f"turn_{number}",
        "message_id": f"said_{number}",
        "content": [text(said)],
        "parent": f"turn_{number - 1}" if number > 1 else None,
        "limits": LIMITS,
    }
    reply = replied(think(f"s{number}"), text(answer), message_id=f"answer_{number}")
    return Turn(reply, **{**start, **known, **of_start}).facts


def thread(count: int) -> list[Fact]:
    return [fact for number in range(1, count + 1) for fact in told_turn(number, f"question {number}", "word " * 100)]


def now(number: int, *inputs: Any, said: str = "and now?") -> list[Fact]:
    of_start = {"turn_id": f"turn_{number}", "message_id": f"said_{number}", "content": [text(said)]}
    return Turn(*inputs, system=None, tools=None, limits=LIMITS, **of_start).facts


def command(**changes: Any) -> Compact:
    most: dict[str, Any] = {"context": 3_000, "budget": 2_640, "max_tokens": 300, "window": 3_000, "attempts": 1}
    return replace(Compact(step=0, fallback=False, prefix="p1", **most), **changes)


def compacted(facts: list[Fact], order: Compact | None = None, **told: Any) -> list[Fact]:
    """The facts of a compaction behind these."""
    order = order or command()
    cut = cut_of(facts, order, model="big")
    what = Summary(**{"text": "In short.", "strategy": "summary", **told})
    came = outcome(facts, order, cut, what, now=NOW, model="big")
    return [*facts, replace(came.compacted, after_tokens=10)]


def prompt(facts: list[Fact], model: str = "big") -> list[Block]:
    made = prompt_of(facts, prefix="p1", model=model)
    assert problems(made) == []
    return made.messages


def test_the_last_turns_are_kept_whole_and_the_rest_is_told_in_brief() -> None:
    facts = [*thread(10), *now(11)]
    messages = prompt(compacted(facts))
    assert messages[0] == user(text("In short."))
    kept = [text_of(message["content"]) for message in messages[1:] if message["role"] == "user"]
    assert kept == [f"question {number}" for number in range(12 - len(kept), 11)] + ["and now?"]
    assert 2 <= len(kept) <= 8
    # thinking is bound to what stood before it, which is gone
    assert not any(block["type"] == "thinking" for message in messages for block in message["content"])


def test_what_is_asked_for_a_summary_are_the_messages_that_go() -> None:
    facts = [*thread(10), *now(11)]
    cut = cut_of(facts, command(), model="big")
    asked = prompt_of(cut.dropped, prefix="p1", model="big", ask="Sum up.")
    whole = prompt_of(facts, prefix="p1", model="big")
    assert asked.messages[-1] == user(text("Sum up."))
    assert asked.messages[:-1] == whole.messages[: len(asked.messages) - 1]
    assert (asked.system, asked.tools) == (whole.system, whole.tools)
    assert problems(asked) == []


def test_a_second_compaction_takes_over_the_first_summary() -> None:
    first = compacted([*thread(10), *now(11)])
    facts = [*first, *(fact for n in range(12, 15) for fact in told_turn(n, f"question {n}", "word " * 100)), *now(15)]
    cut = cut_of(facts, command(), model="big")
    asked = prompt_of(cut.dropped, prefix="p1", model="big", ask="Sum up.").messages
    assert asked[0] == user(text("In short."))
    assert asked[:-1] == prompt(facts)[: len(asked) - 1]
    again = compacted(facts, text="In shorter.")
    assert prompt(again)[0] == user(text("In shorter."))
    assert "In short." not in str(prompt(again))


def test_of_results_in_blocks_the_texts_are_cut_and_what_is_no_text_stays() -> None:
    picture: Block = {"type": "image", "source": {}}
    block = result("a", [text("row " * 100), picture])
    assert shortened(block, 40) == result("a", [text(brief("row " * 100, 40)), picture])
    assert shortened(result("a", "row " * 100), 40) == result("a", brief("row " * 100, 40))
    assert shortened(text("row " * 100), 40) == text("row " * 100)


def test_a_compaction_that_kept_what_is_not_there_leaves_all_of_it() -> None:
    facts = compacted([*thread(10), *now(11)])
    place = next(at for at, fact in enumerate(facts) if isinstance(fact, Compacted))
    facts[place] = replace(facts[place], kept_from="msg_gone")
    assert kept_facts(facts) == facts


def test_a_turn_that_is_too_long_by_itself_keeps_its_message_and_last_steps() -> None:
    steps: list[Any] = []
    for step in range(6):
        call = replied(text("word " * 90), use(f"c{step}"), step=step, message_id=f"m{step}")
        steps += [call, starting(f"c{step}"), returned(f"c{step}", "row " * 60)]
    facts = [*thread(2), *now(3, *steps, said="Count.")]
    cut = cut_of(facts, command(), model="big")
    assert cut.kept_from in ("m3", "m4", "m5")
    assert cut.since == "turn_3"
    messages = prompt(compacted(facts))
    assert messages[:2] == [user(text("In short.")), user(text("Count."))]
    assert messages[2]["role"] == "assistant"
    assert messages[-1] == user(result("c5", "row " * 60))
    # and again, further on: what lay between is not looked at
    later = compacted([*compacted(facts), *_more(facts, 6)])
    assert prompt(later)[1] == user(text("Count."))
    assert len(kept_facts(later)) < len(kept_facts(compacted(facts))) + 3


def _more(facts: list[Fact], step: int) -> list[Fact]:
    turn = Turn()
    turn.tell(replied(text("word " * 90), use(f"c{step}"), message_id=f"m{step}"))
    turn.tell(starting(f"c{step}"))
    turn.tell(returned(f"c{step}", "row " * 300))
    return turn.facts[2:]


def test_where_even_the_last_step_is_too_much_its_results_are_shortened() -> None:
    calls = replied(*[use(f"c{number}") for number in range(4)], message_id="m1")
    rest = [each for number in range(4) for each in (starting(f"c{number}"), returned(f"c{number}", "row " * 2_000))]
    facts = [*thread(1), *now(2, calls, *rest)]
    order = command(context=12_000)
    cut = cut_of(facts, order, model="big")
    assert cut.result_bytes is not None
    made = outcome(facts, order, cut, Summary(text="In short.", strategy="summary"), now=NOW, model="big")
    assert made.compacted.after_tokens <= 2_640
    [*_, results] = prompt([*facts, made.compacted])
    assert all("left out" in block["content"] for block in results["content"])


def test_one_message_alone_cannot_be_told_in_brief() -> None:
    facts = Turn(content=[text("word " * 5_000)], limits=LIMITS).facts
    cut = cut_of(facts, command(), model="big")
    made = outcome(facts, command(), cut, Summary(text="", strategy="excerpts"), now=NOW, model="big")
    assert made.compacted.after_tokens * 5 > made.compacted.before_tokens * 4


def test_the_provider_gets_its_own_block_back_and_another_model_the_text() -> None:
    block = {"type": "compaction", "content": "In short.", "signature": "c2ln"}
    facts = compacted([*thread(10), *now(11)], block=block, model="big", strategy="provider")
    assert prompt(facts)[0] == assistant(block)
    assert prompt(facts, model="small")[0] == user(text("In short."))
    assert prompt(facts)[1:] == prompt(facts, model="small")[1:]
    # a provider that refuses its own block gets the text: the summary is not lost
    refused = Turn(failure(bad_history=True), failure(bad_history=True), failure(bad_history=True)).facts[2:]
    assert prompt([*facts, *refused])[0] == user(text("In short."))


def test_what_is_still_open_is_carried_over_word_for_word_by_whoever_tells_the_rest() -> None:
    unanswered = Turn(
        Cancelled(now=NOW, message_id="m"), content=[text("Who feeds\n\n the fox?")], limits=LIMITS, turn_id="turn_0"
    ).facts
    asked = Turn(
        replace(replied(use("a")), asks=[Ask(request_id="h", question="Red or blue?", kind="question")]),
        Cancelled(now=NOW, message_id="m"),
        turn_id="turn_00",
    ).facts
    block = {"type": "compaction", "content": "In short.", "signature": "c2ln"}
    facts = compacted([*unanswered, *asked, *thread(10), *now(11)], block=block, model="big")
    carried = text_of(prompt(facts)[1]["content"])
    assert "Who feeds\n the fox?" in carried
    assert "Red or blue?" in carried
    # and once more
    again = compacted([*facts, *thread(4)[2:], *now(12)])
    assert "Red or blue?" in text_of(prompt(again)[0]["content"])


def test_of_too_much_that_is_open_the_latest_is_carried() -> None:
    facts = [
        fact
        for number in range(30)
        for fact in Turn(Cancelled(now=NOW, message_id="m"), content=[text(f"Question {number}?")]).facts
    ]
    [carried] = carried_over(facts, 400)
    assert "Question 29?" in carried
    assert "Question 1?" not in carried
    assert len(carried.encode()) < 500


def test_where_a_large_result_can_be_read_is_carried_over_from_one_compaction_to_the_next() -> None:
    large = Turn(replied(use("a")), starting("a"), returned("a", "row " * 40_000), replied(text("So."), step=1)).facts
    stored = next(fact.stored for fact in large if isinstance(fact, ToolFinished))
    assert stored is not None
    facts = compacted([*large, *thread(10), *now(11)], command(context=60_000))
    again = compacted([*facts, *thread(6)[2:], *now(12)], command(context=6_000))
    for told in (facts, again):
        first = text_of(prompt(told)[0]["content"])
        assert f'160000 bytes of look: read_result(result_id="{stored.sha256}")' in first


def test_excerpts_say_who_said_what_and_how_much_is_missing() -> None:
    facts = [*thread(3), *now(4, replied(text("Let me look."), use("a")), starting("a"), returned("a"))]
    told = excerpts(facts, 2_000)
    assert told.splitlines()[0] == "Person: question 1"
    assert told.splitlines()[-1] == "You: Let me look. (called look)"
    short = excerpts(facts, 250)
    assert short.splitlines()[0].endswith("older messages are left out here.)")
    assert len(short.encode()) <= 250
    cut_off = excerpts(now(4, Cancelled(now=NOW, message_id="m", text="Let me")), 2_000)
    assert cut_off.splitlines() == ["Person: and now?", "You, interrupted: Let me"]


def test_a_refused_turn_brings_back_what_it_had_told_in_brief() -> None:
    facts = [*thread(10), *now(11)]
    refusal = Turn()
    refusal.tell(replied(text("No."), stop_reason="refusal"))
    following = now(12)
    after = prompt([*compacted(facts), *refusal.facts[2:], *following])
    assert after == [*prompt(thread(10))[:-1], *after[-1:]]
    assert after[-1] == user(text("and now?"))


def test_the_plan_and_the_notes_are_carried_over_and_the_notes_are_shown_once() -> None:
    steps = [PlanStep(id="1", title="Look in the garden", status="active")]
    first, *rest = thread(10)
    noted: list[Fact] = [
        PlanChosen(at=NOW, steps=steps, by="agent"),
        Noted(at=NOW, key="city", value="Rome", by="agent"),
        NotesShown(at=NOW, notes={"city": "Rome"}),
    ]
    facts = compacted([first, *noted, *rest, *now(11)])
    last = facts[-1]
    assert isinstance(last, Compacted)
    assert (last.plan, [note.key for note in last.notes]) == (steps, ["city"])
    assert any("1. [active] Look in the garden" in told for told in last.carried)
    assert any('city: "Rome"' in told for told in last.carried)
    assert (plan_of([last]), [*notes_of([last])]) == (steps, ["city"])
    assert recall(facts, NOW) is None
    assert str(prompt(facts)).count("Rome") == 1
    more = [*facts, Noted(at=NOW, key="food", value="pizza", by="code")]
    anew = recall(more, NOW)
    assert anew is not None
    assert anew.notes == {"city": "Rome", "food": "pizza"}


def test_notes_that_what_is_kept_shows_are_not_carried_over_as_well() -> None:
    shown = NotesShown(at=NOW, notes={"city": "Rome"})
    noted = Noted(at=NOW, key="city", value="Rome", by="agent")
    started, *rest = now(11)
    facts = compacted([*thread(10), noted, started, shown, *rest])
    assert str(prompt(facts)).count("Rome") == 1
    assert recall(facts, NOW) is None
    changed = compacted([*thread(10), noted, started, shown, replace(noted, value="Naples"), *rest])
    assert str(prompt(changed)).count("Naples") == 1
    assert recall(changed, NOW) is None


def test_a_thread_is_not_cut_at_a_turn_that_only_notes() -> None:
    quiet: list[Fact] = [
        TurnStarted(
            at=NOW, turn_id="quiet", task_id="t", message_id="", content=[], prefix="p1", limits=LIMITS, kind="note"
        ),
        Noted(at=NOW, key="city", value="Rome", by="code"),
        TurnCompleted(at=NOW, message_id="", stop_reason="noted"),
    ]
    for place in range(1, 11):
        turns = [fact for number in range(1, 11) for fact in thread_turn(number, quiet if number == place else [])]
        facts = [*turns, *now(11)]
        cut = cut_of(facts, command(), model="big")
        assert cut.kept_from.startswith("said_")
        after = compacted(facts)
        assert notes_of(kept_facts(after)).keys() == {"city"}
        prompt(after)


def thread_turn(number: int, before: list[Fact]) -> list[Fact]:
    return [*before, *told_turn(number, f"question {number}", "word " * 100)]
