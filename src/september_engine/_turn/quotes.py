"""quotes: what a thread's log has copied from long-term memory, and the log without it. Pure.

1. A recall writes lines of memories into the log of a thread, which is never rewritten but for this: a memory that is
   erased goes from there, too.
2. What was made with such a line in sight may repeat it: a summary, the model's thinking. Words of the memory that
   nothing else in the log says can only come from it, and are taken out of them.
3. What people and the agent said to each other is the conversation's own, and stays.
4. A request that had the line before it is no longer the same. So the thinking in answers after it is not sent back,
   as under a prefix that has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from .._memory.records import Memory
from .._memory.rows import text_of
from .._memory.rules import is_erased, says
from .._memory.words import STOP_WORDS, spoken
from ..messages import JSON, Block
from .facts import AssistantReplied, Compacted, Fact, Recalled

__all__ = ["ERASED_WORD", "quoted_in", "unquoted"]

ERASED_WORD = "[erased]"
"""What stands in the place of a word that was taken out."""

_WORD = re.compile(r"[^\W_]+")
_NAMES = ("kind", "type", "aspect")
"""Fields of a memory that say what it is, not what it tells."""


def quoted_in(fact: Fact) -> list[str]:
    """The ids of the memories that this fact has copied lines of."""
    return [item.id for item in fact.items if item.text] if isinstance(fact, Recalled) else []


def unquoted(facts: Sequence[Fact], memories: Sequence[Memory]) -> list[Fact]:
    """The facts of a task, in their order, without what they hold of these memories.

    One that holds nothing of them stays the same object. Doing it twice changes nothing more.
    """
    ids = {memory.id for memory in memories}
    told = (place for place, fact in enumerate(facts) if isinstance(fact, Recalled) and _tells(fact, ids))
    first = next(told, None)
    if first is None:
        return list(facts)
    texts = [text for memory in memories if not is_erased(memory) for text in _texts_of(memory)]
    others = {word for fact in facts for text in _strings(_without_copies(fact, ids)) for word in spoken(text)}
    words = {word for text in texts for word in spoken(text)} - others - STOP_WORDS
    return [*facts[:first], *(_clean(fact, ids, texts, words) for fact in facts[first:])]


def _tells(fact: Recalled, ids: set[str]) -> bool:
    return any(item.id in ids for item in fact.items)


def _texts_of(memory: Memory) -> list[str]:
    """All that a memory tells, the longest first."""
    fields = {name: value for name, value in msgspec.to_builtins(says(memory)).items() if name not in _NAMES}
    return sorted({text_of(memory), *_strings(fields)}, key=len, reverse=True)


def _strings(value: JSON) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _strings(each)
        case dict():
            for name, each in value.items():
                yield name
                yield from _strings(each)
        case _:
            pass


def _without_copies(fact: Fact, ids: set[str]) -> JSON:
    """What a fact says for itself: no line of these memories, and nothing that may have repeated one."""
    match fact:
        case Recalled():
            fact = _emptied(fact, ids)
        case Compacted():
            return None
        case AssistantReplied():
            fact = replace(fact, content=[block for block in fact.content if block.get("type") != "thinking"])
        case _:
            pass
    plain: JSON = msgspec.to_builtins(fact)
    return plain


def _clean(fact: Fact, ids: set[str], texts: Sequence[str], words: set[str]) -> Fact:
    clean = fact
    match fact:
        case Recalled() if _tells(fact, ids):
            clean = _emptied(fact, ids)
        case Compacted():
            carried = [_scrubbed(text, texts, words) for text in fact.carried]
            # what a provider made of it cannot be looked into
            clean = replace(fact, summary=_scrubbed(fact.summary, texts, words), carried=carried, block=None)
        case AssistantReplied() if any("thinking" in str(block.get("type")) for block in fact.content):
            clean = replace(fact, prefix="", content=[_thought(block, texts, words) for block in fact.content])
        case _:
            pass
    return fact if clean == fact else clean


def _emptied(fact: Recalled, ids: set[str]) -> Recalled:
    """The item stays with its id and its trust, which says what the thread may be believed."""
    return replace(fact, items=[replace(item, text="", why="") if item.id in ids else item for item in fact.items])


def _thought(block: Block, texts: Sequence[str], words: set[str]) -> Block:
    thinking = block.get("thinking")
    return {**block, "thinking": _scrubbed(thinking, texts, words)} if isinstance(thinking, str) else block


def _scrubbed(text: str, texts: Sequence[str], words: set[str]) -> str:
    for whole in texts:
        if whole.strip() and not words.isdisjoint(spoken(whole)):
            text = text.replace(whole, ERASED_WORD)
    return _WORD.sub(lambda found: found[0] if words.isdisjoint(spoken(found[0])) else ERASED_WORD, text)
