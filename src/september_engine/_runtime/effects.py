"""Effects: doing what the core says is owed. Each ends in exactly one input, whatever happens, unless cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import anyio
import attrs
from msgspec.structs import replace

from .._seams import Clock
from .._turn.commands import CallModel, RunTool
from .._turn.facts import Fact
from .._turn.history import prompt_of
from .._turn.inputs import Ask, ModelFailed, ModelReplied, Refuse, Write, WriteNote
from .._turn.limits import Limits
from .._turn.notes import current, note_problem, notes_of
from .._turn.present import BlockType, block_start, block_stop
from .._turn.state import remembered
from ..errors import ModelError
from ..messages import JSON, Block, Usage, tool_uses
from ..models.base import (
    BlockStarted,
    BlockStopped,
    Model,
    ModelRequest,
    Progress,
    Reply,
    TextChunk,
    ThinkingChunk,
    window_of,
)
from ..permissions import Action, Allow, Decision, Deny, Policy, Rule, Unknown
from ..permissions import Ask as Refer
from ..tools.output import ToolError
from ..tools.tool import Tool
from .channel import Channel
from .isolation import is_cancelled
from .remembering import Remembering
from .threads import RecentThreads
from .world import World

__all__ = ["AnyTool", "ModelCall", "Resources", "is_cancelled", "write_of"]

AnyTool: TypeAlias = Tool[..., Any]


@attrs.define(kw_only=True)
class Resources:
    """What the turns of one engine share. `provider` is how the last model call went: "ok" or its error's code.

    `light` is the model that summarises; None leaves it to the turn's own.
    """

    world: World
    model: Model
    fallback: Model | None
    planner: Model | None
    light: Model | None
    tools: Mapping[str, AnyTool]
    policy: Policy
    threads: anyio.CapacityLimiter
    concurrency: int
    progress_timeout: float
    remembering: Remembering | None = None
    recent: RecentThreads = attrs.field(factory=RecentThreads)
    provider: str = "ok"

    def limits_of(self, limits: Limits) -> Limits:
        """The limits of a turn that begins now: with the model's window, where nothing else was said."""
        window = limits.context_tokens if limits.context_tokens is not None else window_of(self.model)
        return replace(limits, context_tokens=window)

    def answering(self, fallback: bool) -> Model:
        """The model that answers, or that has taken over."""
        return self.fallback if fallback and self.fallback is not None else self.model

    def judge(self, name: str, input: dict[str, JSON], rules: Sequence[Rule]) -> Decision:
        """Whether the rules let this call run. A call that cannot run anyway is nobody's question."""
        tool = self.tools.get(name)
        if tool is None or not _fits(tool, input):
            return Allow()
        return self.policy.judge(name, input, _actions(tool, input), declared=tool.declared, remembered=rules)

    def refusal(self, command: RunTool, rules: Sequence[Rule], *, allowed: bool) -> str | None:
        """Why a call that is about to begin may not run by the rules of now; `allowed` is a person's yes to it."""
        match self.judge(command.tool, command.input, rules):
            case Deny(reason=reason):
                return f"Not run: {reason}"
            case Refer(reason=reason) if not allowed:
                return f"Not run, because the rules have changed: {reason} Call it again to ask."
            case _:
                return None


