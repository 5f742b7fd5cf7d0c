"""What the scripted Messages API refuses, and what its prompt cache would have read. Pure.

As strict as current models are: a test that passes with it has sent nothing that would be refused in earnest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

import attrs
import msgspec

from .._context.check import problems
from ..messages import JSON, Block, Prompt

__all__ = ["Issued", "PromptCache", "cache_marks", "prompt_of", "refusal"]

MARKS = 4
"""Most `cache_control` marks in one request."""

LOOKBACK = 20
"""Blocks before a mark, itself included, at which the provider looks for what it has cached."""

COMPACTION_BETA = "compact-2026-09-04"

SAID = {"role": "user", "content": [{"type": "text", "text": "Say it in brief."}]}

SIGNED = ("thinking", "redacted_thinking")

SCHEMA_WORDS = frozenset(
    "type properties required additionalProperties items minItems anyOf allOf enum const format description title "
    "$defs $ref".split()
)
"""What a schema that an answer is held to may say."""

OLDER = re.compile(r"claude-(opus|sonnet|haiku)-4[-.][0-5]\b")
"""Models that have no adaptive thinking."""

MOST_TOKENS = {False: 128_000, True: 64_000}
"""Most tokens of one answer, of current models and of older ones."""


@attrs.frozen
class Issued:
    """A thinking block that was sent, and the prompt it answered: it is valid nowhere else."""

    block: Block
    prompt: Prompt


def prompt_of(body: Mapping[str, JSON]) -> Prompt:
    """What a request asks, in the engine's words: without `cache_control`, text where the API takes both as blocks."""
    system = body.get("system")
    texts = [system] if isinstance(system, str) else [block.get("text") for block in _objects(system)]
    messages = [_unmarked(message) for message in _objects(body.get("messages"))]
    for message in messages:
        if isinstance(message.get("content"), str):
            message["content"] = [{"type": "text", "text": message["content"]}]
    tools = [_unmarked(tool) for tool in _objects(body.get("tools"))]
    return Prompt(system="\n\n".join(map(str, texts)), tools=tools, messages=messages)


def cache_marks(body: Mapping[str, JSON]) -> list[str]:
    """Where `cache_control` stands, as in `system.0` and `messages.3.content.1`, in the order of the prompt."""
    return [path for path, block in _blocks(body) if "cache_control" in block]


def refusal(body: Mapping[str, JSON], headers: Mapping[str, str], issued: Sequence[Issued]) -> str | None:
    """Why the API would answer 400, or None."""
    return next(_refusals(body, headers, issued), None)


def _refusals(body: Mapping[str, JSON], headers: Mapping[str, str], issued: Sequence[Issued]) -> Iterator[str]:
    if "anthropic-version" not in headers:
        yield "anthropic-version: header is required"
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if not isinstance(body.get(name), kind):
            yield f"{name}: Field required"
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            yield f"{name}: is not supported by this model"
    if _object(body.get("tool_choice")).get("type") in ("any", "tool"):
        yield "tool_choice: this model cannot be forced to use a tool"
    yield from _model_problems(body)
    yield from _format_problems(body)
    yield from _compaction_problems(body, headers)
    marked = [(path, block) for path, block in _blocks(body) if "cache_control" in block]
    if len(marked) > MARKS:
        yield f"A maximum of {MARKS} blocks with cache_control may be provided. Found {len(marked)}."
    yield from _mark_problems(marked)
    for path, block in marked:
        if block.get("type") in SIGNED or (block.get("type") == "text" and not str(block.get("text")).strip()):
            yield f"{path}: cache_control cannot be set here"
    prompt = prompt_of(body)
    yield from _moved_thinking(prompt, issued)
    if "compaction" in body:  # nothing is written behind it, so an answer that is whole may be last
        prompt = msgspec.structs.replace(prompt, messages=[*prompt.messages, SAID])
    yield from problems(prompt)


def _model_problems(body: Mapping[str, JSON]) -> Iterator[str]:
    """What one model takes and another refuses."""
    model = str(body.get("model"))
    older = OLDER.search(model) is not None
    thinking, asked, most = _object(body.get("thinking")).get("type"), body.get("max_tokens"), MOST_TOKENS[older]
    if thinking == "enabled" and not older:
        yield "thinking.type: enabled is not supported by this model"
    if thinking == "adaptive" and older:
        yield "adaptive thinking is not supported on this model"
    if isinstance(asked, int) and asked > most:
        yield f"max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens for {model}"


def _format_problems(body: Mapping[str, JSON]) -> Iterator[str]:
    """What an answer is to be held to: a schema of the kinds and with the words that the API knows."""
    wanted = _object(body.get("output_config")).get("format")
    if wanted is None:
        return
    if _object(wanted).get("type") != "json_schema" or not isinstance(_object(wanted).get("schema"), dict):
        yield "output_config.format: must be a json_schema with a schema"
        return
    yield from _schema_problems(wanted["schema"], "output_config.format.schema")


