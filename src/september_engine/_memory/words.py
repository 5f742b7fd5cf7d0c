"""Words: a text as every store indexes it, so that the same question finds the same memories everywhere.

A text is cut where its script changes. Scripts with spaces between words are indexed by word. Scripts without
(Chinese, Japanese, Thai, Khmer, …) and Korean, whose particles stick to the word, by pairs of neighbouring letters.
What inflection, compounds and attached particles do to a word is for `lexicon`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from .stems import stem

__all__ = ["RULES", "STOP_WORDS", "asked_of", "is_pair", "spoken", "terms_of"]

RULES = "2"
"""The version of these rules. A change of what a text's terms are needs another one: then all are made again."""

STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are as at be because been before being both but by can could did do
    does doing done down during each else ever few for from further get got had has have having he her here hers
    herself him himself his how i if in into is it its itself just like ll may me might mine more most much must my
    myself no nor not now of off oh ok okay on once only or other our ours out over own re really s same shall she
    should so some still such t than that the their theirs them themselves then there these they this those through
    to too under until up us ve very was we well were what when where which while who whom whose why will with would
    yeah yes you your yours yourself don didn doesn isn wasn aren couldn wouldn won hasn haven hadn d m im hey hi
    hello wow
    """.split()
)
"""Words that say how something is asked or told, not what. They are neither indexed nor asked for."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CONTRACTED = frozenset(("s", "t", "ll", "re", "ve", "d", "m"))


def spoken(text: str) -> list[str]:
    """The words of a text in order, lower case and without accents or a trailing 's."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.replace("’", "'"))
        text = unicodedata.normalize("NFC", "".join(char for char in text if not "\u0300" <= char <= "\u036f"))
    found = _WORD.findall(text.casefold()) if text.isascii() else _split(text.casefold())
    words: list[str] = []
    for word in found:
        first, *rest = word.split("'")
        words += [first, *(part for part in rest if part not in _CONTRACTED)]
    return words


def _split(text: str) -> list[str]:
    """As the pattern does, but in scripts where a word has marks that are no letters, such as Devanagari."""
    kept = "".join(
        char if char.isalnum() or char == "'" or unicodedata.category(char)[0] == "M" else " " for char in text
    )
    return [word for word in (each.strip("'") for each in kept.split()) if word]


# ── terms ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_CONTRACTION = re.compile(r"(?<=[^\W_])'(?:s|t|ll|re|ve|d|m)(?![^\W_])")
_PLAIN_WORD = re.compile("[a-z0-9]+")
_GLUED = re.compile(r"\d+|\D+")
_MOST_GLUED = 3
"""A word of more letters and digits in turn, such as a hash, is not taken apart."""

_UNSEEN = re.compile(
    "[\u0300-\u036f"  # accents
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed"  # Arabic marks, and the bar that makes a word longer
    "\u093c"  # the dot of Devanagari's borrowed letters, which many leave out
    "\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"  # joiners, directions, variants
)
"""What writes a word with more care, but makes no other word."""

_LIKE = str.maketrans(
    {
        **dict(zip("ıłøđðħ", "iloddh", strict=True)),
        **{"æ": "ae", "œ": "oe", "þ": "th"},
        **dict(zip("ىیېکہةۃٱ", "يييكههها", strict=True)),  # one letter each, as Arabic, Persian and Urdu type it
        **dict(zip("ךםןףץ", "כמנפצ", strict=True)),  # Hebrew's forms for the end of a word
        **dict.fromkeys("‘’ʼʻ`´", "'"),
    }
)

_APART, _MARK, _DIGIT, _SYMBOL, _EAST = "apart", "mark", "digit", "symbol", "EAST"
_EAST_ASIAN = frozenset("CJK HIRAGANA KATAKANA HANGUL BOPOMOFO IDEOGRAPHIC YI".split())
_UNSPACED = frozenset((_EAST, *"THAI LAO KHMER MYANMAR TAI NEW BALINESE JAVANESE".split()))
_WHOLE = "[\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]"
"""Ideographs and Korean syllables: each may be a word. `re` compiles this when it is needed, as that takes its time."""


def terms_of(text: str) -> list[str]:
    """What a text is indexed by, in order: the stems of its words, stop words left out, and pairs of letters."""
    return list(_terms(text, asked=False))


def asked_of(text: str) -> list[str]:
    """What a query is to be found by: of letters that stand in pairs not also each letter."""
    return list(_terms(text, asked=True))


def is_pair(term: str) -> bool:
    """Whether a term is made of letters of a script without spaces: then no other form of it is looked for."""
    return not term.isascii() and _script(term[0]) in (*_UNSPACED, _SYMBOL)


def _terms(text: str, *, asked: bool) -> Iterator[str]:
    text = _folded(text)
    if text.isascii():
        for word in _PLAIN_WORD.findall(text):
            yield from _word(word)
        return
    for script, run in _runs(text):
        if script in _UNSPACED:
            yield from _pairs(run, asked=asked)
        else:
            yield from _word(run)


def _folded(text: str) -> str:
    """The text as all ways to write it are: lower case, in letters that are alike, without marks and contractions."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", _UNSEEN.sub("", unicodedata.normalize("NFKD", text)))
        text = text.casefold().translate(_LIKE)
        text = "".join(str(unicodedata.decimal(char, char)) for char in text)
    return _CONTRACTION.sub(" ", text.casefold())


def _word(word: str) -> Iterator[str]:
    """A word's stem; where letters and digits are glued together ("5kg"), also the stem of each part."""
    if word not in STOP_WORDS:
        yield stem(word)
    if not word.isalpha() and not word.isdigit() and 2 <= len(parts := _GLUED.findall(word)) <= _MOST_GLUED:
        yield from (stem(part) for part in parts if part not in STOP_WORDS)


def _pairs(run: str, *, asked: bool) -> Iterator[str]:
    letters: list[str] = []
    for char in run:
        if letters and unicodedata.category(char)[0] == "M":
            letters[-1] += char
        else:
            letters.append(char)
    for place, letter in enumerate(letters):
        if place + 1 < len(letters):
            yield letter + letters[place + 1]
        if len(letters) == 1 or (not asked and (len(letter) > 1 or re.match(_WHOLE, letter))):
            yield letter


def _runs(text: str) -> Iterator[tuple[str, str]]:
    """The words of a text, cut where the script changes, each with its script; digits stay with a word of letters."""
    run = script = ""
    for char in text:
        kind = _script(char)
        if run and (kind in (_MARK, script) or (kind == _DIGIT and script not in _UNSPACED)):
            run += char
        elif run and not script and kind not in (_APART, _SYMBOL, *_UNSPACED):  # letters behind digits
            run, script = run + char, kind
        else:
            if run:
                yield script, run
            run, script = ("", "") if kind in (_APART, _MARK) else (char, "" if kind == _DIGIT else kind)
            if kind == _SYMBOL:
                yield script, run
                run = script = ""
    if run:
        yield script, run


@lru_cache(maxsize=10_000)
def _script(char: str) -> str:
    """The script of a letter, as its name in Unicode begins; or what else it is."""
    category = unicodedata.category(char)
    if category[0] == "M" or category == "Lm":
        return _MARK
    if char.isdecimal():
        return _DIGIT
    if not char.isalnum():
        return _SYMBOL if category == "So" and (char >= "\U0001f000" or "\u2600" <= char <= "\u27bf") else _APART
    name = unicodedata.name(char, "UNKNOWN").split()[0].partition("-")[0]
    return _EAST if name in _EAST_ASIAN else name
