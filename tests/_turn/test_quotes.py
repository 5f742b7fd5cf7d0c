"""What a log has copied from long-term memory, and the log without it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from september_engine._memory.records import Episode, Knowledge, Person
from september_engine._memory.rules import erased
from september_engine._turn.facts import AssistantReplied, Compacted, Fact, Recalled, RecalledItem, TurnStarted
from september_engine._turn.history import prompt_of
from september_engine._turn.limits import Limits
from september_engine._turn.quotes import ERASED_WORD, quoted_in, unquoted
from september_engine._turn.state import fold
from september_engine.messages import Block, Usage

LOCKER = Knowledge(id="m1", subject="locker", content="It has the number qx77431.")


def started(text: str, turn: str = "t1") -> TurnStarted:
    content: list[Block] = [{"type": "text", "text": text}]
    return TurnStarted(
        at=1, turn_id=turn, task_id="a", message_id=f"m-{turn}", content=content, prefix="p", limits=Limits()
    )


def recalled(*ids: str, text: str = "locker: qx77431", trust: str = "") -> Recalled:
    items = [RecalledItem(id=id_, text=text, why=f"It holds {text!r}.", score=0.5, trust=trust) for id_ in ids]
    return Recalled(at=2, items=items)


def replied(text: str, thinking: str = "") -> AssistantReplied:
    thought: list[Block] = [{"type": "thinking", "thinking": thinking, "signature": "s"}] if thinking else []
    content: list[Block] = [*thought, {"type": "text", "text": text}]
    return AssistantReplied(
        at=3, message_id="a1", content=content, stop_reason="end_turn", usage=Usage(), model="m", prefix="p", blocks=1
    )


def compacted(summary: str, **more: Any) -> Compacted:
    fields = {"before_tokens": 2, "after_tokens": 1, "strategy": "model", **more}
    return Compacted(at=4, kept_from="m-t1", since="t1", summary=summary, **fields)


def test_a_fact_quotes_what_it_was_told_until_that_is_erased() -> None:
    assert quoted_in(recalled("m1", "m2")) == ["m1", "m2"]
    assert quoted_in(started("Hello.")) == []
    [clean] = unquoted([recalled("m1", "m2")], [LOCKER])
    assert quoted_in(clean) == ["m2"]


def test_the_line_and_its_reason_go_and_what_the_thread_may_be_believed_stays() -> None:
    facts: list[Fact] = [started("Hello."), recalled("m1", "m2", trust="untrusted")]
    clean = unquoted(facts, [LOCKER])
    assert clean[0] is facts[0]
    assert isinstance(clean[1], Recalled)
    assert next((item.id, item.text, item.why) for item in clean[1].items) == ("m1", "", "")
    assert fold(clean).called == fold(facts).called != ()
    shown = str(prompt_of(clean, prefix="p", model="m").messages)
    assert "m2" not in shown
    assert shown.count("qx77431") == 1  # the other memory's
    assert "memories" not in str(prompt_of(unquoted([*facts[:1], recalled("m1")], [LOCKER]), prefix="p", model="m"))


def test_a_thread_that_was_not_told_it_is_the_same() -> None:
    facts: list[Fact] = [started("Which number?"), recalled("m2"), replied("qx77431", "qx77431"), compacted("qx77431")]
    assert all(new is old for new, old in zip(unquoted(facts, [LOCKER]), facts, strict=True))


def test_words_that_a_summary_can_have_from_nowhere_else_go() -> None:
    summary = "The locker has Number QX77431, and Ana likes tea. locker: It has the number qx77431."
    facts: list[Fact] = [
        started("My locker, please."),
        recalled("m1"),
        compacted(summary, carried=["qx77431"], block={"a": "qx"}),
    ]
    clean = unquoted(facts, [LOCKER])[-1]
    assert isinstance(clean, Compacted)
    assert clean.summary.startswith(f"The locker has {ERASED_WORD} {ERASED_WORD}, and Ana likes tea.")
    assert "77431" not in clean.summary
    assert (clean.carried, clean.block) == ([ERASED_WORD], None)


def test_what_somebody_said_in_the_conversation_stays_in_its_summary() -> None:
    facts: list[Fact] = [started("It is qx77431!"), recalled("m1"), compacted("The number is qx77431.")]
    clean = unquoted(facts, [LOCKER])[-1]
    assert isinstance(clean, Compacted)
    assert clean.summary == f"The {ERASED_WORD} is qx77431."


def test_thinking_after_it_is_not_sent_back_and_does_not_quote_it() -> None:
    facts: list[Fact] = [started("Hello."), replied("Hi.", "before"), started("Locker?", "t2"), recalled("m1")]
    facts += [replied("Here you are.", "It must be qx77431."), replied("Bye.")]
    clean = unquoted(facts, [LOCKER])
    assert clean[1] is facts[1]
    assert clean[-1] is facts[-1]
    assert isinstance(clean[4], AssistantReplied)
    assert clean[4].content[0]["thinking"] == f"It must be {ERASED_WORD}."
    thoughts = [
        block["thinking"]
        for message in prompt_of(clean, prefix="p", model="m").messages
        for block in message["content"]
        if block["type"] == "thinking"
    ]
    assert thoughts == ["before"]


def test_a_memory_that_was_erased_before_takes_no_words_along() -> None:
    facts: list[Fact] = [started("Hello."), recalled("m1"), compacted("Something was erased.")]
    clean = unquoted(facts, [erased(LOCKER, at=1, because="")])
    assert isinstance(clean[-1], Compacted)
    assert clean[-1].summary == "Something was erased."


@given(
    kinds=st.lists(st.sampled_from(["said", "told", "other", "reply", "sum"]), max_size=12),
    words=st.lists(st.sampled_from(["qx77431", "Straße", "tea", "Ñandú", "the"]), min_size=1, max_size=3, unique=True),
)
def test_of_any_log_nothing_but_what_was_said_is_left_and_twice_is_once(kinds: list[str], words: list[str]) -> None:
    text = " ".join(words)
    memory = Episode(id="m1", text=text, at=0, speaker="Zoë")
    person = Person(id="m3", name="Qqz", about=text, aliases=("Wwz",))
    make: dict[str, Fact] = {
        "said": started("tea"),
        "told": recalled("m1", "m3", text=text),
        "other": recalled("m2", text="Somebody."),
        "reply": replied("Fine.", f"{text} Zoë"),
        "sum": compacted(f"All: {text}, of Qqz or WWZ."),
    }
    facts = [make[kind] for kind in kinds]
    clean = unquoted(facts, [memory, person])
    assert unquoted(clean, [memory, person]) == clean
    assert len(clean) == len(facts)
    if "told" in kinds:
        first = kinds.index("told")
        left = str(clean[first:]).casefold()
        gone = {"qx77431", "straße", "ñandú", "qqz", "wwz", "zoë", *([] if "said" in kinds else ["tea"])}
        assert not [word for word in gone if word in left and (word in text.casefold() or word in "qqzwwzzoë")]
    else:
        assert clean == facts
