"""Stems: one form for the forms of an English word.

M. F. Porter's algorithm ("An algorithm for suffix stripping", 1980), after a table of the irregular forms that a
conversation is full of: who asks when somebody "bought" a car finds "I want to buy", which no suffix tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

__all__ = ["stem"]

_IRREGULAR = """
be am is are was were been being | go goes went gone | buy bought | eat ate eaten | drink drank drunk | drive drove
driven | write wrote written | give gave given | take took taken | see saw seen | know knew known | grow grew grown |
throw threw thrown | fly flew flown | draw drew drawn | wear wore worn | tear tore torn | begin began begun | swim
swam swum | sing sang sung | run ran | ride rode ridden | break broke broken | speak spoke spoken | choose chose
chosen | steal stole stolen | forget forgot forgotten | get got gotten | sell sold | tell told | say said | pay paid
| make made | have has had | do does did done | think thought | teach taught | catch caught | bring brought | fight
fought | seek sought | sleep slept | keep kept | leave left | feel felt | meet met | lose lost | send sent | spend
spent | build built | lend lent | find found | hold held | hear heard | stand stood | understand understood | win won
| sit sat | shoot shot | become became | come came | fall fell fallen | wake woke woken | hide hid hidden | bite bit
bitten | feed fed | lead led | read | mean meant | learn learnt | burn burnt | dream dreamt | child children | person
people | man men | woman women | foot feet | tooth teeth | mouse mice | wife wives | life lives | knife knives | leaf
leaves | kid kids | mom mum mother mommy mummy | dad father daddy | good better best | bad worse worst | 0 zero | 1
one | 2 two | 3 three | 4 four | 5 five | 6 six | 7 seven | 8 eight | 9 nine | 10 ten | 11 eleven | 12 twelve |
television tv | bicycle bike bikes | refrigerator fridge | photograph photo photos pic pics picture pictures |
mathematics math maths | hello hi hey
"""
_FORMS = {form: forms[0] for forms in (line.split() for line in _IRREGULAR.split("|")) for form in forms}

_VOWEL = "(?:[aeiou]|(?<![aeiou])(?<!^)y)"
_STEM_WITH_VOWEL = re.compile(_VOWEL)
_DOUBLE = re.compile(r"([^aeioulsz])\1$")
_SHORT_END = re.compile(r"[^aeiou][aeiouy][^aeiouwxy]$")

_SECOND = (
    "ational ate, tional tion, enci ence, anci ance, izer ize, abli able, alli al, entli ent, eli e, ousli ous, "
    "ization ize, ation ate, ator ate, alism al, iveness ive, fulness ful, ousness ous, aliti al, iviti ive, biliti ble"
)
_THIRD = "icate ic, ative, alize al, iciti ic, ical ic, ful, ness"
_FOURTH = "al ance ence er ic able ible ant ement ment ent ou ism ate iti ous ive ize"


def _pairs(rules: str) -> Sequence[tuple[str, str]]:
    parts = [rule.split() for rule in rules.split(",")]
    return sorted(((suffix, "".join(instead)) for suffix, *instead in parts), key=lambda pair: -len(pair[0]))


_RULES = (_pairs(_SECOND), _pairs(_THIRD))
_LAST = tuple(sorted(_FOURTH.split(), key=len, reverse=True))


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The stem of one lower-case word. What is not plain a to z (a number, another script) is its own stem."""
    word = _FORMS.get(word, word)
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return word
    word = _inflection(_plural(word))
    if word.endswith("y") and _STEM_WITH_VOWEL.search(word[:-1]):
        word = word[:-1] + "i"
    for rules in _RULES:
        word = _derived(word, rules)
    word = _bare(word)
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _SHORT_END.search(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word


def _measure(word: str) -> int:
    """How often a vowel is followed by a consonant: Porter's m."""
    vowels = re.sub(_VOWEL, "V", word)
    return len(re.findall("V+[^V]+", vowels))


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _inflection(word: str) -> str:
    """Take -eed, -ed and -ing off, and mend what is left."""
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        rest = word.removesuffix(suffix)
        if rest != word and _STEM_WITH_VOWEL.search(rest):
            break
    else:
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if _DOUBLE.search(rest):
        return rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _SHORT_END.search(rest) else rest


def _derived(word: str, rules: Sequence[tuple[str, str]]) -> str:
    for suffix, instead in rules:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + instead if _measure(rest) > 0 else word
    return word


def _bare(word: str) -> str:
    if word.endswith(("sion", "tion")):
        return word[:-3] if _measure(word[:-3]) > 1 else word
    for suffix in _LAST:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest if _measure(rest) > 1 else word
    return word
