"""The Messages API's rules, checked here: what it would refuse, told before it is sent. Pure.

1. Total: any prompt, however broken, gives a list of problems and never an exception.
2. As strict as current models, which also refuse a changed prefix, an answer of their own to continue, and thinking
   that is not byte for byte theirs.
3. Each problem begins with where it is, as in `messages.3.content.0: …`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from ..messages import JSON, Block, Prompt, tool_uses
from .definitions import TOOL_NAME, definition_problems
from .media import Weight, crowding, media_problem, weigh

__all__ = [
    "COMPACTION",
    "changed_prefix",
    "media_problems",
    "problems",
    "sendable",
    "sent_form",
    "sent_id",
]

THINKING = ("thinking", "redacted_thinking")
COMPACTION = "compaction"
"""The kind of block in which a provider tells what came before; it stands first, and alone."""

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_ROLES = ("user", "assistant", "system")
_USER_BLOCKS = ("text", "image", "document", "search_result", "tool_result")
_MOST_MESSAGES = 100_000


def problems(prompt: Prompt) -> list[str]:
    """Everything the API would refuse this prompt for; an empty list where it is valid."""
    return list(_problems(prompt))


def media_problems(blocks: Sequence[JSON], *, shrinks: bool = False) -> list[tuple[int, str]]:
    """Which of these blocks, sent by a person, cannot be used, as (index, why). Text must not be blank.

    With `shrinks`, what is too large passes: it is made smaller before it is looked at again.
    """
    found: list[tuple[int, str]] = []
    media: list[Weight] = []
    for index, block in enumerate(blocks):
        is_text = isinstance(block, dict) and block.get("type") == "text"
        problem = next(_text_problems(block), None) if is_text else media_problem(block, shrinks=shrinks)
        problem = problem or (None if sendable(block) else "is not valid UTF-8")
        if problem is None and not is_text and not shrinks:
            media.append(weigh(block))
            problem = crowding(media)
        if problem is not None:
            found.append((index, problem))
    return found


def sendable(value: JSON) -> bool:
    """Whether a request can hold this, at any depth: text in valid UTF-8, numbers that are finite."""
    return next(_unsendable(value, ""), None) is None


def sent_form(reply: Sequence[Block]) -> list[Block]:
    """A reply as it is sent back: verbatim, but for what the API refuses.

    Left out are blank text, trailing thinking, kinds that only a user may send, and a call of the provider's own tools
    without its result. The name of a tool that a model made up becomes one that can be sent.
    """
    answered = [block.get("tool_use_id") for block in reply]
    sent = [_sent_block(block) for block in reply if _may_go_back(block, answered)]
    while sent and sent[-1].get("type") in THINKING:
        sent.pop()
    return sent


def sent_id(call_id: str) -> str:
    """A tool call's id as the API takes it."""
    return _NOT_IN_NAMES.sub("_", call_id) or "_"


def _may_go_back(block: Block, answered: Sequence[JSON]) -> bool:
    kind = block.get("type")
    if kind == "text":
        return bool(str(block.get("text")).strip())
    return kind not in _USER_BLOCKS and not _lacks_result(block, answered)


def _lacks_result(block: Block, answered: Sequence[JSON]) -> bool:
    """Whether this is a call of the provider's own tools (`server_tool_use`, …), which answer in the same message."""
    return str(block.get("type")).endswith("_tool_use") and block.get("id") not in answered


def _sent_block(block: Block) -> Block:
    if block.get("type") != "tool_use" or TOOL_NAME.fullmatch(block["name"]):
        return block
    return {**block, "name": _NOT_IN_NAMES.sub("_", block["name"])[:64] or "_"}


def changed_prefix(before: Prompt, reply: list[Block], after: Prompt) -> str | None:
    """Where `after` is not `before` with its reply and more behind, or None where the append-only law holds.

    A call's id may differ: ids that a model repeats are made unique when they are sent back.
    """
    if after.system != before.system:
        return "system: has changed"
    if after.tools != before.tools:
        return "tools: have changed"
    for index, message in enumerate(before.messages):
        if index >= len(after.messages):
            return f"messages.{index}: is gone"
        if after.messages[index] != message:
            return f"messages.{index}: has changed"
    index, expected = len(before.messages), sent_form(reply)
    if not expected:
        return None
    if index >= len(after.messages):
        return f"messages.{index}: the reply is gone"
    message = after.messages[index]
    if message.get("role") != "assistant" or _without_ids(message.get("content")) != _without_ids(expected):
        return f"messages.{index}: is not the reply as it was given"
    return None


