"""history: the messages a model is given, from any prefix of the log.

Total, by law: whatever the log holds, and wherever a crash cut it, the messages are valid for the Messages API.

1. Every tool_use is answered exactly once, in order, in the message right after it. What is not known is said.
2. What the provider wrote goes back verbatim. Only what the API would refuse is left out: blank text, thinking that
   another model or prefix made, a message that ends in thinking.
3. A prefix of the log gives a prefix of the messages, but for results that were not there yet: that is what keeps
   thinking valid and the prompt cache warm.
4. Where something that was sent must go (a provider refused it, or there is more media than a request may hold), the
   thinking so far goes with it: it is bound to what stood before it.
5. What the engine adds to a person's message, the plan, working memory and what was recalled, stands behind it, as the
   log has it, before the first answer of the turn.
6. The tools are part of a prefix, too: under one without any, those that were called before it are defined as gone,
   and no others.
7. A compaction is such a place too. What it kept follows on its summary; what it left behind is not looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from .._context.check import COMPACTION, sent_form, sent_id
from .._context.media import Weight, crowding, weigh
from ..messages import JSON, Block, Prompt, tool_uses
from .facts import (
    AssistantCut,
    AssistantReplied,
    AttemptFailed,
    Compacted,
    Fact,
    HumanAnswered,
    HumanAsked,
    NotesShown,
    OutputRefused,
    PlanChosen,
    PrefixChosen,
    Recalled,
    ToolFinished,
    TurnCompleted,
    TurnStarted,
)
from .kept import kept_facts
from .limits import brief, is_blocks
from .memories import memories_block
from .notes import notes_block
from .plan import plan_block

__all__ = ["prefix_in", "prompt_of", "shortened", "without_thinking"]

NO_RESULT = "The outcome of this call is unknown: the process was interrupted."
MEDIA_REMOVED = "[An attachment stood here. It was removed because the provider takes no more of them.]"
FOREIGN_REMOVED = "[An answer stood here. It was removed because the provider takes no more of it.]"
PLAIN: Mapping[str, Sequence[str]] = {"text": ("type", "text"), "tool_use": ("type", "id", "name", "input")}
THINKING = ("thinking", "redacted_thinking")
MEDIA = ("image", "document")


def prompt_of(facts: Sequence[Fact], *, prefix: str, model: str, ask: str | None = None) -> Prompt:
    """The prompt of the next model call on this thread: the facts of its turns, oldest first.

    Thinking is sent back only where the same model made it under the same prefix. `ask` is said at the end; with "" an
    answer may be the last message, as it may where a provider is to summarise all of it.
    """
    facts = kept_facts(facts)
    chosen = prefix_in(facts, prefix)
    writer = _Writer(prefix=prefix, model=model)
    for fact in facts:
        writer.take(fact)
    messages = writer.finish(ask)
    return Prompt(system=chosen.system, tools=chosen.tools or writer.former_tools(), messages=messages)


def prefix_in(facts: Sequence[Fact], prefix: str) -> PrefixChosen:
    """What this prefix stands for; nothing where it is not in the log."""
    return next(
        (fact for fact in reversed(facts) if isinstance(fact, PrefixChosen) and fact.prefix == prefix),
        PrefixChosen(at=0, prefix=prefix, system="", tools=[]),
    )


class _Writer:
    def __init__(self, *, prefix: str, model: str) -> None:
        self._bound_to = (prefix, model)
        self._messages: list[Block] = []
        self._marks: dict[str, int] = {}
        self._turn_began = 0
        self._before: tuple[list[Block], int, list[str]] = ([], 0, [])
        self._summary: str | None = None
        self._open: list[tuple[str, str]] = []
        self._results: dict[str, ToolFinished] = {}
        self._said: list[Block] = []
        self._kinds: dict[str, str] = {}
        self._ids: set[str] = set()
        self._media: list[Weight] = []
        self._former: list[str] = []

    def take(self, fact: Fact) -> None:
        match fact:
            case TurnStarted():
                self._answer_calls()
                self._turn_began = self._marks[fact.message_id] = len(self._messages)
                # no copy: until the turn ends, messages are only added to this list, or it gives way to another
                self._before = (self._messages, len(self._messages), self._former)
                self._say("user", _not_blank(fact.content))
            case AssistantReplied():
                self._answer_calls()
                self._marks[fact.message_id] = len(self._messages)
                self._reply(fact)
            case TurnCompleted():
                if not fact.counts:
                    self._open, self._results, self._said = [], {}, []
                    self._messages, before, self._former = self._before
                    del self._messages[before:]
                    self._weigh_again()
            case OutputRefused():
                self._say("user", [{"type": "text", "text": fact.message}])
            case Compacted():
                self._answer_calls()
                self._compact(fact)
            case AssistantCut():
                self._answer_calls()
                self._say("assistant", _not_blank([{"type": "text", "text": fact.text}]))
            case ToolFinished():
                self._results.setdefault(fact.tool_call_id, fact)
            case HumanAsked():
                self._kinds[fact.request_id] = fact.kind
            case HumanAnswered():
                self._said += _not_blank([*self._feedback(fact), *fact.content_blocks])
            case PlanChosen(by="planner"):
                self._add(plan_block(fact.steps))
            case NotesShown():
                self._add(notes_block(fact.notes))
            case Recalled(items=items) if any(item.text for item in items):
                self._add(memories_block(items))
            case AttemptFailed(repair=repair) if repair is not None:
                self._repair(repair)
            case PrefixChosen(prefix=prefix) if prefix == self._bound_to[0]:
                self._choose(fact)
            case _:
                pass

    def finish(self, ask: str | None) -> list[Block]:
        """The messages so far, made to end with a user message: no model continues an answer of its own."""
        self._answer_calls()
        if ask:
            self._say("user", [{"type": "text", "text": ask}])
        elif ask is None and self._messages and self._messages[-1]["role"] == "assistant":
            self._say("user", [{"type": "text", "text": "Continue."}])
        return self._messages

    def former_tools(self) -> list[Block]:
        """Where calls stand in the messages, tools must be defined, though there be none any more."""
        description = "This tool is no longer available. Do not call it."
        # a model without any tools may make some up: then those of its first calls stand for all
        names = self._former
        if not names and self._ids:
            names = next(filter(None, (_called([each]) for each in self._messages)), [])
        return [{"name": name, "description": description, "input_schema": {"type": "object"}} for name in names]

    def _choose(self, chosen: PrefixChosen) -> None:
        """What was called before a prefix without tools is a part of it: fixed here, since tools stand before messages.

        Where that changes what the prefix was before, the thinking under it is bound to something else.
        """
        if chosen.tools:
            return
        called = _called(self._messages)
        if called != self._former:
            self._take_out()
        self._former = called

    def _compact(self, fact: Compacted) -> None:
        """The summary, then what was kept; the messages that a refusal may bring back stay as they are.

        What is kept from an answer of this turn on is kept with the turn's own message.
        """
        kept = min(self._marks.get(fact.kept_from, 0), len(self._messages))
        began = self._turn_began
        mine = self._messages[began : began + 1] if began < kept and self._messages[began]["role"] == "user" else []
        lead = self._summary_of(fact)
        moved = len(lead) + len(mine) - kept
        self._marks = {name: mark + moved for name, mark in self._marks.items() if mark >= kept}
        self._turn_began = began + moved if began >= kept else len(lead)
        self._messages = [
            {**message, "content": without_thinking(message["content"])} for message in (*mine, *self._messages[kept:])
        ]
        if fact.result_bytes is not None:
            for message in self._messages:
                message["content"] = [shortened(block, fact.result_bytes) for block in message["content"]]
        self._messages[:0] = lead
        self._weigh_again()

    def _summary_of(self, fact: Compacted) -> list[Block]:
        carried = [{"type": "text", "text": text} for text in fact.carried]
        self._summary = fact.summary
        if fact.block is None or fact.model != self._bound_to[1]:
            return [{"role": "user", "content": [{"type": "text", "text": fact.summary}, *carried]}]
        lead: list[Block] = [{"role": "assistant", "content": [fact.block]}]
        return [*lead, {"role": "user", "content": carried}] if carried else lead

    def _weigh_again(self) -> None:
        self._media = [weigh(block) for message in self._messages for block in _media_in(message["content"])]

    def _say(self, role: str, content: list[Block]) -> None:
        if content:
            # a reply has no media: what is only a user's was left out of it
            room = self._with_room(content) if role == "user" else content
            self._messages.append({"role": role, "content": room})

    def _add(self, block: Block) -> None:
        """Put a block behind what a person has said in this turn."""
        self._answer_calls()
        if len(self._messages) > self._turn_began and self._messages[-1]["role"] == "user":
            self._messages[-1]["content"] = [*self._messages[-1]["content"], block]
        else:
            self._say("user", [block])

    def _reply(self, fact: AssistantReplied) -> None:
        content = sent_form(fact.content)
        if (fact.prefix, fact.model) != self._bound_to:
            content = without_thinking(content)
        self._say("assistant", [self._opened(block) if block["type"] == "tool_use" else block for block in content])

    def _opened(self, use: Block) -> Block:
        """A call that must be answered, under an id that no other call of the thread has."""
        plain = sent_as = sent_id(use["id"])
        count = 1
        while sent_as in self._ids:
            count += 1
            sent_as = f"{plain}-{count}"
        self._ids.add(sent_as)
        self._open.append((use["id"], sent_as))
        return use if sent_as == use["id"] else {**use, "id": sent_as}

    def _feedback(self, fact: HumanAnswered) -> list[Block]:
        """What a person added to an answer; to a "no" it is the reason that stands in the call's result."""
        refused = fact.answer == "no" and self._kinds.get(fact.request_id) == "permission"
        said = fact.feedback or ""
        return [] if refused or not said.strip() else [{"type": "text", "text": f"A person added: {said}"}]

    def _answer_calls(self) -> None:
        if self._open:
            results = [_result(sent_as, self._results.get(call_id)) for call_id, sent_as in self._open]
            self._say("user", results + self._said)
        self._open, self._results, self._said = [], {}, []

    def _repair(self, repair: str) -> None:
        """Applies to everything before it, for good: what a provider refused once is not sent again."""
        self._answer_calls()
        if repair == "other_media":
            self._take_out(media=True, own=self._turn_began)
        else:
            self._take_out(media=repair == "media", foreign=repair == "foreign")

    def _with_room(self, content: list[Block]) -> list[Block]:
        """Media that came before gives way to new media; where one message has too much by itself, its own goes."""
        new = [weigh(block) for block in _media_in(content)]
        if new and crowding([*self._media, *new]) is not None:
            self._take_out(media=True)
            if crowding(new) is not None:
                return _no_media(content)
        self._media += new
        return content

    def _take_out(self, *, media: bool = False, foreign: bool = False, own: int | None = None) -> None:
        """The message at place `own` keeps its media."""
        for place, message in enumerate(self._messages):
            content = without_thinking(message["content"])
            if foreign and message["role"] == "assistant":
                if self._summary is not None and content and content[0]["type"] == COMPACTION:
                    message["role"], content = "user", [{"type": "text", "text": self._summary}]
                else:
                    content = _plain(content)
            message["content"] = _no_media(content) if media and place != own else content
        if media:
            left = [] if own is None else self._messages[own : own + 1]
            self._media = [weigh(block) for message in left for block in _media_in(message["content"])]