def _schema_problems(schema: JSON, path: str) -> Iterator[str]:
    said = _object(schema)
    if not said.keys() & {"type", "anyOf", "allOf", "enum", "const", "$ref"}:
        yield f"{path}: must have a type"
    if said.get("type") == "object" and said.get("additionalProperties") is not False:
        yield f"{path}: for type object, additionalProperties must be explicitly set to false"
    for word in sorted(said.keys() - SCHEMA_WORDS):
        yield f"{path}.{word}: is not supported"
    for name in ("properties", "$defs"):
        for key, inner in _object(said.get(name)).items():
            yield from _schema_problems(inner, f"{path}.{name}.{key}")
    for index, inner in enumerate(_objects(said.get("anyOf"))):
        yield from _schema_problems(inner, f"{path}.anyOf.{index}")
    if "items" in said:
        yield from _schema_problems(said["items"], f"{path}.items")


def _compaction_problems(body: Mapping[str, JSON], headers: Mapping[str, str]) -> Iterator[str]:
    """A beta of the API: whoever does not name it may neither ask for a compaction nor send one back."""
    if COMPACTION_BETA in headers.get("anthropic-beta", ""):
        if "compaction" in body and _object(body["compaction"]).get("type") != "summarize":
            yield "compaction.type: must be summarize"
        return
    if "compaction" in body:
        yield "compaction: Extra inputs are not permitted"
    if any(block.get("type") == "compaction" for _, block in _blocks(body)):
        yield "messages.0.content.0: Input tag 'compaction' found using 'type' does not match any of the expected tags"


def _mark_problems(marked: Sequence[tuple[str, Block]]) -> Iterator[str]:
    """How long a mark lasts: five minutes or an hour, and none may last longer than one before it."""
    marks = [_object(block["cache_control"]) for _, block in marked]
    for (path, _), mark in zip(marked, marks, strict=True):
        if mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in ("5m", "1h"):
            yield f"{path}.cache_control: must be ephemeral, with a ttl of 5m or 1h"
    lasts = [mark.get("ttl", "5m") for mark in marks]
    if "5m" in lasts and "1h" in lasts[lasts.index("5m") :]:
        yield "cache_control: a ttl of 1h must not come after a ttl of 5m"


def _moved_thinking(prompt: Prompt, issued: Sequence[Issued]) -> Iterator[str]:
    """Thinking goes back as it was, after exactly the prompt it was made for."""
    for index, message in enumerate(prompt.messages):
        for place, block in enumerate(message["content"]):
            if block.get("type") not in SIGNED:
                continue
            here = Prompt(system=prompt.system, tools=prompt.tools, messages=prompt.messages[:index])
            if not any(each.block == block for each in issued):
                yield f"messages.{index}.content.{place}: Invalid `signature` in `{block['type']}` block"
            elif Issued(block, here) not in issued:
                yield f"messages.{index}.content.{place}: this thinking is bound to a different conversation"


@attrs.define
class PromptCache:
    """A prompt cache that never forgets. Tokens are a guess: four bytes each."""

    _written: set[bytes] = attrs.field(factory=set, init=False)

    def usage(self, body: Mapping[str, JSON]) -> dict[str, int]:
        """The `usage` of a request's input; what it marked is written."""
        digest = hashlib.sha256(str(body.get("model")).encode())
        ends: list[tuple[bytes, int]] = [(digest.digest(), 0)]
        marks: list[int] = []
        for place, (path, block) in enumerate(_blocks(body), start=1):
            raw = msgspec.json.encode([path.partition(".")[0], _unmarked(block)])
            digest.update(raw)
            ends.append((digest.digest(), ends[-1][1] + max(1, len(raw) // 4)))
            if "cache_control" in block:
                marks.append(place)
        near = (place for mark in reversed(marks) for place in range(mark, max(0, mark - LOOKBACK), -1))
        read = next((ends[place][1] for place in near if ends[place][0] in self._written), 0)
        written = max(read, ends[marks[-1]][1]) if marks else 0
        self._written.update(ends[mark][0] for mark in marks)
        return {
            "input_tokens": ends[-1][1] - max(read, written),
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written - read,
        }


def _blocks(body: Mapping[str, JSON]) -> Iterator[tuple[str, Block]]:
    """Every block that may be marked, in the order in which the prompt is read: tools, system, messages."""
    system = body.get("system")
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    for name, blocks in (("tools", body.get("tools")), ("system", system)):
        for index, block in enumerate(_objects(blocks)):
            yield f"{name}.{index}", block
    for index, message in enumerate(_objects(body.get("messages"))):
        for place, block in enumerate(_objects(message.get("content"))):
            yield f"messages.{index}.content.{place}", block


def _object(value: JSON) -> Block:
    return value if isinstance(value, dict) else {}


def _objects(value: JSON) -> list[Block]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _unmarked(block: Block) -> Block:
    """A message or block without the marks where marks may stand: a tool's input may have a key of that name."""
    kept = {key: value for key, value in block.items() if key != "cache_control"}
    if isinstance(kept.get("content"), list):
        kept["content"] = [_unmarked(inner) if isinstance(inner, dict) else inner for inner in kept["content"]]
    return kept