class ModelCall:
    """One attempt at one step. `text` is what was shown of its answer so far, `usage` what it is known to cost."""

    def __init__(self, command: CallModel, *, facts: Sequence[Fact], channel: Channel, resources: Resources) -> None:
        self._command = command
        self._facts = facts
        self._channel = channel
        self._resources = resources
        self._clock: Clock = resources.world.clock
        self._progress: float | None = None
        self._scope = anyio.CancelScope()
        self._open: tuple[int, BlockType] | None = None
        self._blocks = 0
        self.text: list[str] = []
        self.usage: Usage | None = None

    async def run(self) -> ModelReplied | ModelFailed:
        """Make the attempt. Cancelling closes the provider's stream and the block that is open."""
        if self._command.wait_ms:
            await self._clock.sleep(self._command.wait_ms / 1000)
        outcome: ModelReplied | ModelFailed | None = None
        try:
            with self._scope:
                self._progress = self._clock.monotonic()
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

    def patience(self, now: float) -> float:
        """Seconds that the model may still be silent; at 0 the attempt is given up. Pings do not break a silence."""
        left = self._resources.progress_timeout
        if self._progress is not None:
            left += self._progress - now
            if left <= 0:
                self._scope.cancel()
        return max(left, 0.0)

    async def _attempt(self) -> ModelReplied | ModelFailed:
        model = self._resources.answering(self._command.fallback)
        try:
            prompt = prompt_of(self._facts, prefix=self._command.prefix, model=model.name)
            request = ModelRequest(prompt=prompt, max_tokens=self._command.max_tokens)
            reply = await self._stream(model, request)
        except ModelError as error:
            return self._failed(error)
        except (Exception, asyncio.CancelledError) as error:  # a model must raise ModelError only
            if is_cancelled(error):
                raise
            return self._failed(ModelError(f"The model adapter failed: {type(error).__name__}: {error}"))
        if reply is None:
            return self._failed(ModelError("The model's stream ended without an answer.", retryable=True))
        return self._replied(reply)

    async def _stream(self, model: Model, request: ModelRequest) -> Reply | None:
        emit, show, first = self._channel.emit, self._channel.show, self._command.first_block
        async with aclosing(model.stream(request)) as chunks:  # type: ignore[type-var]  # the port asks for a generator
            async for chunk in chunks:
                self._progress = self._clock.monotonic()
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

    def _replied(self, reply: Reply) -> ModelReplied:
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
            asks=self._asks(tool_uses(reply.content), now),
        )

    def _asks(self, uses: Sequence[Block], now: int) -> list[Ask | Refuse | Write | None]:
        """What stands before each call; of notes, whether there is still room for them."""
        rules = remembered(self._facts)
        asks = [self._before(use, rules) for use in uses]
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

    def _before(self, use: Block, rules: Sequence[Rule]) -> Ask | Refuse | Write | None:
        """What stands before this call: a question to a person, a refusal, or nothing; or what it writes by itself."""
        name, input = use["name"], use["input"]
        tool, ids = self._resources.tools.get(name), self._resources.world.ids
        if tool is not None and tool.asks_person and _fits(tool, input):
            return Ask(request_id=ids("hitl-"), kind="question", question=input["question"])
        match self._resources.judge(name, input, rules):
            case Allow():
                return None if tool is None or tool.writes is None else write_of(tool, input)
            case Deny(reason=reason):
                return Refuse(reason=f"Not run: {reason}")
            case asked:
                question = f"May {name} run with this input? {asked.reason}"
                return Ask(request_id=ids("hitl-"), question=question, remember=asked.remember)

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
            chance=world.chance(),
            blocks=self._blocks,
            has_fallback=self._resources.fallback is not None,
        )


def _fits(tool: AnyTool, input: Mapping[str, JSON]) -> bool:
    try:
        tool.decode(input)
    except ToolError:
        return False
    return True


def _actions(tool: AnyTool, input: Mapping[str, JSON]) -> Sequence[Action]:
    """What the tool says it would do; a tool that cannot say it has not been understood."""
    if tool.actions is None:
        return ()
    try:
        return tool.actions(input)
    except Exception as error:
        return (Unknown(why=f"{tool.name} could not say what it would do ({type(error).__name__}: {error})"),)


def write_of(tool: AnyTool, input: Mapping[str, JSON]) -> Write | Refuse:
    """What the call writes, or why it cannot."""
    assert tool.writes is not None
    try:
        return tool.writes(input)
    except ToolError as error:
        return Refuse(reason=error.message, code=error.reason)