def _called(messages: list[Block]) -> list[str]:
    return list(dict.fromkeys(use["name"] for message in messages for use in tool_uses(message["content"])))


def _not_blank(content: list[Block]) -> list[Block]:
    return [block for block in content if block.get("type") != "text" or block.get("text", "").strip()]


def without_thinking(content: list[Block]) -> list[Block]:
    return [block for block in content if block.get("type") not in THINKING]


def _plain(content: list[Block]) -> list[Block]:
    """Of an answer, what every model knows: text and calls, without anything that refers to other blocks."""
    plain = [{key: block[key] for key in PLAIN[block["type"]]} for block in content if block["type"] in PLAIN]
    return plain or [{"type": "text", "text": FOREIGN_REMOVED}]


def _media_in(content: list[Block]) -> Iterator[Block]:
    for block in content:
        if block.get("type") in MEDIA:
            yield block
        elif block.get("type") == "tool_result" and isinstance(block.get("content"), list):
            yield from _media_in(block["content"])


def _no_media(content: list[Block]) -> list[Block]:
    clean: list[Block] = []
    for block in content:
        if block.get("type") in MEDIA:
            clean.append({"type": "text", "text": MEDIA_REMOVED})
        elif block.get("type") == "tool_result" and isinstance(block.get("content"), list):
            clean.append({**block, "content": _no_media(block["content"])})
        else:
            clean.append(block)
    return clean


def shortened(block: Block, most: int) -> Block:
    """A tool's result with at most this many bytes of each text; any other block as it is."""
    content = block.get("content")
    if block.get("type") != "tool_result":
        return block
    if isinstance(content, str):
        return {**block, "content": brief(content, most)}
    texts = [{**inner, "text": brief(inner["text"], most)} if "text" in inner else inner for inner in content or []]
    return {**block, "content": texts}


def _result(call_id: str, finished: ToolFinished | None) -> Block:
    if finished is None:
        return {"type": "tool_result", "tool_use_id": call_id, "content": NO_RESULT, "is_error": True}
    if finished.error is not None:
        text = f"{finished.error.reason}: {finished.error.message}"
        return {"type": "tool_result", "tool_use_id": call_id, "content": text, "is_error": True}
    return {"type": "tool_result", "tool_use_id": call_id, "content": _content(finished.output)}


def _content(output: JSON) -> str | list[Block]:
    """A tool's output for the model. The API refuses blank text, and an empty result would tell the model nothing."""
    if is_blocks(output):
        return _not_blank(output) or "(no output)"
    text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    return text if text.strip() else "(no output)"
