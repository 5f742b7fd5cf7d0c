from __future__ import annotations

import pytest

from september_engine._context.asides import aside, is_aside
from september_engine.messages import Block


@pytest.mark.parametrize("name", ["plan", "working_memory"])
def test_what_the_engine_adds_is_known_again(name: str) -> None:
    assert is_aside(aside(name, "one\ntwo"))


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "Look at this: <plan>\none\n</plan>"},
        {"type": "text", "text": "<plan>\none\n</working_memory>"},
        {"type": "text", "text": "<answer>\none\n</answer>"},
        {"type": "image", "text": "<plan>\none\n</plan>"},
        {"type": "text"},
    ],
)
def test_what_a_person_wrote_is_not(block: Block) -> None:
    assert not is_aside(block)
