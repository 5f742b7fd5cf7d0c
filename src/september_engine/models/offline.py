"""The model that answers where there is no key. It is a handful of rules, and says so in every answer.

It takes part in the real loop: it picks the tool whose name and description fit the question, fills in the parameters
from the question's own words, and puts the result into a sentence. The same prompt always gives the same answer.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

import msgspec

from .._context.asides import is_aside
from .._context.media import weigh
from .._context.stored import is_media
from .._context.text import clean
from .._seams import Clock
from .._turn.output import NOT_ASKED_FOR
from .._turn.planning import PLAN_SCHEMA
from ..errors import ConfigurationError
from ..messages import JSON, Block, Prompt, Usage, text_of, tool_uses
from ._offline_output import fill_in
from .base import BlockStarted, BlockStopped, Chunk, ModelRequest, Progress, Reply, TextChunk

__all__ = ["OfflineModel"]

LABEL = "Offline model:"
HELP = (
    "no API key is set, so simple rules answer instead of Claude. "
    "Set ANTHROPIC_API_KEY (or LLM_API_KEY) in the environment or in .env and start again."
)
LONGEST = 400
NO_PLAN = '{"worthwhile": false, "steps": []}'
"""As a planner it says that none is worth it: no simple rule can tell what work needs steps."""

_ALIKE = {
    "commit": "git", "repository": "git", "repo": "git", "history": "log", "last": "latest", "newest": "latest",
    "recent": "latest", "+": "add", "plus": "add", "sum": "add", "total": "add", "-": "subtract", "minus": "subtract",
    "*": "multiply", "×": "multiply", "times": "multiply", "product": "multiply", "/": "divide", "÷": "divide",
    "compute": "calculate", "calculator": "calculate", "evaluate": "calculate", "many": "count", "number": "count",
}  # fmt: skip
_EMPTY = frozenset(
    "a an and are as at be by can do does for from get give has have how i in is it its me my of on or please show "
    "tell that the their them then there these this to was we what when where which who will with you your".split()
)
_TEXT_NAMES = frozenset("text message query question input prompt content string sentence phrase".split())
_SUM = re.compile(r"-?\d+(?:\.\d+)?(?:\s*[-+*/×÷]\s*-?\(?\d+(?:\.\d+)?\)?)+")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")
_PROGRAMS = frozenset(
    "awk bash cat chmod cp curl date df du echo env find git grep head hostname id ls make mkdir mv mypy node npm pip "
    "printenv printf ps pwd pytest python python3 rm rmdir ruff sed seq sh sleep sort tail tar touch tree uname uniq "
    "uv wc whoami".split()
)
_RUN = re.compile(
    r"(?i:(?:(?:please|now|then|can you|could you|would you|use (?:bash|the shell) to)[\s,]+)*)"
    r"(?i:(?:run|execute)\s*(?::|\b))\s*"
    r"(?:(?i:(?:(?:the|this|a)\s+)?(?:following\s+)?(?:(?:shell|bash)\s+)?command\s*:?|(?:the\s+)?following\s*:)\s*|"
    rf"(?=[`:\"']|(?:{'|'.join(sorted(_PROGRAMS))})\b)|(?<=:)\s*)"
    r"(?:`([^`]+)`|\"([^\"\n]+)\"|'([^'\n]+)'|(?![\"'])([^\n`]+?))(?:[\s,]+(?i:for me|please))*[.!?\s]*"
)
"""A plain request to run one command, and nothing else."""

_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|`([^`]+)`|(?<!\w)\'([^\']+)\'(?!\w)')
_PATH = re.compile(r"(?<!\S)(?:[\w.~-]*/[\w./~-]+|[\w-]+\.[a-z]{1,5})(?!\w)")


class OfflineModel:
    """A rule-based model, for trying things out without a key.

    Args:
        name: The model's name.
        pace: Seconds between two words; needs `clock`. At 0 it never waits.
        clock: What it waits with.
    """

    def __init__(self, name: str = "offline", *, pace: float = 0.0, clock: Clock | None = None) -> None:
        if pace > 0 and clock is None:
            raise ConfigurationError("OfflineModel(pace=…) needs a clock to wait with: pass clock=….")
        self.name = name
        self._pace = pace
        self._clock = clock

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        """Answer, one word at a time. Raises nothing; cancelling leaves nothing open."""
        prompt = request.prompt
        text, use = _answer(prompt)
        if request.output_schema == PLAN_SCHEMA:
            text, use = NO_PLAN, None
        elif request.output_schema is not None and use is None:
            text = _value_of(request.output_schema, prompt)
        content: list[Block] = [{"type": "text", "text": text}]
        yield BlockStarted(0, "text")
        for word in re.findall(r"\s*\S+\s*$|\s*\S+", text):
            if self._clock is not None and self._pace > 0:
                await self._clock.sleep(self._pace)
            yield TextChunk(word)
        yield BlockStopped(0)
        if use is not None:
            yield BlockStarted(1, "tool_use")
            yield Progress()
            yield BlockStopped(1)
            content.append(use)
        yield Reply(
            content=content,
            stop_reason="end_turn" if use is None else "tool_use",
            usage=Usage(input_tokens=_tokens(prompt), output_tokens=_tokens(content)),
            model=self.name,
        )

    async def aclose(self) -> None:
        """There is nothing to free."""


def _answer(prompt: Prompt) -> tuple[str, Block | None]:
    """What is said, and the call that is made, if any."""
    content = prompt.messages[-1]["content"] if prompt.messages else []
    if results := [block for block in content if block.get("type") == "tool_result"]:
        names = {use["id"]: use["name"] for message in prompt.messages for use in tool_uses(message["content"])}
        told = " ".join(_told(names.get(result["tool_use_id"], "the tool"), result) for result in results)
        return f"{LABEL} {told}", None
    question = clean(text_of(block for block in content if not is_aside(block)))
    if (chosen := _choose(prompt.tools, question)) is None:
        return f"{LABEL} {_given(content)}{HELP}{_can_do(prompt.tools)}", None
    tool, input = chosen
    made = sum(len(tool_uses(message["content"])) for message in prompt.messages)
    call_id = f"toolu_offline_{made + 1}"
    return (
        f"{LABEL} no API key is set, so I go by simple rules. I use {tool['name']} for this.",
        {"type": "tool_use", "id": call_id, "name": tool["name"], "input": input},
    )


def _value_of(schema: dict[str, JSON], prompt: Prompt) -> str:
    """The answer where a value was asked for: from the last message of a person, and the results that came after it."""
    heard: list[str] = []
    for message in reversed(prompt.messages):
        content = message["content"]
        results = [block for block in content if block.get("type") == "tool_result"]
        heard += [_result_text(result.get("content", "")) for result in results]
        said = clean(text_of(block for block in content if not is_aside(block)))
        if message["role"] == "user" and not results and not said.startswith(NOT_ASKED_FOR):
            heard.append(said)
            break
    answer, filled = fill_in(schema, " ".join(heard))
    return answer if filled else f"{LABEL} {answer}"


def _given(content: list[Block]) -> str:
    """What of a message no rule can look at."""
    given = [_in_words(block) for block in content if is_media(block)]
    return f"I was given {' and '.join(given)}, and cannot look at that: " if given else ""


def _in_words(block: Block) -> str:
    source = block["source"]
    if source.get("type") == "url":
        return str(source["url"])
    side = weigh(block).side
    return str(source["media_type"]) + (f" of up to {side} pixels a side" if side else "")


def _can_do(tools: list[Block]) -> str:
    if not tools:
        return ""
    names = ", ".join(str(tool.get("name")) for tool in tools[:8])
    return f" Until then I can only use the tools whose names or descriptions your words match: {names}."


def _told(name: str, result: Block) -> str:
    text = _result_text(result.get("content", ""))
    if result.get("is_error"):
        return f"{name} did not work: {text}"
    if "\n" not in text:
        return f"{name} gave: {text}"
    first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
    more = "; ".join(rest[:3]) + (f"; and {len(rest) - 3} more lines" if len(rest) > 3 else "")
    return f"{name} gave: {first}. " + (f"It goes on: {more}." if rest else "")


def _result_text(content: JSON) -> str:
    if isinstance(content, list):
        pictures = sum(block.get("type") != "text" for block in content)
        content = text_of(content) + (f" [{pictures} attachments]" if pictures else "")
    text = str(content).strip() or "nothing"
    try:
        decoded = msgspec.json.decode(text)
    except msgspec.DecodeError:
        decoded = None
    if isinstance(decoded, dict):
        text = ", ".join(f"{key}: {value}" for key, value in decoded.items()) or "nothing"
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()}…"


def _choose(tools: list[Block], question: str) -> tuple[Block, dict[str, JSON]] | None:
    """The tool that fits best and can be called with what the question holds; the first of equals."""
    if (command := _command_in(question)) is not None:
        for tool in tools:
            schema = tool.get("input_schema")
            if isinstance(schema, dict) and schema.get("required") == ["command"]:
                return tool, {"command": command}
    asked = _words(_without_quotes(question))
    best: tuple[Block, dict[str, JSON]] | None = None
    most = 2
    for tool in tools:
        name, about = _words(str(tool.get("name"))), _words(str(tool.get("description") or ""))
        score = 3 * len(asked & name) + len(asked & (about - name))
        schema = tool.get("input_schema")
        properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
        if "command" in properties and asked & {"git", "run", "execute"}:
            score += 3
        if "expression" in properties and _SUM.search(question):
            score += 3
        if score > most and isinstance(schema, dict) and (input := _fill(schema, question)) is not None:
            best, most = (tool, input), score
    return best


def _command_in(question: str) -> str | None:
    """The command that a person plainly asks to be run, or None."""
    found = _RUN.fullmatch(question.strip())
    return None if found is None else next(filter(None, found.groups())).strip()


def _words(text: str) -> frozenset[str]:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower()
    found = re.findall(r"[a-zäöüß]+|(?<=\d)\s*[-+*/×÷](?=\s*-?\d)", spaced)
    return frozenset(_stem(word.strip()) for word in found if word not in _EMPTY) - _EMPTY


def _stem(word: str) -> str:
    """Without a plural's "s", unless the word is known with it, as "plus" is."""
    stem = word.removesuffix("s") if len(word) > 3 and word not in _ALIKE else word
    return _ALIKE.get(stem, stem)


