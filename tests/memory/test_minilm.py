"""MiniLM in NumPy, against what is known of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from september_engine.errors import ConfigurationError
from september_engine.memory.minilm import MiniLMEmbedder

EATING = "A man is eating food."
PUBLISHED = {
    "A man is eating a piece of bread.": 0.7553,
    "A man is riding a horse.": 0.2474,
    "The girl is carrying a baby.": -0.1050,
}
"""Cosines with EATING, of the original model: the example of sentence-transformers' manual."""


@pytest.fixture(scope="module")
def minilm() -> MiniLMEmbedder:
    try:
        return MiniLMEmbedder()
    except ConfigurationError as missing:
        pytest.skip(missing.message)


def test_cosines_are_those_of_the_original(minilm: MiniLMEmbedder) -> None:
    first, *others = minilm.vectors([EATING, *PUBLISHED])
    assert [round(float(first @ other), 4) for other in others] == pytest.approx(list(PUBLISHED.values()), abs=2e-4)


async def test_what_shares_no_word_but_means_the_same_is_close(minilm: MiniLMEmbedder) -> None:
    pet, dog, bank = minilm.vectors(["Which pet do you keep?", "My beagle is called Biscuit.", "Interest rates rose."])
    assert pet @ dog > pet @ bank + 0.1


async def test_vectors_have_length_one_and_do_not_depend_on_their_company(minilm: MiniLMEmbedder) -> None:
    texts = ["short", "a somewhat longer text, with more words in it", "", "very " * 1_000, *["x"] * 40]
    together = await minilm.embed(texts)
    alone = [(await minilm.embed([text]))[0] for text in texts[:4]]
    assert len(together) == len(texts)
    for vector, same in zip(together, alone, strict=False):
        assert len(vector) == minilm.dimensions
        assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-5)
        assert vector == pytest.approx(same, abs=1e-5)
    assert await minilm.embed([]) == []


def test_other_weights_are_refused(tmp_path: Path, minilm: MiniLMEmbedder) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ConfigurationError, match="SHA-256"):
        MiniLMEmbedder(tmp_path)


def test_missing_weights_are_said(tmp_path: Path, minilm: MiniLMEmbedder) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        MiniLMEmbedder(tmp_path)


def test_what_is_not_installed_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ConfigurationError, match="pip install"):
        MiniLMEmbedder()
