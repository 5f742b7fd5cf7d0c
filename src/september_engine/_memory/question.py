"""Question: what a query asks for, taken apart into what can be looked for on its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from .dates import Span, spans_of
from .lexicon import Lexicon
from .words import asked_of, spoken, terms_of

__all__ = ["Names", "Question", "question_of"]

ASKER = frozenset("i me my mine myself we us our ours".split())
ASKED = frozenset("you your yours yourself".split())
PERSON, AGENT = frozenset(("user", "human")), frozenset(("assistant", "agent", "ai"))
"""How a conversation calls the one who asks and the one who is asked, where they have no names."""


QUERY_CHARS = 4_000
"""Of a query, what is looked for: one of megabytes would hold up everybody."""

_NAME = re.compile(r"(?<=[\w,;] )[A-Z][\w'’-]*")
"""A word with a capital that does not begin a sentence."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One query.

    `terms` are the stems that an answer may hold, without the names of speakers: whoever asks about Ana wants what Ana
    said, and it is the others who say "Ana". `anonymous` is the text as Ana would have put it, for its meaning.
    `speakers` are whom it names, `spans` the times it names. Where nobody is known to speak, any name may be a
    speaker's: `weak` are the stems of names then. `near` are, by term, other words of memories that may be meant, and
    what each counts for.
    """

    text: str
    anonymous: str
    terms: tuple[str, ...]
    near: Mapping[str, Mapping[str, float]] = {}
    weak: frozenset[str] = frozenset()
    speakers: frozenset[str]
    spans: tuple[Span, ...]
    asks_when: bool

    @property
    def others(self) -> tuple[str, ...]:
        """The words that `near` brings in, each once, in the order of the terms."""
        found = dict.fromkeys(word for words in self.near.values() for word in words)
        return tuple(word for word in found if word not in self.terms)


class Names:
    """The names that are known, to find them in a text."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_first: dict[str, list[tuple[str, list[str]]]] = {}
        self._known: set[str] = set()
        self.add(names)

    def __bool__(self) -> bool:
        return bool(self._known)

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            words = spoken(name)
            if words and name not in self._known:
                self._known.add(name)
                self._by_first.setdefault(words[0], []).append((name, words))

    def named_in(self, words: list[str]) -> Mapping[str, list[str]]:
        """The names a text speaks of, with the words that say so: the whole name, or a person's first one."""
        there = set(words)
        found: dict[str, list[str]] = {}
        for first in there & self._by_first.keys():
            for name, parts in self._by_first[first]:
                if there.issuperset(parts):
                    found[name] = parts
                elif len(parts) == 2 and all(part[:1].isupper() for part in name.split()):
                    found[name] = [first]
        return found

    def known(self, names: frozenset[str]) -> frozenset[str]:
        """Those of these names that are known, however they are written."""
        return frozenset(name for name in self._known if name.casefold() in names)


def question_of(text: str, *, now: int, names: Names, lexicon: Lexicon | None = None) -> Question:
    """Take a query apart, as it is meant at this time (unix ms). Of a very long one only the beginning counts."""
    text = text[:QUERY_CHARS]
    spans = spans_of(text, now)
    words = spoken(text)
    named = names.named_in(words)
    parts = {part for parts in named.values() for part in parts}
    guessed = set() if names else {word for said in _NAME.findall(text) for word in spoken(said)}
    anonymous = _anonymous(text, parts | guessed, spans)
    left_out = {stem for part in parts for stem in terms_of(part)}
    for span in spans:
        if not any(char.isdigit() for char in span.words):  # "last week" is said of any week, "4 October" of one
            left_out.update(terms_of(span.words))
    terms = tuple(dict.fromkeys(term for term in asked_of(text) if term not in left_out))
    near = {} if lexicon is None else {term: forms for term in terms if (forms := lexicon.near(term))}
    return Question(
        text=text,
        anonymous=anonymous,
        terms=terms,
        near=near,
        weak=frozenset(term for word in guessed for term in terms_of(word)),
        speakers=frozenset(named) or _pronouns(words, names),
        spans=tuple(spans),
        asks_when="when" in words or "date" in words,
    )


def _pronouns(words: list[str], names: Names) -> frozenset[str]:
    """Where nobody is named: "you" is the assistant, "I" the user, if the conversation calls them so."""
    if ASKED.intersection(words):
        return names.known(AGENT)
    return names.known(PERSON) if ASKER.intersection(words) else frozenset()


def _anonymous(text: str, names: set[str], spans: Iterable[Span]) -> str:
    for span in spans:
        text = text.replace(span.words, " ")
    said: list[str] = []
    for word in text.split():
        bare = spoken(word)
        if bare and set(bare) <= names:
            said.append("my" if "'s" in word or "’s" in word else "I")
        else:
            said.append(word)
    return " ".join(said)
