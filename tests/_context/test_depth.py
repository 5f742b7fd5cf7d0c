from __future__ import annotations

from typing import Any

from september_engine._context.depth import DEPTH, too_deep


def nested(levels: int) -> Any:
    value: Any = "leaf"
    for level in range(levels):
        value = [value] if level % 2 else {"k": value, "other": 1}
    return value


def test_the_levels_of_lists_and_objects_are_counted() -> None:
    assert not too_deep("text")
    assert not too_deep(nested(DEPTH))
    assert too_deep(nested(DEPTH + 1))
    assert too_deep(nested(100_000))