def _without_ids(content: JSON) -> JSON:
    if not isinstance(content, list):
        return content
    return [
        {**block, "id": ""} if isinstance(block, dict) and block.get("type") == "tool_use" else block
        for block in content
    ]


def _problems(prompt: Prompt) -> Iterator[str]:
    yield from _unsendable(prompt.system, "system")
    yield from _unsendable(prompt.tools, "tools")
    yield from _unsendable(prompt.messages, "messages")
    yield from definition_problems(prompt.tools)
    messages = prompt.messages
    if not messages:
        yield "messages: there must be at least one"
        return
    if len(messages) > _MOST_MESSAGES:
        yield f"messages: there are {len(messages)}; at most {_MOST_MESSAGES} are taken"
    shaped = True
    for index, message in enumerate(messages):
        for problem in _message_problems(message, f"messages.{index}"):
            shaped = False
            yield problem
    if isinstance(messages[0], dict) and messages[0].get("role") != "user" and not _is_compaction(messages[0]):
        yield "messages.0: the first message must be the user's"
    if isinstance(messages[-1], dict) and messages[-1].get("role") not in ("user", "system"):
        yield f"messages.{len(messages) - 1}: the last message must be the user's; no model continues its own answer"
    if shaped:
        yield from _place_problems(messages)
        yield from _pairing_problems(messages)
        if not prompt.tools and any(tool_uses(message["content"]) for message in messages):
            yield "tools: must be defined where messages hold calls"
        yield from _crowding_problems(messages)


def _is_compaction(message: Block) -> bool:
    content = message.get("content")
    return isinstance(content, list) and [_kind_of(block) for block in content] == [COMPACTION]


def _kind_of(block: JSON) -> JSON:
    return block.get("type") if isinstance(block, dict) else None


def _unsendable(value: JSON, where: str) -> Iterator[str]:
    """What no request can hold, at any depth: text that is not UTF-8, numbers that are none. Without recursion."""
    open_values: list[tuple[JSON, str]] = [(value, where)]
    while open_values:
        item, path = open_values.pop()
        match item:
            case str():
                if not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item):
                    yield f"{path}: is not valid UTF-8 (a lone surrogate)"
            case float() if not math.isfinite(item):
                yield f"{path}: {item} is not a number that JSON has"
            case dict():
                for key, inner in item.items():
                    open_values.append((key, path))
                    open_values.append((inner, f"{path}.{ascii(key)[1:-1]}"))
            case list() | tuple():
                open_values.extend((inner, f"{path}.{index}") for index, inner in enumerate(item))


def _message_problems(message: JSON, where: str) -> Iterator[str]:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        yield f"{where}: must have role and content, and nothing else"
        return
    role, content = message["role"], message["content"]
    if role not in _ROLES:
        yield f"{where}.role: must be user, assistant or system"
        return
    if not isinstance(content, list) or not content:
        yield f"{where}.content: must be a list of at least one block"
        return
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            yield f"{where}.content.{index}: must be an object with a type"
            continue
        for problem in _block_problems(role, block):
            yield f"{where}.content.{index}: {problem}"
    last = content[-1]
    if role == "assistant" and isinstance(last, dict) and last.get("type") in THINKING:
        yield f"{where}.content.{len(content) - 1}: an assistant message must not end in thinking"
    answered = [block.get("tool_use_id") for block in content if isinstance(block, dict)]
    for index, block in enumerate(content):
        if role == "assistant" and isinstance(block, dict) and _lacks_result(block, answered):
            yield f"{where}.content.{index}: {block['type']} must have its result in the same message"


