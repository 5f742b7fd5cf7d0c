"""Patterns: what the words, paths and hosts that stand in a rule speak for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import cache

__all__ = ["is_below", "is_host", "literal", "path_pattern", "reaches", "words_match"]


def reaches(path: str, pattern: str) -> bool:
    """Whether what the pattern names lies at or below this path, as far as its beginning and end can tell."""
    if pattern.endswith("/**") and path_pattern(pattern.removesuffix("/**")).fullmatch(path):
        return True  # the folder itself, with all that is in it
    begins = re.split(r"[*?]", pattern, maxsplit=1)[0]
    return begins.startswith("/") and begins != "/" and is_below(begins.rstrip("/"), path)


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def is_host(host: str, known: str) -> bool:
    if known.startswith("*."):
        return host.endswith(known[1:].lower())
    return known in ("*", "**") or host == known.lower()


def words_match(pattern: str, argv: Sequence[str]) -> bool:
    words = _words(pattern)
    if words and words[-1] == "**":
        words, argv = words[:-1], argv[: len(words) - 1]
    return len(words) == len(argv) and all(
        _word_pattern(word).fullmatch(given) for word, given in zip(words, argv, strict=True)
    )


@cache
def _words(pattern: str) -> tuple[str, ...]:
    return tuple(shlex.split(pattern))


@cache
def _word_pattern(word: str) -> re.Pattern[str]:
    return re.compile(_translated(word, star=".*"), re.DOTALL)


@cache
def path_pattern(pattern: str) -> re.Pattern[str]:
    anchored = pattern if pattern.startswith(("/", "**")) else f"**/{pattern}"
    return re.compile(_translated(anchored, star="[^/]*"), re.DOTALL)


def _translated(pattern: str, *, star: str) -> str:
    """As a regular expression. A backslash takes the next character as it is."""
    parts = re.findall(r"\\.|\*\*/?|\*|\\$|[^\\*]+", pattern, re.DOTALL)
    return "".join(_part(part, star) for part in parts)


def _part(part: str, star: str) -> str:
    match part:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return star
        case _:
            return re.escape(part[1:] if part.startswith("\\") and len(part) == 2 else part)


def literal(text: str) -> str:
    return re.sub(r"([\\*])", r"\\\1", text)
