"""Lexicon: other forms of a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._memory.lexicon import FORMS, FORMS_TOO, Lexicon
from september_engine._memory.words import terms_of

from ..strategies import awkward_text


def lexicon_of(*texts: str) -> Lexicon:
    return Lexicon(term for text in texts for term in terms_of(text))


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("Haustürschlüssel", "Haustür"),
        ("Haustürschlüssel", "Schlüssel"),
        ("вокзала", "вокзал"),
        ("вокзал", "вокзалами"),
        ("במטבח", "מטבח"),
        ("בגן", "גן"),
        ("المدرسة", "مدرسة"),
        ("Kuchen", "Apfelkuchen"),
        ("लड़कियाँ", "लड़की"),
    ],
)
def test_other_forms_of_a_word_are_near(held: str, asked: str) -> None:
    [form], [word] = terms_of(held), terms_of(asked)
    lexicon = lexicon_of(held, "Zebra", "ноутбук", "شمس")
    assert list(lexicon.near(word)) == [form]
    assert 0.3 < lexicon.near(word)[form] < 1


def test_what_begins_with_a_word_that_is_held_is_near_and_counts_for_less() -> None:
    without, with_it = lexicon_of("haustürschlüssel"), lexicon_of("haustürschlüssel", "haustür")
    assert 0 < with_it.near("haustur")["hausturschlussel"] < without.near("haustur")["hausturschlussel"]


@pytest.mark.parametrize(
    ("asked", "holds", "alike"),
    [("jarnvag", "jarnvagsstationen", "barnvagnen"), ("kube", "kubernet", "uberse"), ("enhu", "ziekenhuis", "benh")],
)
def test_what_holds_a_word_whole_is_nearer_than_what_is_as_long_and_holds_most_of_it(
    asked: str, holds: str, alike: str
) -> None:
    near = Lexicon([holds, alike]).near(asked)
    assert near[holds] > near[alike]


def test_another_number_is_no_other_form_of_a_number() -> None:
    lexicon = lexicon_of("2022 2023 20230508 iphone14")
    assert list(lexicon.near("2023")) == ["20230508"]
    assert list(lexicon.near("iphone15")) == ["iphon"]


def test_pairs_have_no_forms_but_a_korean_syllable_may_be_the_word() -> None:
    lexicon = lexicon_of("東京タワー", "집이")
    assert lexicon.near("東京") == {}
    assert list(lexicon.near("집에")) == ["집"]


def test_of_many_forms_the_nearest_are_taken_whatever_the_order_they_came_in() -> None:
    words = [f"вокзал{letter}{other}" for letter in "абвгд" for other in "абвгд"]
    forward, backward = Lexicon(words), Lexicon(reversed(words))
    assert forward.near("вокзал") == backward.near("вокзал")
    assert len(forward.near("вокзал")) == FORMS
    forward.add(["вокзал", "вокзал"])
    assert len(forward.near("вокзал")) == FORMS_TOO


@given(st.lists(awkward_text, max_size=8), awkward_text)
def test_whatever_is_held_and_asked_what_is_near_counts_for_less_than_the_word(held: list[str], asked: str) -> None:
    lexicon = lexicon_of(*held)
    for word in terms_of(asked):
        near = lexicon.near(word)
        assert word not in near
        assert all(0 < counts < 1 for counts in near.values())
        assert len(near) <= FORMS
