"""Effects: doing what the core says is owed. Each ends in exactly one input, whatever happens, unless cancelled."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

import anyio

from .._output import Output, misfit_of
from .._seams import Clock
from .._turn.calls import DONE
from .._turn.commands import CallModel, RunTool
from .._turn.facts import Fact
from .._turn.history import prompt_of
from .._turn.inputs import Ask, ModelFailed, ModelReplied, Refuse, ToolReturned, Write, WriteNote
from .._turn.notes import current, note_problem, notes_of
from .._turn.present import BlockType, block_start, block_stop
from .._turn.results import page_of
from .._turn.state import remembered
from ..errors import ModelError
from ..events import ToolResultError
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
)
from ..models.prices import cost_of
from ..permissions import Allow, Deny, Rule
from ..tools.output import ToolError, encode_error, encode_output
from .channel import Channel
from .isolation import in_thread, is_cancelled, isolated
from .resources import AnyTool, Resources, fits

__all__ = ["ModelCall", "Stored", "run_tool"]

Stored: TypeAlias = Callable[[str], Awaitable[bytes | None]]
"""Finds the whole of a large output by its id."""

_Outcome: TypeAlias = tuple[JSON, ToolResultError | None]


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
        self._progress: float | None = None
        self._scope = anyio.CancelScope()
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
        command = self._command
        prompt = prompt_of(self._facts, prefix=command.prefix, model=self._model.name)
        prompt = await self._resources.attachments.restored(self._channel.row.task_id, prompt)
        try:
            request = ModelRequest(prompt=prompt, max_tokens=command.max_tokens, output_schema=command.output_schema)
            reply = await self._stream(self._model, request)
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
            cost_usd=cost_of(self._resources.prices, reply.model, reply.usage),
            misfit=self._misfit(reply),
            asks=self._asks(tool_uses(reply.content), now),
        )

    def _misfit(self, reply: Reply) -> str | None:
        """Why a final answer is not the output that was asked for, or None."""
        schema = self._command.output_schema
        if schema is None or tool_uses(reply.content):
            return None
        text = text_of(reply.content)
        return misfit_of(schema, text) if self._output is None else self._output.misfit(text)

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
        if tool is not None and tool.asks_person and fits(tool, input):
            return Ask(request_id=ids("hitl-"), kind="question", question=input["question"])
        match self._resources.judge(name, input, rules):
            case Allow():
                return None if tool is None or tool.writes is None else _write_of(tool, input)
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
            cost_usd=self.cost_usd,
            chance=world.chance(),
            blocks=self._blocks,
            has_fallback=self._resources.fallback is not None,
            recovers_media=self._resources.recovers_media,
        )


async def run_tool(command: RunTool, resources: Resources, *, task_id: str, stored: Stored, page: int) -> ToolReturned:
    """Run one call. Whatever the tool does, the model gets a result; cancelling cancels an async tool.

    A tool that reads on in large outputs gets them from `stored`, `page` bytes at a time. What the store raises then
    is raised here.

    A sync tool runs in a thread, which nothing can stop: when it is cancelled or out of time it is left to itself, and
    what it returns later counts for nothing. An async tool that does not obey a cancellation is left in the same way.
    """
    clock = resources.world.clock
    tool = resources.tools.get(command.tool)
    if tool is not None and tool.writes is not None:
        return _written(command, _write_of(tool, command.input), clock.now_ms())
    began = clock.monotonic()
    output, error = await _outcome(command, resources, stored, page)
    output, blobs = await resources.attachments.kept(task_id, output)
    return ToolReturned(
        now=clock.now_ms(),
        tool_call_id=command.id,
        output=output,
        error=error,
        duration_ms=round((clock.monotonic() - began) * 1000),
        blobs=blobs,
    )


def _write_of(tool: AnyTool, input: Mapping[str, JSON]) -> Write | Refuse:
    """What the call writes, or why it cannot."""
    assert tool.writes is not None
    try:
        return tool.writes(input)
    except ToolError as error:
        return Refuse(reason=error.message, code=error.reason)


def _written(command: RunTool, write: Write | Refuse, now: int) -> ToolReturned:
    """The end of a call that a person has let write."""
    problem = note_problem(write, {}) if isinstance(write, WriteNote) else None
    if problem is not None:
        write = Refuse(reason=problem, code="invalid_input")
    if isinstance(write, Refuse):
        error = ToolResultError(reason=write.code, message=write.reason)
        return ToolReturned(now=now, tool_call_id=command.id, output=None, error=error)
    return ToolReturned(now=now, tool_call_id=command.id, output=DONE, write=write)


async def _outcome(command: RunTool, resources: Resources, stored: Stored, page: int) -> _Outcome:
    tool = resources.tools.get(command.tool)
    if tool is None:
        known = ", ".join(sorted(resources.tools)) or "none"
        message = f"There is no tool {command.tool!r}. Tools: {known}."
        return None, ToolResultError(reason="unknown_tool", message=message)
    try:
        arguments = tool.decode(command.input)
    except ToolError as error:
        return None, encode_error(error)
    if tool.reads_results:
        return await _read_on(arguments, stored, page)
    work = _guarded(tool, arguments, resources)
    outcome = await isolated(work, clock=resources.world.clock, seconds=tool.timeout)
    if outcome is None:
        message = f"{tool.name} did not end within {tool.timeout:g} seconds and was stopped."
        return None, ToolResultError(reason="timeout", message=message)
    return outcome


async def _read_on(arguments: Mapping[str, object], stored: Stored, page: int) -> _Outcome:
    id, offset = str(arguments["result_id"]), arguments.get("offset", 0)
    body = await stored(id)
    if body is None:
        message = f"There is no stored result {id!r} in this conversation. Copy the id as it stands in the result."
        return None, ToolResultError(reason="not_found", message=message)
    assert isinstance(offset, int)
    return page_of(body, offset, page), None


async def _guarded(tool: AnyTool, arguments: Mapping[str, object], resources: Resources) -> _Outcome:
    """Nothing a tool raises leaves here: not SystemExit, not KeyboardInterrupt, not a cancellation of its own."""
    call: Callable[[], Any] = partial(tool.function, **arguments)
    encode = partial(encode_output, prepare=resources.attachments.prepare)
    thread = partial(in_thread, limiter=resources.threads, name=f"september-engine-tool-{tool.name}")
    try:
        if tool.is_async:
            value = await call()
            if inspect.isawaitable(value):
                value = await value
        else:
            outcome = await thread(partial(_called, call, encode))
            if isinstance(outcome, tuple):
                return outcome
            value = await outcome
        if value is None or isinstance(value, str | int | float):
            return encode(value), None
        # what is large, or has code of its own, must not hold up the event loop
        return await thread(partial(encode, value)), None
    except BaseException as error:
        return None, encode_error(error)


def _called(call: Callable[[], Any], encode: Callable[[Any], JSON]) -> _Outcome | Awaitable[Any]:
    """In the tool's thread: the outcome, or what must be awaited to get there."""
    value = call()
    return value if inspect.isawaitable(value) else (encode(value), None)
