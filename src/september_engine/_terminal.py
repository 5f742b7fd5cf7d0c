"""Terminal: a turn as a person reads it. Text streams, a tool call is one line, the usage comes last."""

from __future__ import annotations

import os
import shutil
import unicodedata
from typing import TextIO

import msgspec

from .events import (
    ContentBlockStart,
    Error,
    Event,
    Plan,
    Retry,
    TextDelta,
    ThinkingDelta,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
    WorkingMemoryUpdate,
)
from .messages import JSON

__all__ = ["BOLD", "DIM", "Terminal"]

KEPT = "\n\t\u00a0\u3000\u200c\u200d"
"""Not printable to Python, but text: line ends, blanks, and the joiners inside of emoji and Indic words."""

MARKS = {"pending": "○", "active": "◐", "done": "●", "dropped": "–"}

MOST_STEPS = 6
"""A longer plan is folded to this many lines: those around what is being worked on."""

DIM, BOLD, RED, CYAN, RESET = "\x1b[2m", "\x1b[1m", "\x1b[31m", "\x1b[36m", "\x1b[0m"


class Terminal:
    """Writes events to a text stream; with colours only where it is a terminal that shows them and nobody said no."""

    def __init__(self, out: TextIO, *, colours: bool | None = None, width: int | None = None) -> None:
        self._out = out
        self._width = shutil.get_terminal_size().columns if width is None else width
        self._colours = _wants_colours(out) if colours is None else colours
        self._inputs: dict[str, str] = {}
        self._at_line_start = True
        self._thinking = False

    def say(self, text: str, *style: str) -> None:
        """Write text as it comes, without a new line."""
        self._out.write(self._styled(text, *style))
        self._out.flush()
        self._at_line_start = text.endswith("\n")

    def line(self, text: str = "", *style: str) -> None:
        """Write one line of its own."""
        if not self._at_line_start:
            self._out.write("\n")
        self._out.write(self._styled(text, *style) + "\n")
        self._out.flush()
        self._at_line_start = True

    def end_line(self, *, echoed: bool) -> None:
        """Go on at the start of a line; with `echoed`, somebody has pressed Enter and the terminal is there already."""
        if not echoed and not self._at_line_start:
            self._out.write("\n")
            self._out.flush()
        self._at_line_start = True

    def _styled(self, text: str, *style: str) -> str:
        return "".join(style) + text + RESET if self._colours and style else text

    def show(self, event: Event) -> None:
        """Show one event."""
        match event:
            case TextDelta(text=text):
                self.say(_safe(text))
            case ThinkingDelta(text=text):
                self.say(_safe(text), DIM)
            case ContentBlockStart(block_type=kind):
                if not self._at_line_start and (kind == "text" or self._thinking):
                    self.line()
                self._thinking = kind == "thinking"
            case Plan():
                self._plan(event)
            case WorkingMemoryUpdate():
                kept = "is gone" if event.value is None else f"= {_folded(event.value)}"
                self.line(_cut(f"✎ {_safe(event.key)} {kept}", self._width), DIM)
            case ToolCall():
                self._inputs[event.tool_call_id] = f"{event.tool}({_arguments(event.input)})"
            case ToolResult():
                self._result(event)
            case Retry():
                again = " What was shown of this answer no longer counts." if event.retracts else ""
                self.line(f"↻ {event.reason}: trying again in {event.wait_ms / 1000:.1f} s.{again}", DIM)
            case Error():
                self.line(f"✗ {event.error}: {_safe(event.message)}", RED)
            case ThreadLifecycle(phase="completed", usage=usage) if usage is not None:
                cached = f" ({usage.cache_hit_tokens} from cache)" if usage.cache_hit_tokens else ""
                tokens = f"{usage.input_tokens} tokens in{cached}, {usage.output_tokens} out"
                self.line()
                self.line(f"{event.stop_reason} · {tokens}", DIM)
            case _:
                pass

    def _plan(self, event: Plan) -> None:
        """The steps around the first that is open, and how many there are before and after."""
        ended = [step.status in ("done", "dropped") for step in event.steps]
        begin = ended.index(False) if False in ended else len(ended)
        begin = max(0, min(begin - 1, len(ended) - MOST_STEPS))
        steps = event.steps[begin : begin + MOST_STEPS]
        after = len(event.steps) - begin - len(steps)
        self.line(f"Plan: {sum(ended)} of {len(ended)} steps done" if ended else "Plan: none any more", DIM)
        if begin:
            self.line(f"  … {begin} before", DIM)
        for step in steps:
            self.line(_cut(f"  {MARKS[step.status]} {_folded(step.title)}", self._width), DIM)
        if after:
            self.line(f"  … {after} more", DIM)

    def _result(self, event: ToolResult) -> None:
        """One line: the call may have half of it, and what the outcome leaves."""
        failed = event.error is not None
        outcome = f" ✗ {_folded(event.error.message)}" if event.error is not None else f" → {_folded(event.output)}"
        call = f"● {self._inputs.pop(event.tool_call_id, event.tool)}"
        call = _cut(call, max(self._width // 2, self._width - _columns(outcome)))
        self.line(_cut(call + outcome, self._width), RED if failed else CYAN)


def _wants_colours(out: TextIO) -> bool:
    """The convention of https://no-color.org: `NO_COLOR` set to anything but nothing means none."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _arguments(input: dict[str, JSON]) -> str:
    return ", ".join(f"{name}={_cut(_folded(value), 40)}" for name, value in input.items())


def _folded(value: JSON) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return _safe(" ".join(text.split()))


def _cut(text: str, width: int) -> str:
    if _columns(text) <= width:
        return text
    kept = text[:width]
    while kept and _columns(kept) >= width:
        kept = kept[:-1]
    return f"{kept}…"


def _columns(text: str) -> int:
    """How wide a terminal shows it: a letter of East Asia takes two columns."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _safe(text: str) -> str:
    """Without control characters: what a tool or a model wrote must not steer the terminal."""
    return "".join(char for char in text if char.isprintable() or char in KEPT)
