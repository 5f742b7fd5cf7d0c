"""What every model must do. Subclass `ModelContract` in your tests and say how your model is made:

    class TestMyModel(ModelContract):
        def make_model(self) -> Model:
            return MyModel(...)

The suite needs pytest with anyio's plugin (`anyio_mode = "auto"`, or mark the class with `pytest.mark.anyio`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import msgspec

from .._context.check import problems, sent_form
from ..messages import Block, Prompt, text_of, tool_uses
from ..models.base import BlockStarted, BlockStopped, Chunk, Model, ModelRequest, Reply, TextChunk, ThinkingChunk

__all__ = ["ModelContract"]


class ModelContract:
    """The suite. Override `make_model`, and whatever else does not fit."""

    def make_model(self) -> Model:
        """A new model that answers at least two requests."""
        raise NotImplementedError

    def make_request(self) -> ModelRequest:
        """A request that the model answers with at least two chunks."""
        message: Block = {"role": "user", "content": [{"type": "text", "text": "Count to three."}]}
        return ModelRequest(prompt=Prompt(system="Be brief.", tools=[], messages=[message]), max_tokens=1000)

    def open_streams(self, model: Model) -> int:
        """How many attempts the model still holds open, where that can be seen."""
        return 0

    async def chunks(self) -> list[Chunk]:
        """All chunks of one attempt."""
        model = self.make_model()
        try:
            return [chunk async for chunk in model.stream(self.make_request())]
        finally:
            await model.aclose()

    async def reply(self) -> Reply:
        """The reply of one attempt."""
        last = (await self.chunks())[-1]
        assert isinstance(last, Reply)
        return last

    async def test_it_has_a_name(self) -> None:
        model = self.make_model()
        assert model.name
        await model.aclose()

    async def test_the_reply_is_the_last_chunk_and_the_only_one(self) -> None:
        chunks = await self.chunks()
        assert [isinstance(chunk, Reply) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]

    async def test_blocks_start_and_stop_in_pairs_counted_from_zero(self) -> None:
        open_block: BlockStarted | None = None
        begun = 0
        for chunk in await self.chunks():
            match chunk:
                case BlockStarted():
                    assert open_block is None
                    assert chunk.index == begun
                    open_block, begun = chunk, begun + 1
                case BlockStopped():
                    assert open_block is not None
                    assert chunk.index == open_block.index
                    open_block = None
                case TextChunk():
                    assert open_block is not None
                    assert open_block.block_type == "text"
                case ThinkingChunk():
                    assert open_block is not None
                    assert open_block.block_type == "thinking"
                case Reply():
                    assert open_block is None

    async def test_the_text_that_is_shown_is_the_text_of_the_reply(self) -> None:
        chunks = await self.chunks()
        shown = "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))
        assert isinstance(chunks[-1], Reply)
        assert shown == text_of(chunks[-1].content)

    async def test_what_is_shown_is_never_empty_and_always_utf8(self) -> None:
        shown = [chunk.text for chunk in await self.chunks() if isinstance(chunk, TextChunk | ThinkingChunk)]
        assert all(text.encode("utf-8") for text in shown)

    async def test_the_reply_can_be_stored_and_says_why_it_ended(self) -> None:
        reply = await self.reply()
        assert msgspec.json.decode(msgspec.json.encode(reply.content)) == reply.content
        assert reply.stop_reason
        assert reply.model
        assert min(reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cache_hit_tokens) >= 0

    async def test_a_call_with_a_broken_input_has_an_empty_one(self) -> None:
        reply = await self.reply()
        inputs = {use["id"]: use["input"] for use in tool_uses(reply.content)}
        assert all(isinstance(given, dict) for given in inputs.values())
        assert all(inputs[call_id] == {} for call_id in reply.broken_inputs)

    async def test_the_reply_can_be_sent_back(self) -> None:
        content = sent_form((await self.reply()).content)
        results: list[Block] = [
            {"type": "tool_result", "tool_use_id": use["id"], "content": "done"} for use in tool_uses(content)
        ]
        asked = self.make_request().prompt
        messages = [*asked.messages, *([{"role": "assistant", "content": content}] if content else [])]
        messages.append({"role": "user", "content": [*results, {"type": "text", "text": "Go on."}]})
        tools = asked.tools or [{"name": "any", "input_schema": {"type": "object"}}]
        assert problems(Prompt(system=asked.system, tools=tools, messages=messages)) == []

    async def test_the_request_is_left_as_it_was(self) -> None:
        model, request = self.make_model(), self.make_request()
        before = msgspec.json.encode(request)
        async for _ in model.stream(request):
            pass
        assert msgspec.json.encode(request) == before
        await model.aclose()

    async def test_a_stream_that_is_closed_early_leaves_nothing_open(self) -> None:
        model = self.make_model()
        stream = model.stream(self.make_request())
        await anext(stream)
        await _close(stream)
        assert self.open_streams(model) == 0
        again = [chunk async for chunk in model.stream(self.make_request())]
        assert isinstance(again[-1], Reply)
        await model.aclose()

    async def test_a_stream_that_is_cancelled_leaves_nothing_open(self) -> None:
        model = self.make_model()
        stream = model.stream(self.make_request())
        with anyio.CancelScope() as scope:
            try:
                async for _ in stream:
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
            finally:
                with anyio.CancelScope(shield=True):
                    await _close(stream)
        assert scope.cancelled_caught
        assert self.open_streams(model) == 0
        await model.aclose()


async def _close(stream: AsyncIterator[Chunk]) -> None:
    close = getattr(stream, "aclose", None)
    assert close is not None, "stream() must be an async generator, so that the engine can close it"
    await close()
