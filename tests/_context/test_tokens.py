from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._context.stored import take_out
from september_engine._context.tokens import prompt_tokens, tokens_of
from september_engine.messages import Prompt

from .pictures import document, image, png

words = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("value", "tokens"), [("", 0), (None, 0), ([], 0), ("abc", 1), ("abcd", 2), ("你好", 2)])
def test_three_bytes_are_taken_for_a_token(value: object, tokens: int) -> None:
    assert tokens_of(value) == tokens


def test_english_is_never_taken_for_less_than_it_is() -> None:
    text = "The quick brown fox jumps over the lazy dog, and nobody minds. " * 50
    assert tokens_of(text) > len(text.split()) * 1.3


def test_an_image_costs_its_pixels_and_not_its_bytes() -> None:
    assert tokens_of(image(png(300, 100))) == 300 * 300 // 750
    assert tokens_of(image(png(7000, 100))) == 4800
    unseen = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    assert tokens_of(unseen) == 4800
    assert tokens_of({"role": "user", "content": [unseen]}) < 4900
    result = {"type": "tool_result", "tool_use_id": "a", "content": [unseen, {"type": "text", "text": "x"}]}
    assert 4800 < tokens_of(result) < 4900


def test_a_pdf_costs_its_pages() -> None:
    assert tokens_of(document()) == 1900
    pages = base64.b64encode(b"%PDF-1.4 " + b"<< /Type /Page >> " * 3 + b"<< /Type /Pages >>").decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": pages}
    assert tokens_of({"type": "document", "source": source}) == 3 * 1900
    packed = base64.b64encode(b"%PDF-1.7 " + b"x" * 1_000_000).decode()
    assert tokens_of({"type": "document", "source": {**source, "data": packed}}) == 10 * 1900
    assert tokens_of({"type": "document", "source": {"type": "url", "url": "https://example.org"}}) == 1900
    assert tokens_of({"type": "document", "source": {**source, "data": "a"}}) == 1900


@given(words)
def test_anything_can_be_guessed_at(value: object) -> None:
    assert tokens_of(value) >= 0


def test_a_prompt_is_the_sum_of_its_parts() -> None:
    prompt = Prompt(system="Be kind.", tools=[{"name": "look"}], messages=[{"role": "user", "content": []}])
    assert prompt_tokens(prompt) == sum(map(tokens_of, ("Be kind.", prompt.tools, prompt.messages)))


@pytest.mark.parametrize("pages", [0, 3])
def test_what_lies_beside_the_log_is_guessed_at_as_the_content_itself(pages: int) -> None:
    pdf = base64.b64encode(b"%PDF-1.4 " + b"<< /Type /Page >> " * pages + b"x" * 250_000).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": pdf}
    for block in (image(png(300, 100)), image(png(7000, 100)), document(), {"type": "document", "source": source}):
        [kept], _ = take_out([block])
        assert kept["source"]["type"] == "stored"
        assert tokens_of(kept) == tokens_of(block)
