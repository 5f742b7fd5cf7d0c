"""The suite must notice what it is there to notice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from september_engine.messages import Usage
from september_engine.models.base import BlockStarted, BlockStopped, Chunk, Model, ModelRequest, Reply, TextChunk
from september_engine.testing.model_contract import ModelContract

REPLY = Reply(content=[{"type": "text", "text": "hi"}], stop_reason="end_turn", usage=Usage(), model="m")


class Wrong:
    name = "wrong"

    def __init__(self, *chunks: Chunk) -> None:
        self._chunks = chunks

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        for chunk in self._chunks:
            yield chunk

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("chunks", "test"),
    [
        ([REPLY, REPLY], "test_the_reply_is_the_last_chunk_and_the_only_one"),
        ([BlockStarted(0, "text"), REPLY], "test_blocks_start_and_stop_in_pairs_counted_from_zero"),
        ([BlockStarted(1, "text"), BlockStopped(1), REPLY], "test_blocks_start_and_stop_in_pairs_counted_from_zero"),
        ([TextChunk("hi"), REPLY], "test_blocks_start_and_stop_in_pairs_counted_from_zero"),
        ([TextChunk("ho"), REPLY], "test_the_text_that_is_shown_is_the_text_of_the_reply"),
        ([TextChunk(""), REPLY], "test_what_is_shown_is_never_empty_and_always_utf8"),
        ([TextChunk("hi")], "test_the_reply_can_be_sent_back"),
    ],
)
async def test_a_model_that_breaks_the_contract_fails(chunks: list[Chunk], test: str) -> None:
    class Suite(ModelContract):
        def make_model(self) -> Model:
            return Wrong(*chunks)

    with pytest.raises(AssertionError):
        await getattr(Suite(), test)()
