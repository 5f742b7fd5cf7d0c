"""The two collections of commands, as texts."""

from __future__ import annotations

import re
from pathlib import Path

from september_engine._bash import actions_of
from september_engine.permissions import Allow, Decision, Policy

ROOT, HOME = "/home/dev/project", "/home/dev"
POLICY = Policy(roots=(ROOT,), confined=True)


def commands(name: str) -> list[str]:
    """One a line; `⏎` stands for a newline and `<U+000D>` for the character of that number."""
    text = (Path(__file__).parent / "corpus" / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line and not line.startswith("## ")]
    return [re.sub(r"<U\+([0-9A-F]{4})>", _character, line.replace("⏎", "\n")) for line in lines]


def judged(command: str) -> Decision:
    return POLICY.judge("bash", {"command": command}, actions_of(command, cwd=ROOT, home=HOME))


def is_allowed(command: str) -> bool:
    return isinstance(judged(command), Allow)


def _character(found: re.Match[str]) -> str:
    return chr(int(found.group(1), 16))
