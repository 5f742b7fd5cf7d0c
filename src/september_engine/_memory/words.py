"""Words: a text as every store indexes it, so that the same question finds the same memories everywhere."""

from __future__ import annotations

import re
import unicodedata

from .stems import stem

__all__ = ["STOP_WORDS", "spoken", "terms_of"]

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
_IDEOGRAMS = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+")


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


def terms_of(text: str) -> list[str]:
    """The stems of a text's words, stop words left out, in order; what has no spaces between words, as pairs."""
    terms: list[str] = []
    for word in spoken(text):
        if _IDEOGRAMS.search(word):
            terms += [word[place : place + 2] for place in range(max(1, len(word) - 1))]
        elif word not in STOP_WORDS:
            terms.append(stem(word))
    return terms
