"""Matching a regular expression that a model wrote: it may need more time than there is, and must not take it from us.

`re` goes back without end on some patterns, holds the interpreter while it does, and cannot be interrupted. So it runs
in a child process that a timer kills.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import attrs
import msgspec

from .output import ToolError

__all__ = ["Found", "Match", "Matcher", "Stopped", "matching"]

T = TypeVar("T")

_CHILD = str(Path(__file__).with_name("_matcher_child.py"))

_PASSED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All of the environment that an interpreter may need in order to start; no secret is in there."""


class Match(msgspec.Struct, frozen=True, array_like=True):
    """A line that matches: of which piece, its number, and its text or the part of it around the match."""

    piece: int
    line: int
    text: str


class Found(msgspec.Struct, frozen=True):
    """The first matches of a batch, and how many there are in all."""

    found: tuple[Match, ...]
    count: int


class _Ready(msgspec.Struct, frozen=True):
    problem: str | None = None


class Stopped(Exception):
    """The time is over."""


@attrs.define
class Matcher:
    """One pattern, to be searched for until the time is over."""

    _process: subprocess.Popen[bytes]
    _expired: threading.Event

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return self._expired.is_set()

    def search(self, pieces: Sequence[tuple[int, bytes]], *, room: int) -> Found:
        """Search these pieces, each given with the number of its first line; give at most `room` matches.

        Raises `Stopped`, and `ToolError` where the pattern needs more memory than it may have.
        """
        order = {"room": room, "pieces": [(first, len(data)) for first, data in pieces]}
        return self._asked(Found, order, *(data for _, data in pieces))

    def _asked(self, kind: type[T], order: object, *data: bytes) -> T:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        answer = b""
        with suppress(BrokenPipeError):
            stdin.write(b"".join((msgspec.json.encode(order), b"\n", *data)))
            stdin.flush()
            answer = stdout.readline()
        if answer.endswith(b"\n"):
            return msgspec.json.decode(answer, type=kind)
        if self.expired:
            raise Stopped
        text = "The search ended by itself: this pattern needs too much memory or time. Make it simpler."
        raise ToolError(text, reason="pattern_failed")


@contextmanager
def matching(pattern: str, *, ignore_case: bool, seconds: float) -> Iterator[Matcher]:
    """A matcher for this pattern; its process ends with the block, and is stopped when the time is over.

    Raises `ToolError` for a pattern that is none, and `Stopped`.
    """
    expired = threading.Event()
    with _child(seconds) as process:
        timer = threading.Timer(seconds, _expire, (expired, process.kill))
        timer.daemon = True
        timer.start()
        try:
            matcher = Matcher(process, expired)
            ready = matcher._asked(_Ready, {"pattern": pattern, "ignore_case": ignore_case})
            if ready.problem is not None:
                text = f"The pattern is no regular expression of Python's: {ready.problem}."
                raise ToolError(text, reason="invalid_pattern")
            yield matcher
        finally:
            timer.cancel()


def _expire(expired: threading.Event, kill: Callable[[], None]) -> None:
    expired.set()
    kill()


@contextmanager
def _child(seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    if not sys.executable:
        raise ToolError("There is no interpreter here to search with.", reason="unavailable")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", _CHILD, str(math.ceil(seconds) + 1)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _PASSED if name in os.environ},
        cwd="/",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not read by then
                if pipe is not None:
                    pipe.close()
        process.wait()
