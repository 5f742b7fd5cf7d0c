"""Demo tools: real ones, read-only, that work in any checkout, with or without git installed."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from .tools import ToolError, tool

__all__ = ["DEMO_TOOLS", "first_question", "git_log", "word_count"]


@tool(safe_to_repeat=True, timeout=10.0)
def git_log(
    count: Annotated[int, Meta(description="How many commits, the newest first.", ge=1, le=50)] = 1,
) -> str:
    """Show the latest commits of the git repository in the current folder: hash, author, date, message, files."""
    if shutil.which("git"):
        command = ["git", "--no-pager", "log", f"-{count}", "--stat", "--format=%H%n%an, %aI%n%n%B"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=8, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return _from_reflog(count)


def _from_reflog(count: int) -> str:
    """Without git, the folder's own record of where HEAD went says enough."""
    folder = _git_folder()
    log = None if folder is None else folder / "logs" / "HEAD"
    if log is None or not log.is_file():
        raise ToolError("The current folder is not in a git repository with commits.", reason="not_a_repository")
    lines = log.read_text(errors="replace").splitlines()[-count:]
    return "\n".join(_commit(line) for line in reversed(lines))


def _git_folder() -> Path | None:
    """Where git keeps its own files; a worktree or a submodule has a file there that names the folder."""
    for path in (Path.cwd(), *Path.cwd().parents):
        found = path / ".git"
        if found.is_dir():
            return found
        if found.is_file():
            return path / found.read_text(errors="replace").removeprefix("gitdir:").strip()
    return None


def _commit(line: str) -> str:
    about, _, message = line.partition("\t")
    words = about.split()
    author = " ".join(words[2:-3])
    at = datetime.fromtimestamp(int(words[-2]), UTC)
    return f"{words[1]}\n{author}, {at.isoformat()}\n\n{message}"


@tool(safe_to_repeat=True)
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


DEMO_TOOLS = (git_log, word_count)


def first_question() -> str:
    """A question that one of the tools can answer in the current folder."""
    if _git_folder() is not None:
        return "Find the latest commit and summarise it."
    return "How many words are in 'to be or not to be'?"
