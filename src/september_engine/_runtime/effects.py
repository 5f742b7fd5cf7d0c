"""Effects: doing what the core says is owed. Each ends in exactly one input, whatever happens, unless cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from .._context.causes import reason_of
from .._output import Output, misfit_of
from .._seams import Clock
from .._turn.commands import CallModel
from .._turn.facts import Fact
from .._turn.history import prompt_of
from .._turn.inputs import Ask, ModelFailed, ModelReplied, Refuse, Write, WriteNote
from .._turn.notes import current, note_problem, notes_of
from .._turn.present import BlockType, block_start, block_stop
from .._turn.state import remembered
from ..errors import ModelError
from ..messages import JSON, Block, Usage, text_of, tool_uses
from ..models.base import (
    BlockStarted,
    BlockStopped,
    Model,
    ModelRequest,
    Progress,
    Reply,
    TextChunk,
    ThinkingChunk,
    checked_chunk,
    checked_error,
)
from ..models.prices import cost_of
from ..permissions import Allow, Deny, Rule
from ..tools.output import ToolError
from .channel import Channel
from .isolation import is_cancelled
from .resources import AnyTool, Resources, fits
from .stopwatch import Patience

__all__ = ["ModelCall", "write_of"]


class ModelCall:
    """One attempt at one step. `text` is what was shown of its answer so far, `usage` what it is known to have used.

    `output` is what a final answer must be, where the type itself is at hand.
    """

    def __init__(
        self,
        command: CallModel,
        *,
        facts: Sequence[Fact],
        channel: Channel,
        resources: Resources,
        output: Output[Any] | None = None,
    ) -> None:
        self._command = command
        self._output = output
        self._model = resources.answering(command.fallback)
        self._facts = facts
        self._channel = channel
        self._resources = resources
        self._clock: Clock = resources.world.clock
        self.patience = Patience(self._clock, resources.progress_timeout)
        self._open: tuple[int, BlockType] | None = None
        self._blocks = 0
        self.text: list[str] = []
        self.usage: Usage | None = None

    @property
    def cost_usd(self) -> float | None:
        """What `usage` costs; None where that is unknown."""
        return cost_of(self._resources.prices, self._model.name, self.usage)

    async def run(self) -> ModelReplied | ModelFailed:
        """Make the attempt. Cancelling closes the provider's stream and the block that is open."""
        if self._command.wait_ms:
            await self._clock.sleep(self._command.wait_ms / 1000)
        outcome: ModelReplied | ModelFailed | None = None
        try:
            with self.patience.over():
                outcome = await self._attempt()
        finally:
            self._close_block()
        if outcome is None:
            silence = f"The model sent nothing for {self._resources.progress_timeout:g} seconds."
            outcome = self._failed(ModelError(silence, code="LLM_TIMEOUT", retryable=True))
        # a conversation that is too long for it says nothing about the provider
        failed = outcome.code if isinstance(outcome, ModelFailed) else ""
        self._resources.provider = failed if failed.startswith("LLM_") else "ok"
        return outcome

    async def _attempt(self) -> ModelReplied | ModelFailed:
        command = self._command
        prompt = prompt_of(self._facts, prefix=command.prefix, model=self._model.name)
        prompt = await self._resources.attachments.restored(self._channel.row.task_id, prompt)
        try:
            request = ModelRequest(prompt=prompt, max_tokens=command.max_tokens, output_schema=command.output_schema)
            reply = await self._stream(self._model, request)
        except ModelError as error:
            return self._failed(checked_error(error))
        except (Exception, asyncio.CancelledError) as error:  # a model must raise ModelError only
            if is_cancelled(error):
                raise
            return self._failed(ModelError(f"The model adapter failed: {reason_of(error)}"))
        if reply is None:
            return self._failed(ModelError("The model's stream ended without an answer.", retryable=True))
        return await self._replied(reply)

    async def _stream(self, model: Model, request: ModelRequest) -> Reply | None:
        emit, show, first = self._channel.emit, self._channel.show, self._command.first_block
        async with aclosing(model.stream(request)) as chunks:  # type: ignore[type-var]  # the port asks for a generator
            async for given in chunks:
                chunk = checked_chunk(given)
                self.patience.heard()
                if isinstance(chunk, TextChunk):
                    self.text.append(chunk.text)
                    show("text", chunk.text)
                elif isinstance(chunk, ThinkingChunk):
                    show("thinking", chunk.text)
                elif isinstance(chunk, BlockStarted):
                    self._close_block()
                    self._open = (chunk.index, chunk.block_type)
                    self._blocks = chunk.index + 1
                    emit(block_start(first, chunk.index, chunk.block_type))
                elif isinstance(chunk, BlockStopped):
                    self._close_block()
                elif isinstance(chunk, Progress):
                    self.usage = chunk.usage or self.usage
                elif isinstance(chunk, Reply):
                    return chunk
        return None

    def _close_block(self) -> None:
        if self._open is not None:
            index, block_type = self._open
            self._open = None
            self._channel.emit(block_stop(self._command.first_block, index, block_type))

    async def _replied(self, reply: Reply) -> ModelReplied:
        world = self._resources.world
        now = world.clock.now_ms()
        return ModelReplied(
            now=now,
            step=self._command.step,
            message_id=world.ids("msg_"),
            content=reply.content,
            stop_reason=reply.stop_reason,
            usage=reply.usage,
            model=reply.model,
            blocks=self._blocks,
            broken=reply.broken_inputs,
            stop_details=reply.stop_details,
            cost_usd=cost_of(self._resources.prices, reply.model, reply.usage),
            misfit=self._misfit(reply),
            asks=await self._asks(tool_uses(reply.content), now),
        )

    def _misfit(self, reply: Reply) -> str | None:
        """Why a final answer is not the output that was asked for, or None."""
        schema = self._command.output_schema
        if schema is None or tool_uses(reply.content):
            return None
        text = text_of(reply.content)
        return misfit_of(schema, text) if self._output is None else self._output.misfit(text)

    async def _asks(self, uses: Sequence[Block], now: int) -> list[Ask | Refuse | Write | None]:
        """What stands before each call; of notes, whether there is still room for them."""
        rules = remembered(self._facts) if uses else ()
        asks = [await self._before(use, rules) for use in uses]
        if not any(isinstance(ask, WriteNote) for ask in asks):
            return asks
        notes = current(notes_of(self._facts), now)
        for place, ask in enumerate(asks):
            if isinstance(ask, WriteNote):
                if (problem := note_problem(ask, notes)) is None:
                    notes[ask.key] = ask.value
                else:
                    asks[place] = Refuse(reason=problem, code="invalid_input")
        return asks

    async def _before(self, use: Block, rules: Sequence[Rule]) -> Ask | Refuse | Write | None:
        """What stands before this call: a question to a person, a refusal, or nothing; or what it writes by itself."""
        name, input = use["name"], use["input"]
        tool, ids = self._resources.tools.get(name), self._resources.world.ids
        if tool is not None and tool.asks_person and fits(tool, input):
            return Ask(request_id=ids("hitl-"), kind="question", question=input["question"])
        match self._resources.judge(name, input, rules):
            case Allow():
                return None if tool is None or tool.writes is None else write_of(tool, input)
            case Deny(reason=reason):
                return Refuse(reason=f"Not run: {reason}")
            case asked:
                opens = self._resources.wanted(name, input)
                if (obstacle := await self._resources.obstacle(name, input, opens)) is not None:
                    return Refuse(reason=f"Not run: {obstacle.message}", code=obstacle.reason)
                told = [f"May {name} run with this input?", asked.reason, self._resources.opening(name, input, opens)]
                question = " ".join(filter(None, told))
                remember = (*asked.remember, *self._resources.again(name, input, opens))
                return Ask(request_id=ids("hitl-"), question=question, remember=remember, opens=opens)

    def _failed(self, error: ModelError) -> ModelFailed:
        world = self._resources.world
        return ModelFailed(
            now=world.clock.now_ms(),
            step=self._command.step,
            code=error.code,
            message=error.message,
            details=dict(error.details),
            retryable=error.retryable,
            retry_after=error.retry_after,
            bad_history=error.bad_history,
            suspect=error.suspect,
            usage=self.usage,
            cost_usd=self.cost_usd,
            chance=world.chance(),
            blocks=self._blocks,
            has_fallback=self._resources.fallback is not None,
            recovers_media=self._resources.recovers_media,
        )


def write_of(tool: AnyTool, input: Mapping[str, JSON]) -> Write | Refuse:
    """What the call writes, or why it cannot."""
    assert tool.writes is not None
    try:
        return tool.writes(input)
    except ToolError as error:
        return Refuse(reason=error.message, code=error.reason)
