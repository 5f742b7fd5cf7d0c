"""A process that does nothing but match a regular expression, so that it can be stopped: a thread cannot be.

It is run as a script, without the package and without any file: what it searches comes through its standard input. One
line of JSON says what follows, one line of JSON answers.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from contextlib import suppress
from typing import Any, BinaryIO

MEMORY_BYTES = 1 << 30
AROUND = 300
"""Most characters of a line that are shown."""


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until there is nothing more to read."""
    order = json.loads(source.readline())
    try:
        pattern = re.compile(order["pattern"], re.IGNORECASE if order["ignore_case"] else 0)
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        _answer(sink, {"problem": str(error) or type(error).__name__})
        return
    _answer(sink, {})
    while header := source.readline():
        _answer(sink, _search(pattern, json.loads(header), source))


def _search(pattern: re.Pattern[str], batch: dict[str, Any], source: BinaryIO) -> dict[str, Any]:
    """Of each piece its lines, the first of which has this number. At most `room` of those that match are given."""
    found: list[tuple[int, int, str]] = []
    count = 0
    pieces = [(first, source.read(length)) for first, length in batch["pieces"]]
    for index, (first, data) in enumerate(pieces):
        lines = data.decode(errors="replace").split("\n")
        if lines[-1] == "":
            lines.pop()
        for number, line in enumerate(lines, first):
            match = pattern.search(line.removesuffix("\r"))
            if match is not None:
                count += 1
                if len(found) < batch["room"]:
                    found.append((index, number, _around(line.removesuffix("\r"), match.start())))
    return {"found": found, "count": count}


def _around(line: str, at: int) -> str:
    if len(line) <= AROUND:
        return line
    start = max(min(at - AROUND // 3, len(line) - AROUND), 0)
    end = "…" if start + AROUND < len(line) else ""
    return f"{'…' if start else ''}{line[start : start + AROUND]}{end}"


def _answer(sink: BinaryIO, answer: dict[str, Any]) -> None:
    sink.write(json.dumps(answer).encode() + b"\n")
    sink.flush()


def main() -> None:
    """Serve, within limits that hold even where nobody is left to stop this process."""
    seconds = int(sys.argv[1])
    for kind, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, MEMORY_BYTES)):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