def _without_quotes(question: str) -> str:
    return _QUOTED.sub(" ", question)


def _fill(schema: Mapping[str, JSON], question: str) -> dict[str, JSON] | None:
    """The required parameters, from the question; None where one cannot be known."""
    numbers = [float(text) if "." in text else int(text) for text in _NUMBER.findall(_without_quotes(question))]
    quotes = [next(filter(None, match.groups())) for match in _QUOTED.finditer(question)]
    filled: dict[str, JSON] = {}
    for name in schema.get("required", []):
        kind = schema.get("properties", {}).get(name, {})
        value = _value(name, kind if isinstance(kind, dict) else {}, question, numbers, quotes)
        if value is None:
            return None
        filled[name] = value
    return filled


def _value(name: str, kind: Mapping[str, JSON], question: str, numbers: list[int | float], quotes: list[str]) -> JSON:
    """One parameter's value, or None. What is taken from `numbers` and `quotes` is used up."""
    if "enum" in kind:
        said = question.lower()
        return next((choice for choice in kind["enum"] if str(choice).lower() in said), kind["enum"][0])
    match kind.get("type"):
        case "integer":
            whole = next((number for number in numbers if isinstance(number, int)), None)
            if whole is not None:
                numbers.remove(whole)
            return whole
        case "number":
            return numbers.pop(0) if numbers else None
        case "boolean":
            return bool(re.search(rf"\b{re.escape(name)}\b", question, re.IGNORECASE))
        case "array":
            inner = kind.get("items", {}).get("type") if isinstance(kind.get("items"), dict) else None
            return (list(numbers) if inner in ("integer", "number") else list(quotes)) or None
        case "string":
            return _string(name, question, quotes)
        case _:
            return None


def _string(name: str, question: str, quotes: list[str]) -> str | None:
    if name == "command":
        # only what was written as code: other quotes are somebody's words, not a command
        if (code := re.search(r"`([^`]+)`", question)) is not None:
            return code[1]
        return "git log -1 --stat" if "git" in _words(question) else None
    if name == "expression":
        found = _SUM.search(question)
        return found.group() if found else None
    if quotes:
        return quotes.pop(0)
    if name in ("path", "file", "filename", "file_path"):
        path = _PATH.search(question)
        return path.group() if path else None
    if name in _TEXT_NAMES:
        before, colon, after = question.partition(":")
        return (after if colon and after.strip() else before).strip() or None
    return None


def _tokens(value: object) -> int:
    """A guess: four bytes a token."""
    return max(1, len(msgspec.json.encode(value)) // 4)
