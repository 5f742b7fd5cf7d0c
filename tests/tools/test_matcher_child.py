from __future__ import annotations

import io
import json
import resource
import sys
from typing import Any

import pytest

from september_engine.tools import _matcher_child
from september_engine.tools._matcher_child import AROUND, main, serve


def answers(order: dict[str, Any], *batches: tuple[dict[str, Any], bytes]) -> list[dict[str, Any]]:
    said = b"".join(json.dumps(header).encode() + b"\n" + data for header, data in [(order, b""), *batches])
    sink = io.BytesIO()
    serve(io.BytesIO(said), sink)
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def test_it_answers_each_batch_with_what_matches() -> None:
    order = {"pattern": "a$", "ignore_case": False}
    first = ({"room": 2, "pieces": [[1, 4], [7, 6]]}, b"a\nb\nA\r\na\r\n"[:4] + b"a\r\nba\n")
    second = ({"room": 0, "pieces": [[1, 1]]}, b"a")
    assert answers(order, first, second) == [
        {},
        {"found": [[0, 1, "a"], [1, 7, "a"]], "count": 3},
        {"found": [], "count": 1},
    ]


def test_it_says_what_is_wrong_with_a_pattern() -> None:
    (answer,) = answers({"pattern": "(", "ignore_case": True})
    assert answer == {"problem": "missing ), unterminated subpattern at position 0"}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("here" + "y" * 400, "here" + "y" * (AROUND - 4) + "…"),
        ("x" * 400 + "here", "…" + "x" * (AROUND - 4) + "here"),
        ("x" * (AROUND - 4) + "here", "x" * (AROUND - 4) + "here"),
    ],
)
def test_a_long_line_is_cut_around_its_match(line: str, shown: str) -> None:
    _, answer = answers(
        {"pattern": "here", "ignore_case": False}, ({"room": 1, "pieces": [[1, len(line)]]}, line.encode())
    )
    assert answer["found"] == [[0, 1, shown]]


def test_it_limits_itself_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: dict[int, tuple[int, int]] = {}
    served: list[object] = []
    monkeypatch.setattr(sys, "argv", ["_matcher_child.py", "7"])
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(_matcher_child, "serve", lambda *_: served.append(dict(limits)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    main()
    assert served == [{resource.RLIMIT_CPU: (7, 7), resource.RLIMIT_AS: (1 << 30, 1 << 30)}]
