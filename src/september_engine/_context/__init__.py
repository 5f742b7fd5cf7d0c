"""What the model is given: the prompt made from facts, and the checks that no prompt may fail. Pure."""

from __future__ import annotations

__all__: list[str] = []
