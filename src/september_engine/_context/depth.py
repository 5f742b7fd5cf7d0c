"""How deep a value may be nested: JSON has no limit, but every encoder on the way to a provider has one. Pure."""

from __future__ import annotations

from .._plain import DEPTH
from ..messages import JSON

__all__ = ["DEPTH", "too_deep"]


def too_deep(value: JSON) -> bool:
    """Whether there are more than `DEPTH` levels; without recursion."""
    level: list[JSON] = [value]
    for _ in range(DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return False
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
    return True