def _block_problems(role: str, block: Block) -> Iterator[str]:
    match role, block["type"]:
        case _, "text":
            yield from _text_problems(block)
            if role != "assistant" and block.get("citations"):
                yield "citations stand only in what a model has written"
        case "user", ("image" | "document"):
            if (problem := media_problem(block)) is not None:
                yield problem
        case "user", "tool_result":
            yield from _result_problems(block)
        case "assistant", "tool_use":
            yield from _use_problems(block)
        case "assistant", "thinking":
            if not isinstance(block.get("thinking"), str):
                yield "thinking must be text"
            if not isinstance(block.get("signature"), str) or not block["signature"]:
                yield "thinking must have its signature"
        case "assistant", "redacted_thinking":
            if not isinstance(block.get("data"), str):
                yield "redacted thinking must have its data"
        case "assistant", kind if kind not in _USER_BLOCKS:
            # the provider's own kinds change with every release and go back as they came
            return
        case _:
            yield f"{block['type']} is not a block of a {role} message"


def _text_problems(block: Block) -> Iterator[str]:
    text = block.get("text")
    if not isinstance(text, str):
        yield "text must be text"
    elif not text.strip():
        yield "text must not be blank"


def _use_problems(block: Block) -> Iterator[str]:
    if not isinstance(block.get("id"), str) or not _ID.fullmatch(block["id"]):
        yield "id must be letters, digits, _ and -"
    if not isinstance(block.get("name"), str) or not TOOL_NAME.fullmatch(block["name"]):
        yield "name must be 1 to 64 letters, digits, _ and -"
    if not isinstance(block.get("input"), dict):
        yield "input must be an object"


def _result_problems(block: Block) -> Iterator[str]:
    if not isinstance(block.get("tool_use_id"), str):
        yield "tool_use_id must be text"
    if not isinstance(block.get("is_error", False), bool):
        yield "is_error must be true or false"
    content = block.get("content", "")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        yield "content must be text or a list of blocks"
        return
    for index, inner in enumerate(content):
        if not isinstance(inner, dict) or inner.get("type") not in ("text", "image", "document"):
            yield f"content.{index}: must be a text, image or document block"
        else:
            for problem in _block_problems("user", inner):
                yield f"content.{index}: {problem}"


def _place_problems(messages: list[Block]) -> Iterator[str]:
    """A system message stands between what the user said and what the model answers; a compaction stands first."""
    for index, message in enumerate(messages):
        if index > 0 and any(block["type"] == COMPACTION for block in message["content"]):
            yield f"messages.{index}: a compaction must be the first message"
        if message["role"] != "system":
            continue
        if index > 0 and messages[index - 1]["role"] != "user":
            yield f"messages.{index}: a system message must follow a user message"
        if index + 1 < len(messages) and messages[index + 1]["role"] != "assistant":
            yield f"messages.{index}: a system message must come before an assistant message, or last"


def _pairing_problems(messages: list[Block]) -> Iterator[str]:
    """Each call is answered once, in order, at the head of the message right after it."""
    seen: set[str] = set()
    owed: list[str] = []
    for index, message in enumerate(messages):
        content, where = message["content"], f"messages.{index}"
        results = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
        head = [block.get("tool_use_id") for block in content[: len(owed)]]
        if results != owed:
            yield f"{where}: must answer exactly the calls before it, in order ({owed}), and answers {results}"
        elif head != owed:
            yield f"{where}: tool results must come before everything else"
        owed = [use["id"] for use in tool_uses(content)] if message["role"] == "assistant" else []
        for call_id in owed:
            if call_id in seen:
                yield f"{where}: the call id {call_id} is there twice"
            seen.add(call_id)
    if owed:
        yield f"messages.{len(messages)}: is missing; it must answer the calls {owed}"


def _crowding_problems(messages: list[Block]) -> Iterator[str]:
    media: list[Weight] = []
    for index, message in enumerate(messages):
        media += [weigh(block) for block in _with_inner(message["content"]) if block["type"] in ("image", "document")]
        if (problem := crowding(media)) is not None:
            yield f"messages.{index}: {problem}"
            return


def _with_inner(content: list[Block]) -> Iterator[Block]:
    for block in content:
        yield block
        if block["type"] == "tool_result" and isinstance(block.get("content"), list):
            yield from block["content"]
