"""A model that says what a script says: for tests and examples.

    model = ScriptedModel([turn(say("Let me look."), call("git_log", limit=1)), say("The latest commit is 8c44ab1.")])

One entry of the script is one attempt. The model is strict unless told otherwise: it refuses every request the real
API would refuse, and every one that does not go on from what it was sent and answered before. A test that passes with
it cannot have poisoned a thread or broken the prompt cache.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Literal, Protocol, TypeAlias, assert_never

import attrs
import msgspec

from .._context.check import changed_prefix, problems, sent_form
from .._plain import shown
from ..errors import ModelError
from ..messages import JSON, Block, Prompt, Usage
from .base import BlockStarted, BlockStopped, Chunk, ModelRequest, Progress, Reply, TextChunk, ThinkingChunk

__all__ = ["Answer", "Script", "ScriptedModel", "Step", "call", "fail", "hold", "say", "think", "turn"]


class Gate(Protocol):
    """What a step may wait on; the events of anyio and asyncio are such."""

    async def wait(self) -> object: ...


@attrs.frozen
class _Say:
    kind: Literal["text", "thinking"]
    text: str
    signature: str | None = None
    gate: Gate | None = None
    at: int = 0


@attrs.frozen
class _Call:
    tool: str
    id: str | None
    input: dict[str, JSON]
    broken: str | None


@attrs.frozen
class _Fail:
    error: ModelError


@attrs.frozen
class _Hold:
    gate: Gate


Step: TypeAlias = _Say | _Call | _Fail | _Hold
"""One part of an answer; made by `say`, `think`, `call`, `fail` and `hold`."""


@attrs.frozen(kw_only=True)
class Answer:
    """One whole attempt; made by `turn`. `stop_reason` None means what the steps imply."""

    steps: tuple[Step, ...]
    stop_reason: str | None = None
    usage: Usage | None = None


Script: TypeAlias = Iterable[Step | Answer] | Callable[[ModelRequest], Step | Answer]


def say(text: str, *, hold: Gate | None = None, at: int = 0) -> Step:
    """A text block. With `hold`, piece number `at` is sent only once that event is set."""
    return _Say("text", text, gate=hold, at=at)


def think(text: str, *, signature: str | None = None) -> Step:
    """A thinking block; without a signature it gets one of its own."""
    return _Say("thinking", text, signature=signature)


def call(tool: str, /, *, id: str | None = None, broken: str | None = None, **input: JSON) -> Step:
    """A tool call; without an id it gets one of its own. `broken` says what was wrong with an input that was cut."""
    return _Call(tool, id, input if broken is None else {}, broken)


def fail(error: ModelError) -> Step:
    """The attempt fails here."""
    return _Fail(error)


def hold(gate: Gate) -> Step:
    """Wait here until the event is set."""
    return _Hold(gate)


def turn(*steps: Step, stop_reason: str | None = None, usage: Usage | None = None) -> Answer:
    """Several steps as one answer."""
    return Answer(steps=steps, stop_reason=stop_reason, usage=usage)


def _answer(entry: object) -> Answer:
    """What the script gave. Raises `TypeError` where that is no step or answer."""
    answer = entry if isinstance(entry, Answer) else Answer(steps=(entry,))  # type: ignore[arg-type]
    for step in answer.steps:
        if not isinstance(step, Step):
            raise TypeError(f"a script gives say(…), call(…), fail(…), … or turn(…) of them, and not {shown(step)}")
    return answer


@attrs.frozen
class _Exchange:
    """A request and what was answered, as far as the answer was made."""

    prompt: Prompt
    content: list[Block]


@attrs.define(kw_only=True, eq=False)
class ScriptedModel:
    """A model that follows a script.

    Args:
        script: One step or answer per attempt, in the order of the requests; or a function that makes one.
        name: The model's name.
        piece: Characters per chunk.
        strict: Refuse what the API would refuse, and what does not go on from an earlier request.
        new_prefix: Allow another `system` or other tools for a conversation that has begun.
        context_window: The window it says it has, in tokens.

    Attributes:
        requests: Every request so far, the refused ones too.
        open_streams: How many attempts are running now.
        closed: Whether `aclose` was called.
    """

    script: Script = attrs.field(kw_only=False)
    name: str = attrs.field(default="scripted", kw_only=False)
    piece: int = 5
    strict: bool = True
    new_prefix: bool = False
    context_window: int | None = None
    requests: list[ModelRequest] = attrs.field(factory=list, init=False)
    open_streams: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    _answered: list[_Exchange] = attrs.field(factory=list, init=False)
    _next: Callable[[ModelRequest], Step | Answer] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._next = self.script if callable(self.script) else _in_order(self.script)

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        """Make the next attempt of the script. Raises `ModelError`; cancelling leaves nothing open."""
        self.requests.append(request)
        number = len(self.requests)
        if self.strict and (refused := self._refusals(request.prompt)):
            raise ModelError("The request was refused: " + "; ".join(refused), bad_history=True, problems=list(refused))
        answer = _answer(self._next(request))
        self.open_streams += 1
        try:
            async with aclosing(self._play(answer, request, number)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.open_streams -= 1

    async def aclose(self) -> None:
        """Note that the engine is done with this model."""
        self.closed = True

    async def _play(self, answer: Answer, request: ModelRequest, number: int) -> AsyncGenerator[Chunk, None]:
        content: list[Block] = []
        broken: dict[str, str] = {}
        for step in answer.steps:
            index = len(content)
            match step:
                case _Fail(error):
                    raise error
                case _Hold(gate):
                    await gate.wait()
                case _Say():
                    yield BlockStarted(index, step.kind)
                    for place, start in enumerate(range(0, len(step.text), self.piece)):
                        if step.gate is not None and place == step.at:
                            await step.gate.wait()
                        piece = step.text[start : start + self.piece]
                        yield TextChunk(piece) if step.kind == "text" else ThinkingChunk(piece)
                    yield BlockStopped(index)
                    content.append(_said(step, number, index))
                case _Call():
                    call_id = step.id or f"toolu_{self.name}_{number}_{index}"
                    yield BlockStarted(index, "tool_use")
                    yield Progress()
                    yield BlockStopped(index)
                    content.append({"type": "tool_use", "id": call_id, "name": step.tool, "input": step.input})
                    if step.broken is not None:
                        broken[call_id] = step.broken
                case _:
                    assert_never(step)
        self._answered.append(_Exchange(request.prompt, content))
        calls = any(block["type"] == "tool_use" for block in content)
        yield Reply(
            content=content,
            stop_reason=answer.stop_reason or ("tool_use" if calls else "end_turn"),
            usage=answer.usage or Usage(input_tokens=_tokens(request.prompt), output_tokens=_tokens(content)),
            model=self.name,
            broken_inputs=broken,
        )

    def _refusals(self, prompt: Prompt) -> list[str]:
        return problems(prompt) or _moved_thinking(self._answered, prompt) or self._broken_law(prompt)

    def _broken_law(self, prompt: Prompt) -> list[str]:
        """Against the longest earlier prompt that this one begins with; one good precedent is enough."""
        earlier = [each for each in self._answered if _begins_with(prompt, each.prompt)]
        longest = max((len(each.prompt.messages) for each in earlier), default=0)
        broken: list[str] = []
        for each in earlier:
            if len(each.prompt.messages) < longest:
                continue
            if (problem := _change(each, prompt, self.new_prefix)) is None:
                return []
            broken = [problem]
        return broken


def _in_order(script: Iterable[Step | Answer]) -> Callable[[ModelRequest], Step | Answer]:
    entries = list(script)
    left = iter(entries)

    def following(request: ModelRequest) -> Step | Answer:
        try:
            return next(left)
        except StopIteration:
            raise ModelError(f"The script has no further answer: all {len(entries)} were given.") from None

    return following


def _said(step: _Say, number: int, index: int) -> Block:
    if step.kind == "text":
        return {"type": "text", "text": step.text}
    return {"type": "thinking", "thinking": step.text, "signature": step.signature or f"signed_{number}_{index}"}


def _begins_with(prompt: Prompt, earlier: Prompt) -> bool:
    count = len(earlier.messages)
    return len(prompt.messages) > count and prompt.messages[:count] == earlier.messages


def _change(earlier: _Exchange, prompt: Prompt, new_prefix: bool) -> str | None:
    """The append-only law, with what may lawfully take a reply's place.

    A person's message (the answer did not count), the text of an answer that was cut, or the reply without its
    thinking, which a new prefix, another model or a repair drops.
    """
    before = earlier.prompt
    if new_prefix:
        before = Prompt(system=prompt.system, tools=prompt.tools, messages=before.messages)
    problem = changed_prefix(before, earlier.content, prompt)
    if problem is None or problem.startswith(("system", "tools")):
        return problem
    following = prompt.messages[len(before.messages)]
    if following["role"] != "assistant":
        return None
    without = [block for block in sent_form(earlier.content) if block["type"] != "thinking"]
    cut = [block for block in following["content"] if block["type"] != "text"] == []
    if cut and _text(earlier.content).startswith(_text(following["content"])):
        return None
    return None if following["content"] == without else problem


def _moved_thinking(answered: list[_Exchange], prompt: Prompt) -> list[str]:
    """Thinking is bound to the exact prompt that it was made for, and goes back as it was."""
    made: dict[str, list[tuple[Block, Prompt]]] = {}
    for each in answered:
        for block in each.content:
            if block["type"] == "thinking":
                made.setdefault(block["signature"], []).append((block, each.prompt))
    found: list[str] = []
    for index, message in enumerate(prompt.messages):
        here = Prompt(system=prompt.system, tools=prompt.tools, messages=prompt.messages[:index])
        for place, block in enumerate(message["content"]):
            if block["type"] != "thinking" or (origins := made.get(block["signature"])) is None:
                continue
            if (block, here) not in origins:
                changed = all(block != original for original, _ in origins)
                why = "was changed" if changed else "is bound to a different conversation"
                found.append(f"messages.{index}.content.{place}: this thinking {why}")
    return found


def _text(content: list[Block]) -> str:
    return "".join(block["text"] for block in content if block["type"] == "text")


def _tokens(value: object) -> int:
    """A guess: four bytes a token."""
    return max(1, len(msgspec.json.encode(value)) // 4)
