"""Words: the same stem for the forms of a word, in any script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given

from september_engine._memory.stems import stem
from september_engine._memory.words import STOP_WORDS, asked_of, spoken, terms_of

from ..strategies import awkward_text

PORTER = """
caresses caress, ponies poni, cats cat, agreed agre, plastered plaster, motoring motor, conflated conflat, sized size,
hopping hop, falling fall, failing fail, filing file, happy happi, sky sky, relational relat, conditional condit,
digitizer digit, operator oper, feudalism feudal, hopefulness hope, sensibility sensibl, triplicate triplic,
formative form, electrical electr, goodness good, revival reviv, allowance allow, adjustable adjust, adoption adopt,
effective effect, rate rate, cease ceas, controlling control, roll roll
"""


@pytest.mark.parametrize("pair", PORTER.split(","))
def test_stems_are_those_that_porter_published(pair: str) -> None:
    word, expected = pair.split()
    assert stem(word) == expected


@pytest.mark.parametrize(
    "forms", ["buy bought buying", "write wrote written writing", "child children", "drive drove driving", "2 two"]
)
def test_irregular_forms_share_a_stem_with_the_regular_ones(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1


def test_a_text_becomes_the_stems_of_what_it_is_about() -> None:
    text = "Caroline's kids didn't go to the LGBTQ support-group on 2023-05-08; café Crème"
    assert terms_of(text) == "carolin kid go lgbtq support group 2023 05 08 cafe creme".split()


def test_scripts_without_spaces_are_pairs_and_marks_stay_with_their_letters() -> None:
    assert terms_of("東京タワー") == ["東京", "東", "京タ", "京", "タワ", "ワー"]
    assert asked_of("東京タワー") == ["東京", "京タ", "タワ", "ワー"]
    assert terms_of("京") == ["京"]
    assert terms_of("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


def test_upper_case_accents_and_apostrophes_make_no_difference() -> None:
    assert spoken("Zoë’s CAFÉ isn't") == spoken("zoe's cafe isn’t") == ["zoe", "cafe", "isn"]


def test_stop_words_say_nothing() -> None:
    assert terms_of("What did you do about it, and when?") == []
    assert {"when", "you"} <= STOP_WORDS


@given(awkward_text)
def test_any_text_has_terms_that_hold_no_space_and_no_upper_case(text: str) -> None:
    for term in terms_of(text):
        assert term
        assert not any(char.isspace() or char in "\0\"'" for char in term)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("我用docker部署服务", "我用 我 用 docker 部署 部 署服 署 服务 服 务"),
        ("GPU를 iPhone15を", "gpu 를 iphone15 iphon 15 を"),
        ("PDFфайл", "pdf фаил"),
        ("โซฟา ที่นี่", "โซ ซฟ ฟา ที่นี่ ที่ นี่"),
        ("5kg qx77431 3fa9c2", "5kg 5 kg qx77431 qx 77431 3fa9c2"),
        ("Straße Łódź ｆｕｌｌ", "strass lodz full"),
        ("ışık IŞIK", "isik isik"),
        ("كتــاب المَدْرَسَة ٢٠٢٣", "كتاب المدرسه 2023"),
        ("שָׁלוֹם שלום", "שלומ שלומ"),
        ("docker'ом м’яч isn't", "docker ом м яч"),
        ("Party 🎉!", "parti 🎉"),
    ],
)
def test_a_text_is_cut_where_its_script_changes_and_ways_to_write_it_are_one(text: str, terms: str) -> None:
    assert terms_of(text) == terms.split()


@given(awkward_text)
def test_composed_and_decomposed_text_has_the_same_terms(text: str) -> None:
    forms = [terms_of(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")]
    assert forms[0] == forms[1]


@given(awkward_text)
def test_what_is_asked_for_is_a_part_of_what_the_same_text_is_indexed_by(text: str) -> None:
    assert set(asked_of(text)) <= set(terms_of(text))
